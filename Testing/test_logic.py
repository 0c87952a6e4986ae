"""MIRRBARegistrationLogic on a real scene: with a small stand-in for the engine, and once with the engine itself."""

import gc
import os
import shutil
import signal
import stat
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from MIRRBARegistrationLib import (
    InputError,
    JobState,
    MIRRBARegistrationLogic,
    RegistrationCancelled,
    RegistrationError,
    backgroundJob,
    registrationJob,
)
from MIRRBARegistrationLib.guess import OUTPUT_ATTRIBUTE
from vtk.util.numpy_support import numpy_to_vtk

STAND_IN = """
import hashlib, json, os, sys, time
from pathlib import Path
import SimpleITK as sitk
from mirrba.segments import read_segmentation

def say(**event):
    print(json.dumps(event), flush=True)

folder = Path(sys.argv[1])
job = json.loads((folder / "job.json").read_text())
settings = job["config"]
if settings.get("fate") == "wait":
    say(event="progress", fraction=0.0)
    sys.stdin.readline()
    say(event="error", kind="cancelled", message="Cancelled.")
    sys.exit(3)
if settings.get("fate") == "previews":
    for n in range(1, 4):
        image = sitk.ReadImage(str(folder / job["moving"]), sitk.sitkFloat32) + 1000 * n
        sitk.WriteImage(image, str(folder / f"preview-{n}.nrrd"))
        (folder / f"preview-{n - 2}.nrrd").unlink(missing_ok=True)
        say(event="preview", file=f"preview-{n}.nrrd", stage="level 1 of 1", level=1)
    (folder / "shown").touch()
    assert sys.stdin.readline() == "keep\\n"
    say(event="preview", file="preview-1.nrrd", stage="level 1 of 1", level=1)
if settings.get("fate") == "memory":
    say(event="error", kind="memory", message="Too little memory; use a coarser spacing.")
    sys.exit(4)
if settings.get("fate") == "crash":
    print("something went wrong in C", file=sys.stderr)
    os.abort()
fixed, moving = (sitk.ReadImage(str(folder / job[name]), sitk.sitkFloat32) for name in ("fixed", "moving"))
if sitk.GetArrayViewFromImage(fixed).max() < 0:
    say(event="error", kind="input", message="This one is negative.")
    sys.exit(2)
transform = sitk.TranslationTransform(3, (4.0, 0.0, -8.0))
if job["initial_transform"]:
    transform = sitk.ReadTransform(str(folder / job["initial_transform"]))
output = folder / "output"
output.mkdir()
sitk.WriteTransform(transform, str(output / "transform.h5"))
sitk.WriteImage(sitk.Resample(moving, fixed, transform), str(output / "warped.nii.gz"))
if job["moving_segmentation"]:
    from mirrba.geometry import Geometry
    segmentation = read_segmentation(folder / job["moving_segmentation"])
    segmentation.warp(transform, Geometry.from_image(fixed)).write(output / "warped_segmentation.seg.nrrd")
(output / "metrics.json").write_text(json.dumps({"dice_organs": 0.5, "job": job}))
say(event="progress", fraction=0.5)
sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output.iterdir()}
if settings.get("fate") == "no transform":
    (output / "transform.h5").unlink()
if settings.get("fate") == "cut short":
    os.truncate(output / "warped.nii.gz", (output / "warped.nii.gz").stat().st_size - 1)
if settings.get("fate") == "half a result":
    (output / "result.json").write_text('{"outputs_sha256": {"tr')
elif settings.get("fate") != "no result":
    (output / "result.json").write_text(json.dumps({"outputs_sha256": sums, "stopped_early": False}))
say(event="done", output="output", metrics={})
"""


def startStandIn(arguments, environment, logPath):
    return backgroundJob.startProcess([sys.executable, "-c", STAND_IN, arguments[-1]], environment, logPath)


@pytest.fixture
def logic(application, jobFolders):
    logic = MIRRBARegistrationLogic()
    logic.startProcess = startStandIn
    return logic


