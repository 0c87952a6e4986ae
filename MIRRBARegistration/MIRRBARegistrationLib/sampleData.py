"""A made pair of PET volumes for Slicer's Sample Data module: nothing is downloaded.

The pair is laid out as Slicer lays out volumes from DICOM, so that whatever tells baseline from follow-up there does so
here: a patient item in the subject hierarchy, a study item for each examination with the attribute DICOM.StudyDate
(YYYYMMDD), and in it the volume, whose item has the attribute DICOM.Modality, and its segmentation.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from . import nodes, overlay
from .backgroundJob import ENGINE_FOLDER, defaultPythonExecutable, startProcess, workerEnvironment
from .errors import RegistrationError

CATEGORY = "MIRRBA"
SAMPLE_NAME = "MIRRBAPhantom"
PATIENT_NAME = "MIRRBA phantom"
_INVERTED_GREY = "vtkMRMLColorTableNodeInvertedGrey"
_BASELINE_DATE, _FOLLOW_UP_DATE = "20260112", "20260413"  # made up, as everything else is
_making = threading.Lock()


@dataclass(frozen=True)
class PhantomPair:
    """One patient before and after a treatment, with organs and lesions outlined on both."""

    baselineVolume: Any
    followUpVolume: Any
    baselineSegmentation: Any
    followUpSegmentation: Any


def registerSampleData() -> None:
    """Add the pair to the Sample Data module, once.

    Its button makes the pair. Scripts call makePhantomPair: SampleData.downloadSample knows downloads only.
    """
    from SampleData import SampleDataLogic

    if any(source.sampleName == SAMPLE_NAME for source in SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)):
        return
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(ENGINE_FOLDER / "Resources" / "Icons" / f"{SAMPLE_NAME}.png"),
        uris=[],  # lists, because it takes their lengths
        fileNames=[],
        nodeNames=[],
        customDownloader=onSampleRequested,
    )


def onSampleRequested(source=None) -> None:
    """What the button of the Sample Data module calls."""
    if _making.locked():
        _tell("The sample pair is being made already …")
        return
    try:
        makePhantomPair()
    except RegistrationError as error:
        _tell("")
        slicer.util.errorDisplay(str(error))


def makePhantomPair(spacingMm: float = 6.0, seed: int = 0) -> PhantomPair:
    """Make a baseline and a follow-up PET with their segmentations, in a process of its own, and load them.

    Takes some seconds; the application stays alive meanwhile. The same arguments give the same pair.
    Errors: RegistrationError; the scene is then as it was.
    """
    if not _making.acquire(blocking=False):
        raise RegistrationError("A sample pair is being made already; wait until it is there.")
    application = getattr(slicer, "app", None)
    try:
        with tempfile.TemporaryDirectory(
            prefix="mirrba-phantom-",
            dir=application.temporaryPath if application else None,
            ignore_cleanup_errors=True,
        ) as folder:
            _tell("Making a baseline and a follow-up PET …", 0)
            _makeFiles(Path(folder), spacingMm, seed)
            pair = loadPair(Path(folder))
    finally:
        _making.release()
    slicer.util.setSliceViewerLayers(background=pair.followUpVolume, foreground=None, fit=application is not None)
    _tell("The sample pair is loaded.")
    return pair


def _tell(message: str, milliseconds: int = 5000) -> None:
    """0: until something else is said."""
    if getattr(slicer, "app", None):
        slicer.util.showStatusMessage(message, milliseconds)


# The child process


def _makeFiles(folder: Path, spacingMm: float, seed: int) -> None:
    command = [defaultPythonExecutable(), "-m", "mirrba", "phantom"]
    options = ["-o", str(folder), "--spacing", str(spacingMm), "--seed", str(seed)]
    log = folder / "log.txt"
    try:
        process = startProcess([*command, *options], workerEnvironment(), log)
    except OSError as error:
        raise RegistrationError(f"The sample pair could not be made: {error}.") from None
    try:
        exitCode = _waitFor(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()
    if exitCode != 0:
        raise RegistrationError(_describeFailure(exitCode, log))


def _waitFor(process) -> int:
    """The exit code; an application goes on drawing itself meanwhile."""
    application = getattr(slicer, "app", None)
    while process.poll() is None:
        if application:
            application.processEvents()
        time.sleep(0.02)
    return process.poll()


def _describeFailure(exitCode: int, log: Path) -> str:
    """The engine's own sentence, which is the last line it wrote."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return f"The sample pair could not be made (exit code {exitCode}); try again."
    return f"The sample pair could not be made: {lines[-1].removeprefix('mirrba: ')}"


# Into the scene


def loadPair(folder: Path) -> PhantomPair:
    """Into the scene, from a folder that `mirrba phantom` has made: read everything, then place everything."""
    volumes = [nodes.readVolume(folder / f"{name}.nii.gz") for name in ("moving", "fixed")]
    segmentations = [nodes.readSegmentation(folder / f"{name}_segmentation.seg.nrrd") for name in ("moving", "fixed")]
    scene = slicer.mrmlScene
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), hierarchy.GenerateUniqueItemName(PATIENT_NAME))
    for name, date, volume, segmentation in zip(
        ("Baseline", "Follow-up"), (_BASELINE_DATE, _FOLLOW_UP_DATE), volumes, segmentations, strict=True
    ):
        study = _addStudy(hierarchy, patient, name, date)
        volume.SetName(scene.GenerateUniqueName(f"{name} PET"))
        segmentation.SetName(scene.GenerateUniqueName(f"{name} segments"))
        _placeVolume(scene.AddNode(volume), study)
        _placeSegmentation(scene.AddNode(segmentation), volume, study)
    segmentations[0].GetDisplayNode().SetVisibility(False)  # the views show the follow-up
    return PhantomPair(*volumes, *segmentations)


def _addStudy(hierarchy, patient: int, name: str, date: str) -> int:
    study = hierarchy.CreateStudyItem(patient, f"{name} ({date[:4]}-{date[4:6]}-{date[6:]})")
    dateAttribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMStudyDateAttributeName()
    hierarchy.SetItemAttribute(study, dateAttribute, date)
    return study


def _placeVolume(volume, study: int) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    item = nodes.placeUnder(volume, study)
    hierarchy.SetItemAttribute(
        item, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName(), "PT"
    )
    volume.SetVoxelValueQuantity(_code("126400", "DCM", "Standardized Uptake Value"))
    volume.SetVoxelValueUnits(_code("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"))
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(_INVERTED_GREY)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*overlay.petWindow(volume))


def _placeSegmentation(segmentation, volume, study: int) -> None:
    nodes.placeUnder(segmentation, study)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetVisibility2DFill(False)  # a filled lesion hides its uptake


def _code(value: str, scheme: str, meaning: str):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry
