"""Bad input on the command line: exit code 2 and one sentence that names the file. Odd but right input: it works.

The same on Slicer's side is in test_bad_nodes.py. Docs: docs/reliability.md.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hostile import COMMAND_LINE_VOLUMES, FILES, VOLUMES, body
from mirrba import cli
from mirrba.errors import InputError
from mirrba.geometry import Geometry
from mirrba.images import read_volume
from mirrba.segments import Segment, Segmentation, read_segmentation

QUICK = ["--preset", "fast", "--device", "cpu", "--spacing", "24", "--set", "start=2,2"]
EVERY_VOLUME = {**VOLUMES, **COMMAND_LINE_VOLUMES}


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """A small pair that can be registered, fixed and moving."""
    for name, seed in (("fixed", 1), ("moving", 2)):
        sitk.WriteImage(body(seed=seed), str(tmp_path / f"{name}.nii.gz"))
    return tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"


@pytest.fixture
def refused(capfd, tmp_path):
    """Runs the command line, which must refuse, and gives its sentence."""

    def run(*arguments) -> str:
        output = tmp_path / "output"
        capfd.readouterr()
        assert cli.main(["register", *map(str, arguments), "-o", str(output)]) == 2
        errors = capfd.readouterr().err
        assert "Traceback" not in errors
        (sentence,) = [line for line in errors.splitlines() if line.startswith("mirrba: ")]
        assert not output.exists()
        return sentence

    return run


def registered(output: Path, *arguments, init="centre") -> dict:
    assert cli.main(["register", *map(str, arguments), "-o", str(output), "--init", str(init), *QUICK]) == 0
    return json.loads((output / "metrics.json").read_text(encoding="utf-8"))


# What is refused


@pytest.mark.parametrize("role", ["fixed", "moving", "segmentation"])
@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_image_are_refused(pair, refused, tmp_path, name, role):
    make, sentence = FILES[name]
    folder = tmp_path / "bad"
    folder.mkdir()
    bad = make(folder)
    arguments = {"fixed": (bad, pair[1]), "moving": (pair[0], bad), "segmentation": (*pair, "--moving-seg", bad)}
    said = refused(*arguments[role])
    assert f"mirrba: {bad}: " in said
    assert sentence in said


def as_analyze(folder: Path) -> None:
    """Without NIfTI's magic."""
    content = bytearray((folder / "pet.hdr").read_bytes())
    content[344:348] = bytes(4)
    (folder / "pet.hdr").write_bytes(content)


PAIRS = {"nifti": ("", None), "packed": (".gz", None), "analyze": ("", as_analyze)}