@pytest.fixture
def fixed(application, tmp_path):
    return volume(application, tmp_path, "follow-up", seed=1)


@pytest.fixture
def moving(application, tmp_path):
    return volume(application, tmp_path, "baseline", seed=2)


@pytest.fixture
def segmentation(application, moving):
    """Two overlapping segments on the moving volume."""
    node = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
    node.SetReferenceImageGeometryParameterFromVolumeNode(moving)
    for name, low in (("brain", 2), ("lesion", 4)):
        mask = np.zeros(slicer.util.arrayFromVolume(moving).shape, np.uint8)
        mask[low : low + 5, 3:8, 3:8] = 1
        node.AddSegmentFromBinaryLabelmapRepresentation(labelImage(moving, mask), name)
    return node


def labelImage(volumeNode, mask):
    label = slicer.vtkOrientedImageData()
    label.SetDimensions(mask.shape[::-1])
    label.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(), deep=True))
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    label.SetGeometryFromImageToWorldMatrix(matrix)
    return label


def volume(application, tmp_path, name, seed=0, offset=0.0):
    image = sitk.GetImageFromArray(np.random.default_rng(seed).random((14, 13, 12)).astype(np.float32) + offset)
    image.SetSpacing((4, 4, 4))
    image.SetOrigin((-20, -30, 40))
    sitk.WriteImage(image, str(tmp_path / f"{name}.nrrd"))
    return application.loadVolume(tmp_path / f"{name}.nrrd", name)


def transformNode(application, name, translation=(0, 0, 0)):
    node = application.scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    matrix = np.eye(4)
    matrix[:3, 3] = translation
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def contents(scene) -> str:
    """All nodes with all their attributes."""
    scene.SetSaveToXMLString(1)
    scene.Commit()
    return scene.GetSceneXMLString()


# Results


def test_register_brings_transform_volume_and_segmentation_and_returns_the_scores(logic, fixed, moving, segmentation):
    events = []
    scores = logic.register(fixed, moving, segmentation, onProgress=events.append)
    assert scores["dice_organs"] == 0.5
    assert events == [{"event": "progress", "fraction": 0.5}]
    transform = slicer.util.getNode("baseline to follow-up transform")
    assert transform.GetTransformFromParent().TransformPoint((0, 0, 0)) == pytest.approx((-4, 0, -8))
    warped = slicer.util.getNode("baseline to follow-up")
    np.testing.assert_allclose(
        slicer.util.arrayFromVolume(warped)[4:, :, :-1], slicer.util.arrayFromVolume(moving)[2:-2, :, 1:], atol=1e-5
    )
    names = slicer.util.getNode("segments to follow-up").GetSegmentation()
    assert [names.GetNthSegment(i).GetName() for i in range(2)] == ["brain", "lesion"]
    made = (transform, warped, slicer.util.getNode("segments to follow-up"))
    assert [node.GetAttribute(OUTPUT_ATTRIBUTE) for node in made] == ["1"] * 3  # no inputs of the next run


def test_the_job_is_written_as_the_contract_says(logic, fixed, moving, segmentation):
    scores = logic.register(fixed, moving, segmentation, segmentation, preset="fast", settings={"spacing": 6})
    assert scores["job"] == {
        "schema": 1,
        "task": "register",
        "fixed": "fixed.nrrd",
        "moving": "moving.nrrd",
        "moving_segmentation": "moving_segmentation.seg.nrrd",
        "fixed_segmentation": "fixed_segmentation.seg.nrrd",
        "initial_transform": None,
        "config": {"preset": "fast", "device": "auto", "spacing": 6},
    }


def test_given_nodes_are_filled_and_unwanted_ones_not_made(application, logic, fixed, moving, segmentation):
    mine = application.scene.AddNewNodeByClass("vtkMRMLTransformNode", "mine")
    volumes = application.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    logic.register(fixed, moving, segmentation, outputTransform=mine, outputSegmentation=False)
    assert mine.GetTransformFromParent().TransformPoint((0, 0, 0)) == pytest.approx((-4, 0, -8))
    assert mine.GetNodeReference("spatialRegistrationMoving") is moving
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 1
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == volumes + 1
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert moving.GetParentTransformNode() is None


