"""The command line as a user types it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba import cli
from mirrba.images import body_mask, read_volume
from mirrba.presets import PRESETS, resolve
from mirrba.quiet import quiet_itk
from mirrba.segments import read_segmentation
from mirrba.transforms import read_transform

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"
QUICK = ["--preset", "fast", "--device", "cpu", "--set", "start=8,5"]


def mirrba(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mirrba", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
        check=False,
    )


def files(folder):
    return folder / "fixed.nii.gz", folder / "moving.nii.gz"


def segmentations(folder):
    return folder / "fixed_segmentation.seg.nrrd", folder / "moving_segmentation.seg.nrrd"


def test_register_writes_everything_and_prints_the_scores(pair_folder, tmp_path):
    fixed_seg, moving_seg = segmentations(pair_folder)
    out = tmp_path / "a result, with spaces é"
    done = mirrba(
        "register", *files(pair_folder), "-o", out, "--fixed-seg", fixed_seg, "--moving-seg", moving_seg, *QUICK
    )
    assert done.returncode == 0, done.stderr
    assert "Dice lesions" in done.stdout
    assert "Preset fast on cpu" in done.stderr
    assert "start 1 of 2" in done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["dice_organs"] > 0.5
    assert metrics["seconds"] > 0
    assert len(list(out.iterdir())) == 8
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "overlay.png")))
    assert picture.shape[2] == 3
    assert picture.std() > 10


def test_json_lines_end_with_done(pair_folder, tmp_path):
    done = mirrba("register", *files(pair_folder), "-o", tmp_path / "out", "--json", *QUICK)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "done"
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[-1]["metrics"]["dice_lesions"] is None  # nothing to score against


def test_quiet_is_quiet(pair_folder, tmp_path):
    done = mirrba("register", *files(pair_folder), "-o", tmp_path / "out", "--quiet", *QUICK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pair_in_frames_that_do_not_overlap_is_written_whole(pair_folder, tmp_path):
    fixed, moving = files(pair_folder)
    far = sitk.ReadImage(str(moving))
    far.SetOrigin((0.0, 0.0, 4000.0))
    sitk.WriteImage(far, str(tmp_path / "far.nii.gz"))
    done = mirrba("register", fixed, tmp_path / "far.nii.gz", "-o", tmp_path / "out", *QUICK)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").exists()


def test_an_input_is_never_overwritten(pair_folder, tmp_path):
    fixed, moving = files(pair_folder)
    (tmp_path / "warped.nii.gz").write_bytes(moving.read_bytes())
    done = mirrba("register", fixed, tmp_path / "warped.nii.gz", "-o", tmp_path, *QUICK)
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
    assert (tmp_path / "warped.nii.gz").read_bytes() == moving.read_bytes()
    (tmp_path / "fixed.nii.gz").write_text("a patient's")
    done = mirrba("phantom", "-o", tmp_path, "--spacing", "16")
    assert (done.returncode, (tmp_path / "fixed.nii.gz").read_text()) == (2, "a patient's")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "landmarks.csv").write_text("mine")
    done = mirrba("phantom", "-o", tmp_path / "own", "--spacing", "16")
    assert (done.returncode, (tmp_path / "own" / "landmarks.csv").read_text()) == (2, "mine")


def test_folders_of_follow_ups_keep_what_tells_them_apart():
    names = ["2024.06.15.nii.gz", "2024.01.15.nii.gz", "a.nrrd", "b/a.nrrd", "c.seg.nrrd", "d.nii", "1.2.840.mha"]
    folders = cli._folders([Path(name) for name in names])
    assert folders == ["2024.06.15", "2024.01.15", "a", "a-2", "c", "d", "1.2.840"]


def test_a_numbered_folder_is_no_other_follow_up_s():
    names = ["x/visit-3.nii.gz", "x/visit.nii.gz", "y/visit.nii.gz", "z/visit.nii.gz", "x/visit-2.nii.gz"]
    assert cli._folders([Path(name) for name in names]) == ["visit-3", "visit", "visit-4", "visit-5", "visit-2"]


def test_propagate_brings_one_segmentation_onto_several_follow_ups(pair_folder, tmp_path):
    fixed, moving = files(pair_folder)
    second = tmp_path / "visit3.nii.gz"
    second.write_bytes(fixed.read_bytes())
    out = tmp_path / "out"
    done = mirrba("propagate", moving, fixed, second, "--moving-seg", segmentations(pair_folder)[1], "-o", out, *QUICK)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["fixed", "visit3"]
    for folder in out.iterdir():
        assert (folder / "warped_segmentation.seg.nrrd").exists()
        assert (folder / "result.json").exists()


@pytest.mark.parametrize("role", ["a follow-up", "the baseline", "the segmentation"])
def test_no_follow_up_s_results_replace_what_a_later_one_reads(pair_folder, tmp_path, role):
    fixed, moving = files(pair_folder)
    segmentation = segmentations(pair_folder)[1]
    inside = tmp_path / "out" / "fixed"
    inside.mkdir(parents=True)
    kept = inside / ("warped_segmentation.seg.nrrd" if role == "the segmentation" else "warped.nii.gz")
    kept.write_bytes(
        {"a follow-up": fixed, "the baseline": moving, "the segmentation": segmentation}[role].read_bytes()
    )
    before = kept.read_bytes()
    follow_ups = [fixed, kept if role == "a follow-up" else moving]
    done = mirrba(
        "propagate", kept if role == "the baseline" else moving, *follow_ups,
        "--moving-seg", kept if role == "the segmentation" else segmentation, "-o", tmp_path / "out", *QUICK,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{kept}: would be overwritten" in done.stderr
    assert kept.read_bytes() == before
    assert list((tmp_path / "out").rglob("*")) == [inside, kept]


@pytest.mark.parametrize(("link", "file"), [("pet.nii.gz", "warped.nii.gz"), ("warped.nii.gz", "pet.nii.gz")])
def test_neither_a_link_nor_what_it_leads_to_is_overwritten(pair_folder, tmp_path, link, file):
    fixed, moving = files(pair_folder)
    (tmp_path / file).write_bytes(moving.read_bytes())
    (tmp_path / link).symlink_to(file)
    done = mirrba("register", fixed, tmp_path / link, "-o", tmp_path, *QUICK)
    assert done.returncode == 2
    assert f"{link}: would be overwritten" in done.stderr


def test_one_follow_up_that_fails_does_not_stop_the_others(pair_folder, tmp_path):
    fixed, moving = files(pair_folder)
    out = tmp_path / "out"
    done = mirrba(
        "propagate", moving, tmp_path / "gone.nii.gz", fixed, "--moving-seg", segmentations(pair_folder)[1],
        "-o", out, *QUICK,
    )  # fmt: skip
    assert done.returncode == 2
    assert "gone.nii.gz: there is no such file" in done.stderr
    assert (out / "fixed" / "result.json").exists()


def test_evaluate_scores_the_truth_as_perfect(pair_folder, tmp_path):
    fixed_seg, _ = segmentations(pair_folder)
    out = tmp_path / "metrics.json"
    done = mirrba(
        "evaluate", "--fixed-seg", fixed_seg, "--warped-seg", fixed_seg, "--transform",
        pair_folder / "true_transform.h5", "--landmarks", pair_folder / "landmarks.csv", "-o", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads(out.read_text())
    assert scores == json.loads(done.stdout)
    assert (scores["dice_organs"], scores["detection_rate"], scores["folding_fraction"]) == (1, 1, 0)
    assert scores["tre_mm"] < 1.5  # the file's field is sampled at 12 mm


def test_a_caller_s_itk_warns_afterwards_as_it_did_before(pair_folder, tmp_path):
    sitk.ProcessObject.SetGlobalWarningDisplay(True)
    mask = str(segmentations(pair_folder)[0])
    assert cli.main(["evaluate", "--fixed-seg", mask, "--warped-seg", mask]) == 0
    assert sitk.ProcessObject.GetGlobalWarningDisplay()
    assert cli.main(["register", *map(str, files(pair_folder)), "-o", str(tmp_path), *QUICK]) == 0
    assert sitk.ProcessObject.GetGlobalWarningDisplay()


def test_evaluate_measures_the_uptake_where_images_are_given(pair_folder):
    fixed, moving = files(pair_folder)
    fixed_seg, moving_seg = segmentations(pair_folder)
    done = mirrba(
        "evaluate", "--fixed-seg", fixed_seg, "--warped-seg", fixed_seg, "--moving-seg", moving_seg,
        "--fixed", fixed, "--moving", moving,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    brain = next(row for row in json.loads(done.stdout)["segments"] if row["name"] == "brain")
    assert brain["max_fixed"] > brain["mean_fixed"] > 0
    assert brain["max_moving"] > brain["mean_moving"] > 0


def test_with_the_follow_up_its_grid_and_body_are_scored_however_its_segmentation_is_cropped(pair_folder, tmp_path):
    fixed, _ = files(pair_folder)
    whole = read_segmentation(segmentations(pair_folder)[0])
    part = whole.geometry.cropped((5, 5, 5), [n - 10 for n in whole.geometry.size])
    transform = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.02, 0.0, 0.01, (0.0, 5.0, 3.0))
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    scores = []
    for name, grid in (("whole", whole.geometry), ("part", part)):
        path = tmp_path / f"{name}.seg.nrrd"
        whole.onto(grid).write(path)
        done = mirrba(
            "evaluate", "--fixed-seg", path, "--warped-seg", path, "--fixed", fixed,
            "--transform", pair_folder / "true_transform.h5", "--truth", tmp_path / "t.tfm",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(done.stdout))
    truth = read_transform(pair_folder / "true_transform.h5")
    image = read_volume(fixed)
    body = sitk.GetArrayFromImage(body_mask(image)) > 0
    field = sitk.TransformToDisplacementField(
        truth, sitk.sitkVectorFloat64, image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
    )
    determinant = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    points = [image.TransformIndexToPhysicalPoint(index) for index in np.argwhere(body)[:, ::-1].tolist()]
    errors = [np.subtract(truth.TransformPoint(point), transform.TransformPoint(point)) for point in points]
    for score in scores:
        assert score["sd_jacobian_body"] == pytest.approx(determinant[body].std(), rel=0.01)  # ITK halves at faces
        assert score["tre_mm"] == pytest.approx(np.linalg.norm(errors, axis=1).mean())
    assert scores[0]["sd_jacobian"] == scores[1]["sd_jacobian"]


def test_presets_and_devices_are_listed_for_programs():
    listed = {row["name"]: row for row in json.loads(mirrba("presets", "--json").stdout)}
    assert list(listed) == list(PRESETS)
    for name, row in listed.items():
        assert row["sentence"] == PRESETS[name].sentence
        assert resolve(name, **row["settings"]) == PRESETS[name].config
        assert set(row) == {"name", "sentence", "settings"}
    devices = json.loads(mirrba("devices", "--json").stdout)
    assert devices[-1]["name"] == "cpu"
    assert all(set(row) == {"name", "label", "total_mb", "free_mb"} for row in devices)


def test_presets_and_devices_are_listed():
    listed = mirrba("presets").stdout
    assert all(name in listed for name in PRESETS)
    assert "cpu" in mirrba("devices").stdout


def test_a_reader_that_leaves_early_is_no_error():
    listing = subprocess.Popen(
        [sys.executable, "-m", "mirrba", "presets"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(MODULE)},
    )  # fmt: skip
    listing.stdout.close()
    assert listing.stderr.read() == b""
    listing.wait(60)


def test_phantom_makes_a_pair(tmp_path):
    done = mirrba("phantom", "-o", tmp_path / "pair", "--spacing", "16", "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pair" / "fixed.nii.gz").exists()


def flat(path):
    sitk.WriteImage(sitk.Image([30, 30], sitk.sitkFloat32), str(path))
    return path


def empty_labels(path):
    sitk.WriteImage(sitk.Image([20, 20, 20], sitk.sitkUInt8), str(path))
    return path


def flattening(path):
    sitk.WriteTransform(sitk.ScaleTransform(3, (0.0, 1.0, 1.0)), str(path))
    return path


def speck(path):
    image = sitk.Image([20, 20, 20], sitk.sitkFloat32)
    image[9, 9, 9] = 5
    image[9, 9, 8] = 4.5
    image.SetSpacing((4, 4, 4))
    sitk.WriteImage(image, str(path))
    return path


def labels_elsewhere(path):
    image = sitk.Image([20, 20, 20], sitk.sitkUInt8)
    image[5:10, 5:10, 5:10] = 1
    image.SetOrigin((9000.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (lambda f, m, s, t: [t / "missing.nii.gz", m], "there is no such file; check the path."),
        (lambda f, m, s, t: [flat(t / "flat.nii.gz"), m], "has 2 dimensions; give a single 3-D volume."),
        (lambda f, m, s, t: [f, s], "is a segmentation; give the PET here"),
        (lambda f, m, s, t: [f, m, "--moving-seg", empty_labels(t / "e.nii.gz")], "the segmentation is empty; "),
        (lambda f, m, s, t: [f, m, "--moving-seg", labels_elsewhere(t / "l.nii.gz")], "lies outside of the moving"),
        (lambda f, m, s, t: [f, m, "--moving-seg", t / "no.nrrd"], "there is no such file"),
        (lambda f, m, s, t: [f, m, "--preset", "best"], "There is no preset 'best'; choose one of: default"),
        (lambda f, m, s, t: [f, m, "--device", "cuda:7"], "Device 'cuda:7' is not available on this machine; choose"),
        (lambda f, m, s, t: [f, m, "--init", "nowhere"], "init='nowhere' is neither one of none, centre"),
        (lambda f, m, s, t: [f, m, "--spacing", "tiny"], "Setting 'spacing' cannot be 'tiny'; it takes a number."),
        (lambda f, m, s, t: [f, m, "--iterations", "5"], "Setting 'iterations'"),
        (lambda f, m, s, t: [f, m, "--init", flattening(t / "flat.tfm")], "flattens, mirrors or bursts space"),
        (lambda f, m, s, t: [speck(t / "speck.nii.gz"), m], "is this a PET of a body?"),
        (lambda f, m, s, t: [f, m, "--set", "depth"], "--set takes KEY=VALUE, not 'depth'."),
        (lambda f, m, s, t: [f, m, "--set", "speed=9"], "There is no setting 'speed'"),
        (lambda f, m, s, t: [f, m, "--quite"], "unrecognized arguments: --quite; see 'mirrba --help'."),
        (lambda f, m, s, t: [f], "MOVING; see 'mirrba register --help'."),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(pair_folder, tmp_path, case, sentence):
    arguments = case(*files(pair_folder), segmentations(pair_folder)[1], tmp_path)
    done = mirrba("register", *arguments, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_segmentations_on_grids_that_do_not_match_are_refused(pair_folder, tmp_path):
    other = labels_elsewhere(tmp_path / "labels.nii.gz")
    done = mirrba("evaluate", "--fixed-seg", segmentations(pair_folder)[0], "--warped-seg", other)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_file_in_the_way_of_the_output_is_refused_and_kept(pair_folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = mirrba("register", *files(pair_folder), "-o", tmp_path / "out", *QUICK)
    assert done.returncode == 2
    assert "is a file, but a folder is needed" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_debug_shows_the_traceback_and_nothing_else_does(tmp_path):
    arguments = ["register", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out"]
    assert "Traceback" not in mirrba(*arguments).stderr
    assert "Traceback" in mirrba(*arguments, "--debug").stderr


def test_an_empty_folder_that_was_there_stays(pair_folder, tmp_path):
    (tmp_path / "out").mkdir()
    done = mirrba("register", tmp_path / "missing.nii.gz", files(pair_folder)[1], "-o", tmp_path / "out")
    assert done.returncode == 2
    assert (tmp_path / "out").is_dir()


def test_interrupting_leaves_no_result_and_exits_with_3(pair_folder, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "mirrba", "register", *map(str, files(pair_folder)), "-o", str(tmp_path / "out"),
         "--json", "--preset", "mirrba-depth-1", "--iterations", "100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(MODULE)},
    )  # fmt: skip
    for line in process.stdout:
        if json.loads(line).get("loss") is not None:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 3
    assert error == "mirrba: The run was cancelled; nothing was written.\n"
    assert not (tmp_path / "out").exists()


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["register", "--help"])
    text = capsys.readouterr().out
    for option in ("--moving-seg", "--fixed-seg", "--preset", "--device", "--spacing", "--iterations", "--init",
                   "--seed", "--set", "--quiet", "--json", "--resume", "exit codes", "transform.h5"):  # fmt: skip
        assert option in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_stream_has_no_characters_for_is_written_otherwise(pair_folder, tmp_path, encoding):
    """As into a file on Windows."""
    environment = {**os.environ, "PYTHONPATH": str(MODULE), "PYTHONIOENCODING": encoding}
    start = [sys.executable, "-m", "mirrba"]
    shown = subprocess.run([*start, "register", "--help"], capture_output=True, env=environment, check=False)
    assert (shown.returncode, shown.stderr) == (0, b"")
    baseline, follow_up = (str(pair_folder / f"{name}.nii.gz") for name in ("moving", "fixed"))
    given = [baseline, follow_up, "--moving-seg", str(segmentations(pair_folder)[1]), "-o", str(tmp_path / "out")]
    done = subprocess.run([*start, "propagate", *given, *QUICK], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "\\u2192" in done.stdout.decode(encoding)


def test_itk_warns_again_when_the_last_of_several_threads_is_done():
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    second_is_in, first_is_out = threading.Event(), threading.Event()

    def second():
        with quiet_itk():
            second_is_in.set()
            first_is_out.wait(60)

    sitk.ProcessObject.SetGlobalWarningDisplay(True)
    try:
        with quiet_itk():
            thread = threading.Thread(target=second)
            thread.start()
            second_is_in.wait(60)
        assert not sitk.ProcessObject.GetGlobalWarningDisplay()
        first_is_out.set()
        thread.join()
        assert sitk.ProcessObject.GetGlobalWarningDisplay()
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