@pytest.mark.parametrize("given", ["hdr", "img"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_header_whose_voxels_are_cut_short_is_refused(tmp_path, name, given):
    packed, change = PAIRS[name]
    sitk.WriteImage(body(), str(tmp_path / f"pet.hdr{packed}"))
    if change is not None:
        change(tmp_path)
    path, voxels = tmp_path / f"pet.{given}{packed}", tmp_path / f"pet.img{packed}"
    np.testing.assert_array_equal(*(sitk.GetArrayFromImage(image) for image in (read_volume(path), body())))
    voxels.write_bytes(voxels.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"pet\.img{packed}: is cut short"):
        read_volume(path)


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("name", EVERY_VOLUME)
def test_volumes_that_are_no_pet_of_a_body_are_refused(pair, refused, tmp_path, name, role):
    make, sentence = EVERY_VOLUME[name]
    bad = tmp_path / "bad.nrrd"
    sitk.WriteImage(make(body()), str(bad))
    said = refused(*((bad, pair[1]) if role == "fixed" else (pair[0], bad)))
    assert f"mirrba: {bad}: " in said
    assert sentence in said


def far(path: Path) -> Path:
    image = body()
    image.SetOrigin((3000.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    return path


def transform(path: Path, made: sitk.Transform) -> Path:
    sitk.WriteTransform(made, str(path))
    return path


def torn_field() -> sitk.Transform:
    array = np.zeros((6, 6, 6, 3))
    array[2, 2, 2] = np.nan
    return sitk.DisplacementFieldTransform(sitk.GetImageFromArray(array, isVector=True))


CHOICES = {
    "fields of view apart": (lambda t: ["--init", "none"], "do not overlap in space; start with init=centre"),
    "initial transform of a plane": (
        lambda t: ["--init", transform(t / "flat.tfm", sitk.Euler2DTransform())],
        "flat.tfm: is a 2-D transform; give a 3-D one",
    ),
    "initial transform that mirrors": (
        lambda t: ["--init", transform(t / "mirror.tfm", sitk.ScaleTransform(3, (-1.0, 1.0, 1.0)))],
        "mirror.tfm: flattens, mirrors or bursts space",
    ),
    "initial transform that is an image": (lambda t: ["--init", far(t / "far.nii.gz")], "far.nii.gz: cannot be read"),
    "initial transform with a hole": (
        lambda t: ["--init", transform(t / "torn.h5", torn_field())],
        "torn.h5: holds numbers that are not finite",
    ),
    "initial transform of a name too long": (lambda t: ["--init", "n" * 300], "nor an existing transform file"),
    "unknown preset": (lambda t: ["--preset", "best"], "There is no preset 'best'; choose one of: default"),
    "unknown setting": (lambda t: ["--set", "speed=9"], "There is no setting 'speed'; the settings are"),
    "unknown device": (lambda t: ["--device", "tpu"], "Device 'tpu' is not available on this machine; choose auto"),
    "a setting given twice": (lambda t: ["--spacing", "6", "--set", "spacing=5"], "'spacing' is given twice"),
    "iterations of no network": (lambda t: ["--preset", "fast", "--iterations", "5,5,5"], "is the network's"),
    "iterations of other levels": (lambda t: ["--preset", "mirrba", "--iterations", "5"], "it takes 3 numbers"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_that_contradict_or_do_not_exist_are_refused(pair, refused, tmp_path, name):
    make, sentence = CHOICES[name]
    moving = far(tmp_path / "far away.nii.gz") if name == "fields of view apart" else pair[1]
    assert sentence in refused(pair[0], moving, *make(tmp_path))


PLACES = {
    "a file of that name": lambda t: t / "taken",
    "a file on the way": lambda t: t / "taken" / "results",
    "a file system that takes none": lambda t: Path("/proc/mirrba"),
    "a name too long": lambda t: t / ("n" * 300),
    "a folder in place of a result": lambda t: t / "occupied",
}


@pytest.mark.parametrize("name", PLACES)
def test_output_folders_that_cannot_be_written_are_refused_first(pair, tmp_path, capsys, name):
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "occupied" / "warped.nii.gz").mkdir(parents=True)
    place = PLACES[name](tmp_path)
    assert cli.main(["register", "missing.nii.gz", str(pair[1]), "-o", str(place)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mirrba: {place}")
    assert said.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("role", ["fixed", "moving-seg", "init", "output"])
def test_names_that_are_not_utf_8_are_refused_before_itk_ends_the_process(pair, tmp_path, role):
    path = os.fsencode(tmp_path) + b"/M\xfcller" + (b".tfm" if role == "init" else b".nii.gz")
    if role == "init":
        sitk.WriteTransform(sitk.TranslationTransform(3), str(tmp_path / "t.tfm"))
        shutil.copy(tmp_path / "t.tfm", path)
    elif role != "output":
        shutil.copy(pair[0], path)
    fixed = path if role == "fixed" else os.fsencode(pair[0])
    output = path if role == "output" else os.fsencode(tmp_path / "output")
    more = [f"--{role}".encode(), path] if role in ("moving-seg", "init") else []
    command = [sys.executable, "-m", "mirrba", "register", fixed, os.fsencode(pair[1]), "-o", output, *more, *QUICK]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "not UTF-8; rename it" in done.stderr.splitlines()[-1]
    assert not os.path.exists(output)


def test_no_folder_on_the_way_to_the_output_is_left_where_nothing_comes_of_it(pair, tmp_path, capsys):
    assert cli.main(["register", "missing.nii.gz", str(pair[1]), "-o", str(tmp_path / "a" / "b" / "c")]) == 2
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    assert cli.main(["register", "missing.nii.gz", str(pair[1]), "-o", str(tmp_path / "mine" / "c")]) == 2
    assert list((tmp_path / "mine").iterdir()) == []


def test_scores_never_overwrite_what_is_scored(tmp_path, capsys):
    mask = sitk.GetArrayFromImage(body()) > 3
    path = tmp_path / "s.seg.nrrd"
    Segmentation((Segment("brain", mask, "organ"),), Geometry.from_image(body())).write(path)
    before = path.read_bytes()
    assert cli.main(["evaluate", "--fixed-seg", str(path), "--warped-seg", str(path), "-o", str(path)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["..nii.gz", "...nii.gz", ".nii.gz", "....nrrd"])
def test_follow_ups_of_any_name_are_propagated_inside_the_output_folder(name):
    (folder,) = cli._folders([Path(name)])
    assert folder.strip(".") == folder == Path(folder).name != ""


# What is odd, and works


def test_a_series_of_one_frame_and_voxels_that_are_no_numbers_are_registered(tmp_path, capsys):
    moving = body(seed=2)
    moving[0, 0, 0], moving[1, 0, 0] = float("nan"), float("inf")
    sitk.WriteImage(moving, str(tmp_path / "moving.nrrd"))
    sitk.WriteImage(sitk.JoinSeries([body(seed=1)]), str(tmp_path / "frame.nii"))
    registered(tmp_path / "o", tmp_path / "frame.nii", tmp_path / "moving.nrrd")
    assert "moving.nrrd: 2 voxels are not finite and count as 0" in capsys.readouterr().err


def test_a_label_map_and_a_volume_given_twice_are_registered_with_a_warning(tmp_path, capsys):
    labels = sitk.Cast(sitk.Clamp(body() * 2, sitk.sitkFloat32, 0, 9), sitk.sitkUInt8)
    sitk.WriteImage(labels, str(tmp_path / "labels.nii.gz"))
    registered(tmp_path / "o", tmp_path / "labels.nii.gz", tmp_path / "labels.nii.gz")
    said = capsys.readouterr().err
    assert "as a label map; check that it is the PET" in said
    assert "are identical; check that they are two examinations" in said
    jacobian = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "o" / "jacobian.nii.gz")))
    assert np.abs(jacobian - 1).max() < 0.01


def test_flipped_and_oblique_axes_far_from_each_other_are_registered(tmp_path):
    fixed, moving = sitk.Flip(body(seed=1), (True, False, True)), body(seed=2)
    moving.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.2, -0.3, 0.5).GetMatrix())
    moving.SetOrigin((700.0, -200.0, 2500.0))
    brain = {name: sitk.GetArrayFromImage(image) > 4 for name, image in (("fixed", fixed), ("moving", moving))}
    for name, image in (("fixed", fixed), ("moving", moving)):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nrrd"))
        segments = (Segment("brain", brain[name], "organ"),)
        Segmentation(segments, Geometry.from_image(image)).write(tmp_path / f"{name}.seg.nrrd")
    metrics = registered(
        tmp_path / "o", tmp_path / "fixed.nrrd", tmp_path / "moving.nrrd", "--moving-seg", tmp_path / "moving.seg.nrrd",
        "--fixed-seg", tmp_path / "fixed.seg.nrrd", init=affine(tmp_path, fixed, moving),
    )  # fmt: skip
    assert metrics["dice_organs"] > 0.8


def test_a_segmentation_drawn_on_another_grid_than_the_follow_up_s_is_scored(pair, tmp_path):
    """As on the CT: finer, and turned."""
    fixed, moving = (read_volume(path) for path in pair)
    turned = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.2, 0.3).GetMatrix()
    ct = Geometry((110, 90, 140), (5.0, 4.0, 4.5), (-40.0, -60.0, -50.0), turned)
    whole = Geometry.from_image(fixed)
    for name, image, grid in (("fixed", fixed, ct), ("own", fixed, whole), ("moving", moving, whole)):
        brain = sitk.GetArrayFromImage(grid.resample(image)) > 4
        Segmentation((Segment("brain", brain, "organ"),), grid).write(tmp_path / f"{name}.seg.nrrd")
    brought = ["--moving-seg", tmp_path / "moving.seg.nrrd", "--fixed-seg"]
    own = registered(tmp_path / "own", *pair, *brought, tmp_path / "own.seg.nrrd")
    other = registered(tmp_path / "other", *pair, *brought, tmp_path / "fixed.seg.nrrd")
    assert own["dice_organs"] > 0.8
    assert other["dice_organs"] == pytest.approx(own["dice_organs"], abs=0.1)


def test_volumes_that_share_a_slab_too_thin_to_compare_are_refused(pair, refused, tmp_path):
    fixed, moving = pair
    beyond = sitk.ReadImage(str(moving))
    beyond.SetOrigin((0.0, 0.0, 27 * 14.0))  # the upper seven of 34 slices are the lower seven of these
    sitk.WriteImage(beyond, str(tmp_path / "beyond.nii.gz"))
    sentence = refused(fixed, tmp_path / "beyond.nii.gz", *QUICK, "--init", "none")
    assert "less than 5 voxels of 24 mm thick" in sentence
    assert "the same part of the body, or set another init" in sentence


def test_a_file_that_is_called_as_an_initialisation_is_not_taken_for_it(pair, tmp_path, monkeypatch):
    (tmp_path / "centre").write_text("no transform")
    monkeypatch.chdir(tmp_path)
    registered(tmp_path / "o", *pair)
    result = json.loads((tmp_path / "o" / "result.json").read_text(encoding="utf-8"))
    assert result["config"]["init"] == "centre"
    assert set(result["inputs_sha256"]) == {"fixed", "moving"}


def affine(folder: Path, fixed: sitk.Image, moving: sitk.Image) -> Path:
    """What brings the fixed voxels onto those of the moving image that hold the same tissue."""
    size = fixed.GetSize()
    turned = sitk.AffineTransform(3)
    a, b = Geometry.from_image(fixed), Geometry.from_image(moving)
    flip = np.diag([-1.0, 1.0, -1.0])
    matrix = b.matrix @ flip @ np.linalg.inv(a.matrix)
    first = np.array(b.point((size[0] - 1, 0, size[2] - 1)))
    turned.SetMatrix(matrix.ravel().tolist())
    turned.SetTranslation((first - matrix @ np.array(a.origin)).tolist())
    return transform(folder / "start.tfm", turned)


def test_two_thousand_slices_are_registered(tmp_path):
    for seed, name in ((1, "fixed.nii.gz"), (2, "moving.nii.gz")):
        sitk.WriteImage(body((12, 10, 2000), (30.0, 30.0, 1.0), seed), str(tmp_path / name))
    registered(tmp_path / "o", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    assert sitk.ReadImage(str(tmp_path / "o" / "warped.nii.gz")).GetSize() == (12, 10, 2000)


@pytest.mark.parametrize(
    "folder", ["with spaces", 'O\'Brien "2" $(touch x) `y`; &', "läsion 日本語 ☃", "-o", "n" * 200]
)
def test_paths_of_any_kind_are_taken_as_they_are(folder, tmp_path, capsys):
    place = tmp_path / folder
    place.mkdir()
    sitk.WriteImage(sitk.Image([20, 20, 20], sitk.sitkFloat32), str(place / "fixed.nii.gz"))
    # refused for its voxels: so it was found and read
    assert cli.main(["register", str(place / "fixed.nii.gz"), "m", "-o", str(place / "out")]) == 2
    assert f"{place / 'fixed.nii.gz'}: holds no uptake" in capsys.readouterr().err
    assert {path.name for path in place.iterdir()} == {"fixed.nii.gz"}  # and nothing made of the name beside it


NAMES = [
    "lésion α 日本語", "left/right\\kidney", "../../../tmp/out", "a\"quoted\" 'name'", "n" * 4000, "", "two\nlines",
]  # fmt: skip


def test_hundreds_of_overlapping_segments_of_any_name_on_another_grid_are_warped(pair, tmp_path):
    place = tmp_path / 'O\'Brien "PET" é 日本'
    place.mkdir()
    shape = (40, 20, 30)
    grid = Geometry((30, 20, 40), (10.0, 10.0, 11.0), (20.0, 10.0, 15.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    segments = []
    for n in range(300):
        mask = np.zeros(shape, np.bool_)
        mask[n % 30 : n % 30 + 8, 4:12, n % 20 : n % 20 + 8] = True
        segments.append(Segment(NAMES[n] if n < len(NAMES) else f"lesion {n}", mask, "lesion"))
    Segmentation(tuple(segments), grid).write(place / "moving.seg.nrrd")
    before = set(tmp_path.rglob("*"))
    metrics = registered(place / "o", *pair, "--moving-seg", place / "moving.seg.nrrd")
    names = [row["name"] for row in metrics["segments"]]
    assert len(names) == 300
    warped = read_segmentation(place / "o" / "warped_segmentation.seg.nrrd")
    assert [segment.name for segment in warped.segments] == names
    assert [name for name in NAMES if name and name not in names] == []
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(place / "o") for path in new)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        (b"NDims = 3", b"NDims = 99999993"),
        (b"NDims = 3", b"NDims = -3"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = slice%d.raw 1 8 0"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = ../other.raw"),
        (b"DimSize = ", b"DimSize "),
    ],
)
def test_meta_images_that_crash_itk_are_refused_before(line, changed, tmp_path):
    sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkFloat32), str(tmp_path / "pet.mha"))
    whole = (tmp_path / "pet.mha").read_bytes()
    assert line in whole
    (tmp_path / "pet.mha").write_bytes(whole.replace(line, changed))
    with pytest.raises(InputError, match=r"pet\.mha: .*(damaged|not beside it)"):
        read_volume(tmp_path / "pet.mha")


def test_a_meta_image_with_its_voxels_in_another_file_is_read(tmp_path):
    sitk.WriteImage(
        sitk.GaussianSource(sitk.sitkFloat32, [20, 20, 20], spacing=[20.0] * 3), str(tmp_path / "my pet.mhd")
    )
    assert read_volume(tmp_path / "my pet.mhd").GetSize() == (20, 20, 20)