def test_a_transform_alone_is_put_over_the_moving_volume(logic, fixed, moving):
    logic.register(fixed, moving, outputVolume=False)
    assert moving.GetParentTransformNode() is slicer.util.getNode("baseline to follow-up transform")


def test_a_chosen_segment_is_brought_along(logic, fixed, moving, segmentation):
    lesion = segmentation.GetSegmentation().GetSegmentIdBySegmentName("lesion")
    logic.register(fixed, moving, segmentation, segmentIDs=[lesion])
    warped = slicer.util.getNode("segments to follow-up").GetSegmentation()
    assert warped.GetNumberOfSegments() == 1
    assert warped.GetNthSegment(0).GetName() == "lesion"


def test_the_initial_transform_reaches_the_engine(application, logic, fixed, moving):
    logic.register(fixed, moving, initialTransform=transformNode(application, "shift", (10, 20, -30)))
    transform = slicer.util.getNode("baseline to follow-up transform")
    assert transform.GetTransformToParent().TransformPoint((0, 0, 0)) == pytest.approx((10, 20, -30))


def test_a_segmentation_is_propagated_to_each_follow_up(application, logic, moving, segmentation, tmp_path):
    followUps = [volume(application, tmp_path, f"month {n}", seed=n) for n in (3, 6)]
    results = logic.propagateSegmentation(moving, segmentation, followUps)
    assert [node.GetName() for node in results] == ["segments to month 3", "segments to month 6"]
    for node, followUp in zip(results, followUps, strict=True):
        assert node.GetSegmentation().GetNumberOfSegments() == 2
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is followUp
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 0
    assert moving.GetParentTransformNode() is None


def test_a_follow_up_that_fails_is_named_and_does_not_stop_the_others(
    application, logic, moving, segmentation, tmp_path
):
    bad = volume(application, tmp_path, "month 3", offset=-5)
    good = volume(application, tmp_path, "month 6")
    with pytest.raises(RegistrationError, match="month 3: This one is negative"):
        logic.propagateSegmentation(moving, segmentation, [bad, good])
    assert slicer.util.getFirstNodeByName("segments to month 6") is not None
    assert slicer.util.getFirstNodeByName("segments to month 3") is None


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_propagation_without_one_of_its_nodes_does_not_begin(logic, moving, segmentation, fixed, missing):
    nodes = [moving, segmentation, fixed]
    nodes[missing] = None
    with pytest.raises(InputError, match="one is None"):
        logic.propagateSegmentation(*nodes[:2], nodes[2:])


# Previews, and what is kept


def test_the_newest_preview_is_handed_over_and_the_state_is_kept_on_demand(
    application, logic, jobFolders, fixed, moving
):
    before = contents(application.scene)
    previews, events, finished = [], [], []
    job = logic.startRegistration(
        fixed, moving, settings={"fate": "previews"},
        onPreview=previews.append, onProgress=events.append, onFinished=finished.append,
    )  # fmt: skip
    end = time.monotonic() + 20
    while not (job.jobFolder / "shown").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)  # for the thread that reads
    job.poll()
    job.poll()
    (preview,) = previews
    assert preview.GetScene() is None
    voxels = slicer.util.arrayFromVolume(preview)
    np.testing.assert_allclose(voxels, slicer.util.arrayFromVolume(moving) + 3000, rtol=1e-6)
    assert preview.GetOrigin() == pytest.approx(moving.GetOrigin())
    assert contents(application.scene) == before

    job.keep()
    assert job.state is JobState.KEEPING
    assert job.wait() is JobState.DONE  # a preview that has vanished is announced meanwhile
    assert len(previews) == 1
    assert {event["event"] for event in events} == {"progress"}
    assert finished[0]["job"]["preview"] is True


# Failure and cancelling


