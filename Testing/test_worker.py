"""The child process, for real: its protocol, its end by cancel, by its parent's death, by bad input."""

import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from mirrba import job as jobs
from mirrba import worker
from mirrba.segments import read_segmentation

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"
OUTPUTS = {
    "transform.h5", "inverse_transform.h5", "warped.nii.gz", "warped_segmentation.seg.nrrd", "jacobian.nii.gz",
    "overlay.png", "metrics.json", "result.json",
}  # fmt: skip


@pytest.fixture
def job_folder(tmp_path, pair_folder):
    for name in ("fixed.nii.gz", "moving.nii.gz", "fixed_segmentation.seg.nrrd", "moving_segmentation.seg.nrrd"):
        shutil.copy(pair_folder / name, tmp_path)
    write_job(tmp_path)
    return tmp_path


def write_job(folder: Path, config=None, **changes) -> None:
    job = {
        "schema": 1,
        "task": "register",
        "fixed": "fixed.nii.gz",
        "moving": "moving.nii.gz",
        "moving_segmentation": "moving_segmentation.seg.nrrd",
        "fixed_segmentation": "fixed_segmentation.seg.nrrd",
        "initial_transform": None,
        "config": {"preset": "fast", "device": "cpu", **(config or {})},
    }
    (folder / "job.json").write_text(json.dumps({**job, **changes}))


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mirrba.worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "log.txt").open("w"),
        text=True,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
    )


def finish(process: subprocess.Popen, timeout=120) -> list[dict]:
    """All events until the process ends; its stdin stays open meanwhile, as a living parent's does."""
    events = [json.loads(line) for line in process.stdout]
    process.wait(timeout)
    return events


def wait_for(process: subprocess.Popen, wanted) -> dict:
    """The first event that is as wanted."""
    for line in process.stdout:
        event = json.loads(line)
        if wanted(event):
            return event
    pytest.fail("the worker ended before that")


def wait_for_first_iteration(process: subprocess.Popen) -> None:
    wait_for(process, lambda event: event.get("loss") is not None)


def say(process: subprocess.Popen, word: str) -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def test_a_job_ends_with_done_and_all_files(job_folder):
    process = start(job_folder)
    events = finish(process)
    assert process.returncode == 0, (job_folder / "log.txt").read_text()
    assert [event["event"] for event in events if event["event"] != "progress"] == ["done"]
    assert events[-1]["output"] == "output"
    assert {path.name for path in (job_folder / "output").iterdir()} == OUTPUTS
    metrics = json.loads((job_folder / "output/metrics.json").read_text())
    assert events[-1]["metrics"] == metrics
    brain = next(segment for segment in metrics["segments"] if segment["name"] == "brain")
    warped = read_segmentation(job_folder / "output/warped_segmentation.seg.nrrd")
    mask = next(segment.mask for segment in warped.segments if segment.name == "brain")
    fixed = sitk.GetArrayFromImage(sitk.ReadImage(str(job_folder / "fixed.nii.gz"), sitk.sitkFloat32))
    assert (brain["max_fixed"], brain["mean_fixed"]) == pytest.approx((fixed[mask].max(), fixed[mask].mean()))
    assert brain["moved_mm"] > 0
    keys = {"stage", "level", "levels", "iteration", "iterations", "loss", "terms", "fraction", "elapsed", "remaining"}
    assert all(keys <= set(event) for event in events[:-1])


def test_the_result_records_what_is_needed_to_repeat_it(job_folder):
    write_job(job_folder, config={"seed": 11, "start": "5,5"})
    finish(start(job_folder))
    result = json.loads((job_folder / "output/result.json").read_text())
    assert (result["config"]["seed"], result["config"]["start"], result["device"]) == (11, [5, 5], "cpu")
    assert set(result["versions"]) == {"mirrba", "python", "torch", "numpy", "SimpleITK"}
    assert set(result["inputs_sha256"]) == {"fixed", "moving", "moving_segmentation", "fixed_segmentation"}
    assert set(result["outputs_sha256"]) == OUTPUTS - {"result.json"}
    assert [entry["stage"] for entry in result["history"]] == ["start 1 of 2", "start 2 of 2"]
    assert all(len(entry["loss"]) == 5 for entry in result["history"])


