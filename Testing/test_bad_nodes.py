"""Bad input in Slicer: nodes go to the real engine; what it refuses names the node, and scene and disk stay as is.

The same on the command line is in test_bad_input.py.
"""

import math
import re

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from hostile import VOLUMES, body
from mirrba.geometry import Geometry
from mirrba.segments import Segment, Segmentation
from MIRRBARegistrationLib import MIRRBARegistrationLogic, RegistrationError, registrationJob

QUICK = {"preset": "fast", "device": "cpu", "settings": {"spacing": 24, "start": "2,2", "init": "centre"}}
NODE_NAME = 'PET of "O\'Brien" / läsion 日本'


@pytest.fixture
def load(application, tmp_path):
    def loadVolume(image, name="PET"):
        sitk.WriteImage(image, str(tmp_path / "volume.nrrd"))
        return application.loadVolume(tmp_path / "volume.nrrd", name)

    return loadVolume


@pytest.fixture
def fixed(load):
    return load(body(seed=1), "follow-up")


@pytest.fixture
def moving(load):
    return load(body(seed=2), "baseline")


@pytest.fixture
def refused(application, jobFolders):
    """Registers nodes, which must be refused, and gives the sentence."""

    def run(*nodes, **settings) -> str:
        before = application.scene.GetNumberOfNodes()
        with pytest.raises(RegistrationError) as refusal:
            MIRRBARegistrationLogic().register(*nodes, **{**QUICK, **settings})
        assert refusal.value.kind == "input", refusal.value
        assert application.scene.GetNumberOfNodes() == before
        assert list(jobFolders.iterdir()) == []
        assert str(jobFolders) not in refusal.value.message
        return refusal.value.message

    return run


# What is refused


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes_that_are_no_pet_of_a_body_are_refused_by_their_node(load, fixed, refused, name):
    make, sentence = VOLUMES[name]
    said = refused(fixed, load(make(body()), NODE_NAME))
    assert said.startswith(f"'{NODE_NAME}' ")
    assert sentence in said


def sheared(volume) -> None:
    volume.SetIJKToRASDirections(1, 0.3, 0, 0, 1, 0, 0, 0, 1)


def withoutSpacing(volume) -> None:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(1, 1, 0)
    volume.SetIJKToRASMatrix(matrix)


def ofNoNumber(volume) -> None:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, math.nan)
    volume.SetIJKToRASMatrix(matrix)


def farAway(volume) -> None:
    volume.SetOrigin(1e30, 0, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (sheared, "not at right angles; resample it first"),
        (withoutSpacing, "has a voxel spacing of zero; correct it in the Volumes module"),
        (ofNoNumber, "has a voxel spacing of zero; correct it in the Volumes module"),
        (farAway, "has an origin of"),
    ],
)
def test_geometry_that_no_volume_has_is_refused_by_its_node(load, fixed, refused, change, sentence):
    volume = load(body(), NODE_NAME)
    change(volume)
    said = refused(fixed, volume)
    assert f"'{NODE_NAME}'" in said
    assert sentence in said


def test_vectors_and_label_maps_are_not_offered_as_pet(application, load, fixed, refused):
    vectors = load(body())
    vectors.GetImageData().AllocateScalars(vtk.VTK_FLOAT, 3)
    assert "has several values a voxel; choose a PET" in refused(fixed, vectors)
    labels = application.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert "Select a moving PET: a scalar volume is needed" in refused(fixed, labels)


def test_fields_of_view_apart_are_refused_where_nothing_brings_them_together(load, fixed, refused):
    away = load(body())
    away.SetOrigin(3000, 0, 0)
    assert "do not overlap in space; start with init=centre" in refused(fixed, away, settings={"init": "none"})


def mirror(node) -> None:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, -1)
    node.SetMatrixTransformToParent(matrix)


def flatten(node) -> None:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 2, 1e-9)
    node.SetMatrixTransformToParent(matrix)