@pytest.mark.parametrize(
    ("fate", "kind", "message"),
    [
        ("memory", "memory", "Too little memory; use a coarser spacing."),
        ("crash", "internal", "something went wrong in C"),
        ("no result", "internal", "reported success but left no result"),
        ("no transform", "internal", "'transform.h5' is missing or not as the engine wrote it"),
        ("cut short", "internal", "'warped.nii.gz' is missing or not as the engine wrote it"),
        ("half a result", "internal", "result.json is damaged"),
    ],
)
def test_a_failed_run_says_why_and_leaves_scene_and_disk_as_they_were(
    application, logic, jobFolders, fixed, moving, segmentation, fate, kind, message
):
    before = contents(application.scene)
    with pytest.raises(RegistrationError, match=message) as caught:
        logic.register(fixed, moving, segmentation, settings={"fate": fate})
    assert caught.value.kind == kind
    assert contents(application.scene) == before
    assert not list(jobFolders.iterdir())
    if fate == "crash":
        assert "something went wrong in C" in caught.value.log


def test_the_whole_log_of_a_crash_goes_to_the_applications_error_log(logic, fixed, moving, caplog):
    with pytest.raises(RegistrationError):
        logic.register(fixed, moving, settings={"fate": "crash"})
    (record,) = [record for record in caplog.records if record.name == "MIRRBA"]
    assert "something went wrong in C" in record.getMessage()


def running(logic, fixed, moving, *arguments, **callbacks):
    job = logic.startRegistration(fixed, moving, *arguments, settings={"fate": "wait"}, **callbacks)
    end = time.monotonic() + 20
    while job.state is not JobState.RUNNING:
        assert time.monotonic() < end
        job.poll()
        time.sleep(0.01)
    return job


def test_a_cancelled_run_leaves_scene_and_disk_as_they_were(application, logic, jobFolders, fixed, moving):
    before = contents(application.scene)
    failures, finished = [], []
    job = running(logic, fixed, moving, onFailed=failures.append, onFinished=finished.append)
    job.cancel()
    assert job.wait() is JobState.CANCELLED
    assert [type(failure) for failure in failures] == [RegistrationCancelled]
    assert not finished
    assert contents(application.scene) == before
    assert not list(jobFolders.iterdir())


def test_a_run_that_was_cancelled_stays_so_when_its_nodes_are_removed(application, logic, fixed, moving):
    job = running(logic, fixed, moving)
    job.cancel()
    application.scene.RemoveNode(fixed)
    assert job.wait() is JobState.CANCELLED
    assert isinstance(job.error, RegistrationCancelled)


def test_callbacks_come_once(logic, fixed, moving):
    finished = []
    job = logic.startRegistration(fixed, moving, onFinished=finished.append)
    assert job.wait() is JobState.DONE
    assert job.poll() is JobState.DONE
    assert [metrics["dice_organs"] for metrics in finished] == [0.5]


def test_an_exception_in_a_progress_callback_ends_the_run(logic, jobFolders, fixed, moving):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.register(fixed, moving, onProgress=interrupt)
    assert not list(jobFolders.iterdir())


def test_closing_loads_nothing_and_calls_nothing(application, logic, jobFolders, fixed, moving):
    before = contents(application.scene)
    calls = []
    job = running(logic, fixed, moving, onFailed=calls.append, onFinished=calls.append)
    job.close()
    assert job.poll() is JobState.CANCELLED
    assert not calls
    assert contents(application.scene) == before
    assert not list(jobFolders.iterdir())


def test_a_job_that_is_dropped_leaves_no_folder_behind(logic, jobFolders, fixed, moving):
    job = running(logic, fixed, moving)
    assert list(jobFolders.iterdir())
    del job
    gc.collect()
    assert not list(jobFolders.iterdir())


def test_the_job_folder_is_private_and_stays_if_asked_for(logic, jobFolders, fixed, moving):
    logic.register(fixed, moving, keepJobFolder=True)
    (folder,) = jobFolders.iterdir()
    assert (folder / "output" / "result.json").is_file()
    if sys.platform != "win32":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_temporary_folder_that_is_not_there_is_one_sentence(logic, fixed, moving, tmp_path, monkeypatch):
    missing = SimpleNamespace(temporaryPath=str(tmp_path / "missing"))
    monkeypatch.setattr(slicer, "app", missing, raising=False)
    with pytest.raises(RegistrationError, match="choose another temporary folder"):
        logic.startRegistration(fixed, moving)