@pytest.mark.parametrize("how", ["cancel", "end of stdin", "termination signal"])
def test_it_stops_within_a_second_and_leaves_nothing_written(job_folder, how):
    # One iteration on this grid takes longer than the second allowed.
    write_job(job_folder, config={"preset": "mirrba-depth-1", "spacing": 6, "iterations": "1000"})
    process = start(job_folder)
    wait_for_first_iteration(process)
    asked = time.monotonic()
    if how == "cancel":
        say(process, "cancel")
    elif how == "end of stdin":
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert time.monotonic() - asked < 1.0
    assert process.returncode == 3
    last = [json.loads(line) for line in process.stdout][-1]
    assert (last["event"], last["kind"]) == ("error", "cancelled")
    assert not (job_folder / "output/result.json").exists()
    assert not list((job_folder).glob("output/*"))


def test_it_stops_when_its_parent_is_killed(job_folder, tmp_path):
    write_job(job_folder, config={"preset": "mirrba-depth-1", "iterations": "100000"})
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-m', 'mirrba.worker', sys.argv[1]], stdin=subprocess.PIPE,"
            " stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
            "child.stdout.readline()\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(100)\n",
            str(job_folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and alive(child):
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_where_a_waiting_read_holds_up_libraries_stdin_is_read_when_something_has_come():
    """As on Windows, with a Linux pipe: words in pieces, then the parent's end."""
    reader, writer = os.pipe()

    def waiting() -> int:
        """As PeekNamedPipe: it never waits, and fails once the pipe is broken."""
        if not select.select([reader], [], [], 0)[0]:
            return 0
        count = int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder)
        if not count:
            raise BrokenPipeError
        return count

    heard = []
    thread = threading.Thread(target=lambda: heard.extend(worker.polled_lines(reader, waiting)))
    thread.start()
    for piece in (b"ke", b"ep\nother\nc", b"ancel\n", b"cut"):
        os.write(writer, piece)
        time.sleep(0.15)
    os.close(writer)
    thread.join(5)
    os.close(reader)
    assert heard == ["keep", "other", "cancel"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fixed": "missing.nii.gz"}, "no such file"),
        ({"fixed": "../fixed.nii.gz"}, "plain name"),
        ({"fixed": "/etc/hostname"}, "plain name"),
        ({"moving": None}, "no moving volume"),
        ({"schema": 2}, "schema 1"),
        ({"task": "dance"}, "unknown task"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"config": {"preset": "none such"}}, "no preset"),
        ({"config": {"speed": 1}}, "no setting 'speed'"),
        ({"config": []}, "not a table"),
        ({"preview": "yes"}, "neither true nor false"),
        ({"preview": 1}, "neither true nor false"),
        ({"preview": None}, "neither true nor false"),
        ({"moving_segmentation": "fixed.nii.gz"}, "segment"),
    ],
)
def test_bad_jobs_end_with_a_sentence_and_exit_code_2(job_folder, changes, sentence):
    write_job(job_folder)
    job = {**json.loads((job_folder / "job.json").read_text()), **changes}
    (job_folder / "job.json").write_text(json.dumps(job))
    process = start(job_folder)
    events = finish(process)
    assert process.returncode == 2
    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "input")
    assert sentence in events[-1]["message"]
    assert "Traceback" not in events[-1]["message"]


def test_a_folder_without_a_job_is_refused(tmp_path):
    process = start(tmp_path)
    assert "there is no job here" in finish(process)[-1]["message"]


ENDLESS = {"preset": "mirrba-depth-1", "spacing": 14, "init": "affine", "iterations": "100000"}


def test_previews_come_in_whole_files_and_do_not_pile_up_and_the_state_is_kept_on_demand(job_folder):
    write_job(job_folder, config=ENDLESS, preview=True)
    process = start(job_folder)
    arrivals = []
    for n in (1, 2, 3):
        event = wait_for(process, lambda event: event["event"] == "preview")
        arrivals.append(time.monotonic())
        assert event == {"event": "preview", "file": f"preview-{n}.nrrd", "stage": "level 1 of 1", "level": 1}
        assert b"encoding: raw" in (job_folder / event["file"]).read_bytes()[:1000]
        sitk.ReadImage(str(job_folder / event["file"]))
    assert arrivals[-1] - arrivals[0] > 6  # at most one in four seconds, however late they are read here
    time.sleep(0.2)  # the file before the previous one goes after the announcement
    assert sorted(path.name for path in job_folder.glob("*preview*")) == ["preview-2.nrrd", "preview-3.nrrd"]

    say(process, "keep")
    asked = time.monotonic()
    wait_for(process, lambda event: event.get("stage") == jobs.FINISH)
    assert time.monotonic() - asked < 60  # all iterations would take hours
    assert finish(process)[-1]["event"] == "done"
    assert process.returncode == 0
    assert {path.name for path in (job_folder / "output").iterdir()} == OUTPUTS
    result = json.loads((job_folder / "output/result.json").read_text())
    assert result["stopped_early"] is True
    assert 0 < len(result["history"][0]["loss"]) < 100_000
    assert json.loads((job_folder / "output/metrics.json").read_text())["folding_fraction"] == 0


