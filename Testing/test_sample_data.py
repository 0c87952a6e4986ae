"""The made pair of the Sample Data module: its files, its place in the scene, its button."""

import shutil
import sys
import types
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from MIRRBARegistrationLib import RegistrationError, backgroundJob, nodes, sampleData

SPACING = 12.0


@pytest.fixture
def torchless(tmp_path, monkeypatch):
    """Child processes in which torch cannot be imported."""
    blocker = tmp_path / "no torch" / "torch"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text("raise ImportError('There is no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(blocker.parent))


@pytest.fixture
def gui(monkeypatch, jobFolders):
    """What the sample data use of a running application; `onIdle` is called while it waits."""
    gui = SimpleNamespace(messages=[], errors=[], idle=0, onIdle=lambda: None)

    def processEvents():
        gui.idle += 1
        gui.onIdle()

    app = SimpleNamespace(
        temporaryPath=str(jobFolders), processEvents=processEvents, layoutManager=lambda: None, applicationName="Slicer"
    )
    monkeypatch.setattr(slicer, "app", app, raising=False)
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda message, duration=0: gui.messages.append(message))
    monkeypatch.setattr(slicer.util, "errorDisplay", gui.errors.append)
    monkeypatch.setattr(sampleData, "makePhantomPair", partial(sampleData.makePhantomPair, SPACING))
    return gui


@pytest.fixture
def quickly(pair_folder, monkeypatch):
    """The files are copied instead of made, for tests of what becomes of them."""
    monkeypatch.setattr(
        sampleData, "_makeFiles", lambda folder, *_: shutil.copytree(pair_folder, folder, dirs_exist_ok=True)
    )


def names(scene, className) -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass(className, scene)]


def test_the_pair_is_made_without_torch_and_leaves_no_file(application, jobFolders, torchless):
    pair = sampleData.makePhantomPair(SPACING)
    assert names(application.scene, "vtkMRMLScalarVolumeNode") == ["Baseline PET", "Follow-up PET"]
    assert names(application.scene, "vtkMRMLSegmentationNode") == ["Baseline segments", "Follow-up segments"]
    assert pair.followUpVolume.GetSpacing() == pytest.approx((SPACING,) * 3)
    assert list(jobFolders.iterdir()) == []
    # a file name that leads nowhere would be offered when the scene is saved
    assert all(node.GetStorageNode() is None for node in vars(pair).values())


def test_the_same_seed_gives_the_files_of_the_command_line(application, jobFolders, pair_folder):
    """pair_folder was made with seed 3."""
    pair = sampleData.makePhantomPair(SPACING, seed=3)
    for volume, name in ((pair.baselineVolume, "moving"), (pair.followUpVolume, "fixed")):
        expected = nodes.readVolume(pair_folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), slicer.util.arrayFromVolume(expected))
        assert volume.GetOrigin() == expected.GetOrigin()


def test_each_segmentation_belongs_to_its_volume(application, quickly):
    pair = sampleData.makePhantomPair(SPACING)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for segmentation, volume in (
        (pair.baselineSegmentation, pair.baselineVolume),
        (pair.followUpSegmentation, pair.followUpVolume),
    ):
        assert segmentation.GetNodeReference(role) is volume
        segments = segmentation.GetSegmentation()
        found = [segments.GetNthSegment(i).GetName() for i in range(segments.GetNumberOfSegments())]
        assert found[:2] == ["brain", "bladder"]
        assert all(name.startswith("lesion ") for name in found[2:])


def test_volumes_carry_unit_date_and_modality_as_from_dicom(application, quickly):
    pair = sampleData.makePhantomPair(SPACING)
    hierarchy = application.subjectHierarchy
    dates = []
    for node in vars(pair).values():
        item = hierarchy.GetItemByDataNode(node)
        study, patient = (hierarchy.GetItemAncestorAtLevel(item, level) for level in ("Study", "Patient"))
        assert hierarchy.GetItemName(patient) == "MIRRBA phantom"
        assert hierarchy.GetItemParent(item) == study
        dates.append(hierarchy.GetAttributeFromItemAncestor(item, "DICOM.StudyDate", "Study"))
    assert dates[0] == dates[2] < dates[1] == dates[3]
    for volume in (pair.baselineVolume, pair.followUpVolume):
        assert volume.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
        assert volume.GetVoxelValueQuantity().GetCodeMeaning() == "Standardized Uptake Value"
        assert hierarchy.GetItemAttribute(hierarchy.GetItemByDataNode(volume), "DICOM.Modality") == "PT"


def test_the_views_show_the_follow_up_in_black_on_white(application, quickly):
    pair = sampleData.makePhantomPair(SPACING)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert composite.GetBackgroundVolumeID() == pair.followUpVolume.GetID()
    pixels = application.sliceImage("Green", 120, 160)
    assert np.median(pixels) > 220  # air and soft tissue
    assert pixels.min() < 20  # brain and bladder
    assert pair.followUpSegmentation.GetDisplayNode().GetVisibility()
    assert not pair.baselineSegmentation.GetDisplayNode().GetVisibility()