def test_inside_slicer_the_job_folder_is_in_its_temporary_folder(logic, fixed, moving, tmp_path, monkeypatch):
    class Application:
        temporaryPath = str(tmp_path)
        processed = 0

        def processEvents(self):
            self.processed += 1

    monkeypatch.setattr(slicer, "app", Application(), raising=False)
    logic.register(fixed, moving, keepJobFolder=True)
    assert list(tmp_path.glob("mirrba-*/job.json"))
    assert slicer.app.processed > 0


@pytest.mark.parametrize("removed", ["fixed", "moving", "segmentation", "output"])
def test_nodes_that_were_removed_meanwhile_are_a_failure(application, logic, fixed, moving, segmentation, removed):
    output = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "output")
    job = logic.startRegistration(fixed, moving, segmentation, outputVolume=output)
    application.scene.RemoveNode({"fixed": fixed, "moving": moving, "segmentation": segmentation}.get(removed, output))
    before = contents(application.scene)
    assert job.wait() is JobState.FAILED
    assert "removed from the scene" in str(job.error)
    assert contents(application.scene) == before


# Refused before anything is started


def assertRefused(logic, jobFolders, message, *arguments, **named):
    before = contents(slicer.mrmlScene)
    with pytest.raises(InputError, match=message):
        logic.startRegistration(*arguments, **named)
    assert contents(slicer.mrmlScene) == before
    assert not list(jobFolders.iterdir())


def test_two_different_scalar_volumes_with_voxels_are_needed(application, logic, jobFolders, fixed, moving):
    add = application.scene.AddNewNodeByClass
    assertRefused(logic, jobFolders, "Select a fixed PET", None, moving)
    assertRefused(logic, jobFolders, "Select a moving PET", fixed, None)
    assertRefused(logic, jobFolders, "Select a moving PET", fixed, add("vtkMRMLLabelMapVolumeNode"))
    assertRefused(logic, jobFolders, "Select a moving PET", fixed, add("vtkMRMLModelNode"))
    assertRefused(logic, jobFolders, "are the same volume", fixed, fixed)
    assertRefused(logic, jobFolders, "'empty' holds no image", fixed, add("vtkMRMLScalarVolumeNode", "empty"))


def test_other_inputs_have_to_be_of_their_kind(logic, jobFolders, fixed, moving):
    assertRefused(logic, jobFolders, "is not a segmentation", fixed, moving, moving)
    assertRefused(logic, jobFolders, "is not a transform", fixed, moving, initialTransform=moving)


def test_an_initial_transform_is_not_applied_twice(application, logic, jobFolders, fixed, moving):
    shift = transformNode(application, "shift")
    outer = transformNode(application, "outer")
    shift.SetAndObserveTransformNodeID(outer.GetID())
    moving.SetAndObserveTransformNodeID(shift.GetID())
    for transform in (shift, outer):
        assertRefused(logic, jobFolders, "already moves 'baseline'", fixed, moving, initialTransform=transform)


def test_outputs_have_to_be_wanted_fitting_and_apart_from_the_inputs(
    application, logic, jobFolders, fixed, moving, segmentation
):
    add = application.scene.AddNewNodeByClass
    none = {"outputTransform": False, "outputVolume": False}
    assertRefused(logic, jobFolders, "Nothing would come out", fixed, moving, **none)
    assertRefused(logic, jobFolders, "overwrite an input", fixed, moving, outputVolume=moving)
    named = {"outputSegmentation": add("vtkMRMLSegmentationNode")}
    assertRefused(logic, jobFolders, "needs a moving segmentation", fixed, moving, **named)
    named = {"outputTransform": add("vtkMRMLLinearTransformNode", "line")}
    assertRefused(logic, jobFolders, "'line' is not a transform that can hold a field", fixed, moving, **named)
    named = {"outputVolume": add("vtkMRMLLabelMapVolumeNode", "labels")}
    assertRefused(logic, jobFolders, "'labels' is not a scalar volume", fixed, moving, **named)