def test_kept_while_preparing_the_initial_transform_is_the_result(job_folder):
    write_job(job_folder, config=ENDLESS)
    process = start(job_folder)
    wait_for(process, lambda event: event["stage"] == "preparing")
    say(process, "keep")
    assert finish(process)[-1]["event"] == "done"
    result = json.loads((job_folder / "output/result.json").read_text())
    assert (result["stopped_early"], result["history"]) == (True, [])
    jacobian = sitk.GetArrayFromImage(sitk.ReadImage(str(job_folder / "output/jacobian.nii.gz")))
    assert jacobian.std() < 1e-3  # an affine transform's is the same everywhere


def test_results_that_are_kept_can_still_be_cancelled_while_they_are_written(job_folder):
    fixed = sitk.ReadImage(str(job_folder / "fixed.nii.gz"))
    sitk.WriteImage(sitk.Expand(fixed, [4, 4, 4]), str(job_folder / "fixed.nii.gz"))  # seconds to write
    write_job(job_folder, config=ENDLESS, fixed_segmentation=None)
    process = start(job_folder)
    wait_for_first_iteration(process)
    say(process, "keep")
    wait_for(process, lambda event: event["stage"] == jobs.FINISH)
    say(process, "cancel")
    asked = time.monotonic()
    assert finish(process)[-1]["kind"] == "cancelled"
    assert time.monotonic() - asked < 1.0
    assert process.returncode == 3
    assert not list(job_folder.glob("output/*"))


def test_a_run_is_not_marked_as_stopped_early_when_it_was_not(job_folder):
    write_job(job_folder, config={"start": "3"}, preview=False)
    assert not [event for event in finish(start(job_folder)) if event["event"] == "preview"]
    assert json.loads((job_folder / "output/result.json").read_text())["stopped_early"] is False


def test_a_preview_that_cannot_be_written_costs_itself_and_not_the_run(job_folder):
    (job_folder / "preview-1.nrrd").mkdir()
    write_job(job_folder, config={"start": "3"}, preview=True)
    events = finish(start(job_folder))
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert "could not be written" in warning
    assert events[-1]["event"] == "done"
    assert list(job_folder.glob("*preview*")) == [job_folder / "preview-1.nrrd"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_costs_the_preview_and_not_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda count: "known")
    (tmp_path / ".partial-known-preview-1.nrrd").symlink_to("/dev/full")
    events = []
    jobs.Previews(tmp_path, events.append, {"stage": "s", "level": 2}).write(sitk.Image([64, 64, 64], sitk.sitkFloat32))
    (warning,) = events
    assert "could not be written" in warning["message"]
    assert list(tmp_path.iterdir()) == []


def test_previews_that_fail_are_told_once_and_tried_again(tmp_path):
    events = []
    previews = jobs.Previews(tmp_path / "none yet", events.append, {"stage": "s", "level": 2, "loss": 1.0})
    image = sitk.Image([4, 5, 6], sitk.sitkFloat32)
    previews.write(image)
    previews.write(image)
    assert [event["event"] for event in events] == ["warning"]
    (tmp_path / "none yet").mkdir()
    previews.write(image)
    assert events[1:] == [{"event": "preview", "file": "preview-1.nrrd", "stage": "s", "level": 2}]


def test_an_older_result_is_gone_before_the_new_one_comes(job_folder):
    finish(start(job_folder))
    assert (job_folder / "output/result.json").exists()
    before = (job_folder / "output/result.json").read_text()
    write_job(job_folder, config={"start": "3"}, moving_segmentation=None)
    finish(start(job_folder))
    assert (job_folder / "output/result.json").read_text() != before
    assert not (job_folder / "output/warped_segmentation.seg.nrrd").exists()


def test_the_written_transform_reproduces_the_written_volume(job_folder):
    finish(start(job_folder))
    output = job_folder / "output"
    fixed, moving, warped = (
        sitk.ReadImage(str(path), sitk.sitkFloat32)
        for path in (job_folder / "fixed.nii.gz", job_folder / "moving.nii.gz", output / "warped.nii.gz")
    )
    again = sitk.Resample(moving, fixed, sitk.ReadTransform(str(output / "transform.h5")))
    difference = sitk.GetArrayFromImage(sitk.Abs(again - warped))
    assert difference.max() < 1e-3 * sitk.GetArrayFromImage(warped).max()