@pytest.mark.parametrize("spoil", [mirror, flatten])
def test_an_initial_transform_that_cannot_start_a_registration_is_refused(application, fixed, moving, refused, spoil):
    node = application.scene.AddNewNodeByClass("vtkMRMLTransformNode", "my start")
    spoil(node)
    assert "'my start' flattens, mirrors or bursts space" in refused(fixed, moving, initialTransform=node)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"preset": "best"}, "There is no preset 'best'; choose one of: default"),
        ({"device": "tpu"}, "Device 'tpu' is not available on this machine; choose auto"),
        ({"settings": {"speed": 9}}, "There is no setting 'speed'; the settings are"),
        ({"settings": {"iterations": "5,5,5"}}, "Setting 'iterations' is the network's"),
    ],
)
def test_choices_that_contradict_or_do_not_exist_are_refused(fixed, moving, refused, settings, sentence):
    assert sentence in refused(fixed, moving, **settings)


def test_a_segmentation_of_empty_segments_or_beside_its_volume_is_refused(application, load, fixed, moving, refused):
    empty = segmentationNode(application, load, {"nothing": np.zeros((34, 16, 24), np.bool_)})
    assert re.search(r"^'segments' the segmentation is empty; draw at least one", refused(fixed, moving, empty))
    away = body()
    away.SetOrigin((3000.0, 0.0, 0.0))
    beside = segmentationNode(application, load, {"l": sitk.GetArrayFromImage(away) > 3}, away)
    assert "lies outside of the moving volume" in refused(fixed, moving, beside)


@pytest.mark.parametrize("place", ["a file", "a file system that takes none"])
def test_a_temporary_folder_that_takes_no_files_is_one_sentence(fixed, moving, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("mine")
    folder = {"a file": tmp_path / "file", "a file system that takes none": "/proc"}[place]
    monkeypatch.setattr(registrationJob.tempfile, "tempdir", str(folder))
    with pytest.raises(RegistrationError, match="choose another temporary folder in the application settings"):
        MIRRBARegistrationLogic().register(fixed, moving, **QUICK)
    assert (tmp_path / "file").read_text() == "mine"


def test_one_volume_as_both_is_refused(fixed, refused):
    assert "Fixed and moving are the same volume" in refused(fixed, fixed)


# What is odd, and works


def segmentationNode(application, load, masks, image=None):
    """A node with these masks, as Slicer loads them from a file."""
    image = image or body()
    path = application.folder / "segments.seg.nrrd"
    segments = tuple(Segment(name, mask, "lesion") for name, mask in masks.items())
    Segmentation(segments, Geometry.from_image(image)).write(path)
    return application.loadSegmentation(path, "segments")


@pytest.fixture(autouse=True)
def filesOfTheApplication(application, tmp_path):
    application.folder = tmp_path


NAMES = ["lésion α 日本語", "left/right\\kidney", "../../../tmp/out", "a\"quoted\" 'name'", "n" * 4000]


def test_odd_volumes_and_hundreds_of_overlapping_segments_of_any_name_are_registered(application, load, jobFolders):
    moving = body(seed=2)
    moving[0, 0, 0] = math.nan
    flipped = load(sitk.Flip(body(seed=1), (True, False, True)), "follow-up / 2")
    moving = load(moving, NODE_NAME)
    masks = {}
    for n in range(300):
        mask = np.zeros((34, 16, 24), np.bool_)
        mask[n % 26 : n % 26 + 8, 4:12, n % 16 : n % 16 + 8] = True
        masks[NAMES[n] if n < len(NAMES) else f"lesion {n}"] = mask
    segmentation = segmentationNode(application, load, masks)
    warnings = []
    metrics = MIRRBARegistrationLogic().register(
        flipped, moving, segmentation, **QUICK,
        onProgress=lambda event: warnings.append(event.get("message")),
    )  # fmt: skip
    assert [row["name"] for row in metrics["segments"]] == list(masks)
    warped = slicer.mrmlScene.GetNodesByClass("vtkMRMLSegmentationNode")
    warped.UnRegister(None)
    segments = warped.GetItemAsObject(1).GetSegmentation()
    assert [segments.GetSegment(segmentID).GetName() for segmentID in segments.GetSegmentIDs()] == list(masks)
    assert f"'{NODE_NAME}' 1 voxels are not finite and count as 0." in warnings
    assert list(jobFolders.iterdir()) == []


def test_the_same_examination_loaded_twice_is_registered_with_a_warning(load, jobFolders):
    warnings = []
    MIRRBARegistrationLogic().register(
        load(body()), load(body()), **QUICK, onProgress=lambda event: warnings.append(str(event.get("message")))
    )
    assert any("are identical; check that they are two examinations" in warning for warning in warnings)