def test_an_output_transform_that_moves_an_input_is_refused(application, logic, jobFolders, fixed, moving):
    transform = transformNode(application, "over the fixed")
    fixed.SetAndObserveTransformNodeID(transform.GetID())
    assertRefused(logic, jobFolders, "'over the fixed' moves 'follow-up'", fixed, moving, outputTransform=transform)


def test_a_parent_that_cannot_be_respected_is_refused_and_leaves_no_folder(
    application, logic, jobFolders, fixed, moving
):
    shear = transformNode(application, "shear")
    matrix = np.eye(4)
    matrix[0, 1] = 0.1
    shear.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    moving.SetAndObserveTransformNodeID(shear.GetID())
    assertRefused(logic, jobFolders, "shears it", fixed, moving)


def bend(node) -> None:
    node.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())


def shear(node) -> None:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 1, 0.1)
    node.SetMatrixTransformToParent(matrix)


@pytest.mark.parametrize(("spoil", "message"), [(bend, "under a non-linear transform"), (shear, "shears it")])
def test_a_segmentation_under_a_parent_that_cannot_be_respected_is_refused_before_a_run(
    application, fixed, moving, segmentation, spoil, message
):
    inputs = registrationJob.Inputs(fixed, moving, segmentation)
    parent = transformNode(application, "parent", (1, 2, 3))
    segmentation.SetAndObserveTransformNodeID(parent.GetID())
    registrationJob.checkRequest(inputs, registrationJob.Outputs())
    spoil(parent)
    with pytest.raises(InputError, match=f"'segments' lies .*{message}"):
        registrationJob.checkRequest(inputs, registrationJob.Outputs())
    parent.SetAttribute(OUTPUT_ATTRIBUTE, "1")  # that of an earlier result is taken off
    registrationJob.checkRequest(inputs, registrationJob.Outputs())


# The engine itself


@pytest.fixture
def phantom(application, jobFolders, pair_folder):
    """Fixed and moving volume and segmentation of a phantom pair, and the folder they come from."""
    volumes = [application.loadVolume(pair_folder / f"{name}.nii.gz", name) for name in ("fixed", "moving")]
    segments = [
        application.loadSegmentation(pair_folder / f"{name}_segmentation.seg.nrrd", f"{name} segments")
        for name in ("fixed", "moving")
    ]
    return *volumes, *segments


def test_the_engine_registers_volumes_under_transforms_where_they_are_in_the_world(application, phantom):
    """The pair lies turned in space. Slicer's own resampling with the transform gives the warped volume again."""
    fixed, moving, fixedSegments, movingSegments = phantom
    turn = transformNode(application, "turn")
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.4).GetMatrix(), (3, 3))
    matrix[:3, 3] = (50, -20, 400)
    turn.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in phantom:
        node.SetAndObserveTransformNodeID(turn.GetID())
    events = []

    job = MIRRBARegistrationLogic().startRegistration(
        fixed, moving, movingSegments, fixedSegments, preset="fast", device="cpu", onProgress=events.append
    )
    assert job.wait() is JobState.DONE, job.error

    assert job.metrics["dice_organs"] > 0.6
    assert job.metrics["folding_fraction"] < 0.01
    assert [event["fraction"] for event in events] == sorted(event["fraction"] for event in events)
    turn.SetAndObserveTransformNodeID(job.outputs.transform.GetID())  # what users do: the result above all else
    resampled = application.logics["Volumes"].ResampleVolumeToReferenceVolume(moving, job.outputs.volume)
    expected = slicer.util.arrayFromVolume(job.outputs.volume)
    inside = tuple(slice(2, -2) for _ in range(3))
    difference = np.abs(slicer.util.arrayFromVolume(resampled) - expected)[inside]
    assert difference.max() < 1e-3 * expected.max()