def test_a_second_pair_has_names_of_its_own(application, quickly):
    first, second = sampleData.makePhantomPair(SPACING), sampleData.makePhantomPair(SPACING, seed=1)
    assert first.baselineVolume.GetName() != second.baselineVolume.GetName()
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert second.followUpSegmentation.GetNodeReference(role) is second.followUpVolume


def test_the_pair_survives_a_saved_scene(application, quickly, tmp_path):
    pair = sampleData.makePhantomPair(SPACING)
    voxels = slicer.util.arrayFromVolume(pair.baselineVolume).copy()
    application.writeBundle(tmp_path / "scene.mrb")
    application.scene.Clear(False)
    application.readBundle(tmp_path / "scene.mrb")
    loaded = slicer.util.getNode("Baseline PET")
    np.testing.assert_allclose(slicer.util.arrayFromVolume(loaded), voxels)
    assert loaded.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"


def test_a_failure_is_one_sentence_and_changes_nothing(application, jobFolders):
    with pytest.raises(RegistrationError) as caught:
        sampleData.makePhantomPair(spacingMm=1.0)
    assert str(caught.value) == "The sample pair could not be made: --spacing takes 1.5 to 20 mm, not 1."
    assert names(application.scene, "vtkMRMLScalarVolumeNode") == []
    assert list(jobFolders.iterdir()) == []


def test_an_interpreter_that_cannot_be_started_is_told(application, jobFolders, monkeypatch):
    monkeypatch.setattr(sampleData, "defaultPythonExecutable", lambda: "/no/such/python")
    with pytest.raises(RegistrationError, match="could not be made"):
        sampleData.makePhantomPair(SPACING)
    assert list(jobFolders.iterdir()) == []


# The button


def test_the_button_keeps_the_application_alive_and_tells_what_happens(application, gui):
    sampleData.onSampleRequested(source=None)
    assert gui.idle > 5
    assert gui.messages == ["Making a baseline and a follow-up PET …", "The sample pair is loaded."]
    assert gui.errors == []
    assert names(application.scene, "vtkMRMLScalarVolumeNode") == ["Baseline PET", "Follow-up PET"]


def test_a_second_click_meanwhile_starts_nothing(application, gui):
    gui.onIdle = lambda: sampleData.onSampleRequested()
    sampleData.onSampleRequested()
    assert len(names(application.scene, "vtkMRMLScalarVolumeNode")) == 2
    assert "The sample pair is being made already …" in gui.messages
    gui.onIdle = lambda: None
    sampleData.onSampleRequested()  # and afterwards it works again
    assert len(names(application.scene, "vtkMRMLScalarVolumeNode")) == 4


def test_the_button_shows_an_error_instead_of_raising_it(application, gui, monkeypatch):
    monkeypatch.setattr(sampleData, "defaultPythonExecutable", lambda: "/no/such/python")
    sampleData.onSampleRequested()
    assert len(gui.errors) == 1
    assert gui.errors[0].startswith("The sample pair could not be made: ")


def test_an_interrupt_ends_the_child(application, gui, monkeypatch):
    started = []

    def startAndRemember(*arguments):
        started.append(backgroundJob.startProcess(*arguments))
        return started[0]

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(sampleData, "startProcess", startAndRemember)
    gui.onIdle = interrupt
    with pytest.raises(KeyboardInterrupt):
        sampleData.makePhantomPair()
    assert started[0].poll() is not None
    assert not sampleData._making.locked()


# The Sample Data module


class SampleDataLogic:
    """What Slicer's logic of this name does with a source, as far as it is used here."""

    sources: dict

    @classmethod
    def sampleDataSourcesByCategory(cls, category):
        return cls.sources.get(category, [])

    @classmethod
    def registerCustomSampleDataSource(
        cls, category, sampleName, thumbnailFileName, uris, fileNames, nodeNames, customDownloader
    ):
        assert isinstance(uris, list)
        assert len(uris) == len(fileNames) == len(nodeNames)
        source = SimpleNamespace(
            sampleName=sampleName, thumbnailFileName=thumbnailFileName, customDownloader=customDownloader
        )
        cls.sources.setdefault(category, []).append(source)


def test_the_pair_is_offered_once_with_a_thumbnail(monkeypatch):
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    SampleDataLogic.sources = {}
    monkeypatch.setitem(sys.modules, "SampleData", module)
    sampleData.registerSampleData()
    sampleData.registerSampleData()  # a reload of the module
    (source,) = SampleDataLogic.sources["MIRRBA"]
    assert source.sampleName == "MIRRBAPhantom"
    assert Path(source.thumbnailFileName).read_bytes().startswith(b"\x89PNG")
    assert source.customDownloader is sampleData.onSampleRequested