def test_the_engine_is_cancelled_from_the_scene(application, phantom):
    fixed, moving, *_ = phantom
    before = contents(application.scene)
    job = MIRRBARegistrationLogic().startRegistration(fixed, moving, preset="mirrba", device="cpu")
    while job.poll() is JobState.STARTING:
        time.sleep(0.02)
    job.cancel()
    assert job.wait() is JobState.CANCELLED
    assert contents(application.scene) == before


def running_engine(fixed, moving):
    job = MIRRBARegistrationLogic().startRegistration(fixed, moving, preset="mirrba", device="cpu")
    while job.poll() is JobState.STARTING:
        time.sleep(0.02)
    return job


def test_the_engine_killed_by_the_system_is_a_sentence_and_leaves_scene_and_disk_as_they_were(
    application, jobFolders, phantom
):
    fixed, moving, *_ = phantom
    before = contents(application.scene)
    job = running_engine(fixed, moving)
    os.kill(job._job._process.pid, signal.SIGKILL)
    assert job.wait() is JobState.FAILED
    assert "was killed or crashed (exit code -9)" in str(job.error)
    assert contents(application.scene) == before
    assert not list(jobFolders.iterdir())


def test_a_scene_that_is_cleared_ends_the_engine(application, jobFolders, phantom):
    fixed, moving, *_ = phantom
    job = running_engine(fixed, moving)
    process = job._job._process
    application.scene.Clear(False)
    before = contents(application.scene)
    assert job.wait() is JobState.FAILED  # though the engine would go on for long
    assert "removed from the scene" in str(job.error)
    assert process.wait(60) is not None
    assert contents(application.scene) == before
    assert not list(jobFolders.iterdir())


def test_a_job_folder_that_is_removed_meanwhile_is_a_failure(application, jobFolders, phantom):
    fixed, moving, *_ = phantom
    before = contents(application.scene)
    job = MIRRBARegistrationLogic().startRegistration(
        fixed, moving, preset="fast", device="cpu", settings={"spacing": 24, "start": [3]}
    )
    while job.poll() is JobState.STARTING:
        time.sleep(0.02)
    shutil.rmtree(job.jobFolder)
    assert job.wait() is JobState.FAILED
    assert "the results could not be written" in str(job.error)
    assert contents(application.scene) == before
    assert not list(jobFolders.iterdir())


def test_the_engine_shows_previews_and_keeps_its_state(application, phantom):
    fixed, moving, *_ = phantom
    previews = []
    job = MIRRBARegistrationLogic().startRegistration(
        fixed, moving, preset="mirrba-depth-1", device="cpu", onPreview=previews.append,
        settings={"spacing": 14, "init": "affine", "iterations": "100000"},
    )  # fmt: skip
    job.wait(onIdle=lambda: previews and job.keep())
    assert job.state is JobState.DONE, job.error
    assert job.isStoppedEarly
    bounds = [np.zeros(6) for _ in range(2)]
    for node, values in zip((fixed, previews[0]), bounds, strict=True):
        node.GetRASBounds(values)
    assert np.abs(bounds[0] - bounds[1]).max() < 150  # the working grid lies over the bodies
    assert slicer.util.arrayFromVolume(previews[0]).max() > 0.5 * slicer.util.arrayFromVolume(moving).max()


def test_a_run_that_was_whole_when_it_was_asked_to_stop_is_not_called_stopped_early(phantom):
    def keepWhileWriting(event):
        if event["stage"] == "writing results":
            asked.append(job.state)
            job.keep()

    fixed, moving, *_ = phantom
    asked = []
    job = MIRRBARegistrationLogic().startRegistration(
        fixed, moving, preset="fast", device="cpu", settings={"start": [3]}, onProgress=keepWhileWriting
    )
    assert job.wait() is JobState.DONE, job.error
    assert asked[0] is JobState.RUNNING
    assert not job.isStoppedEarly


def test_the_engine_explains_a_wrong_setting(phantom):
    fixed, moving, *_ = phantom
    with pytest.raises(RegistrationError, match="There is no preset 'best'") as caught:
        MIRRBARegistrationLogic().register(fixed, moving, preset="best")
    assert caught.value.kind == "input"
