"""One registration in the scene: nodes → job folder → child process → nodes.

The scene changes only when everything has arrived: a run that fails, is cancelled, or whose nodes have been removed
meanwhile leaves it as it was.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from . import nodes
from .backgroundJob import POLL_SECONDS, BackgroundJob, Event, JobState, StartProcess, startProcess
from .errors import InputError, RegistrationCancelled, RegistrationError
from .guess import OUTPUT_ATTRIBUTE
from .resultFiles import RESULT_FILE, checkResultFiles

SCHEMA = 1
_METRICS = "metrics.json"
_REMOVED = "A volume or segmentation of this registration was removed from the scene while it ran; nothing was loaded."


@dataclass
class Inputs:
    """What is registered. `segmentIDs`: the moving segments to bring along; None for all."""

    fixedVolume: Any
    movingVolume: Any
    movingSegmentation: Any = None
    fixedSegmentation: Any = None
    initialTransform: Any = None
    segmentIDs: list[str] | None = None

    def nodes(self) -> list:
        given = (
            self.fixedVolume,
            self.movingVolume,
            self.movingSegmentation,
            self.fixedSegmentation,
            self.initialTransform,
        )
        return [node for node in given if node is not None]


@dataclass
class Outputs:
    """Where results go: a node to fill, None for a new node, False for no such output. Filled in by the run."""

    transform: Any = None
    volume: Any = None
    segmentation: Any = None

    def nodes(self) -> list:
        return [node for node in (self.transform, self.volume, self.segmentation) if node not in (None, False)]


@dataclass
class Callbacks:
    """Called on the thread that polls. `onPreview` gets the moving volume as warped so far, a node in no scene."""

    onProgress: Callable[[Event], None] = field(default=lambda event: None)
    onFinished: Callable[[dict[str, Any]], None] = field(default=lambda metrics: None)
    onFailed: Callable[[RegistrationError], None] = field(default=lambda error: None)
    onPreview: Callable[[Any], None] | None = None


class RegistrationJob:
    """The handle of a running registration: poll it, keep what it has found, cancel it, or wait for it.

    Raises InputError from the constructor if the nodes cannot be registered; every later failure goes to `onFailed`
    and stays in `error`. A cancelled run ends with RegistrationCancelled there.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: Outputs,
        config: dict[str, Any],
        callbacks: Callbacks | None = None,
        keepJobFolder: bool = False,
        startProcess: StartProcess = startProcess,
    ) -> None:
        checkRequest(inputs, outputs)
        self.inputs = inputs
        self.outputs = outputs
        self.metrics: dict[str, Any] | None = None
        self.isStoppedEarly = False
        """Of a run that is done: its result is what `keep` found."""
        self.error: RegistrationError | None = None
        self.logText = ""
        self._callbacks = callbacks or Callbacks()
        self._told = False
        self._end: JobState | None = None
        self._previewFile: str | None = None
        self.jobFolder = _makeJobFolder()
        # it holds patient data: it goes with this object, or with the application, unless asked for
        self._removeJobFolder = weakref.finalize(self, shutil.rmtree, self.jobFolder, ignore_errors=True)
        try:
            _exportInputs(inputs, self.jobFolder, config, self._callbacks.onPreview is not None)
        except BaseException as error:
            self._removeJobFolder()
            if isinstance(error, OSError):
                raise RegistrationError(f"The job could not be written ({error.strerror}); is the disk full?") from None
            raise
        if keepJobFolder:
            self._removeJobFolder.detach()
        self._job = BackgroundJob(self.jobFolder, self._importResults, self._hear, startProcess=startProcess)

    @property
    def state(self) -> JobState:
        return self._end or self._job.state

    def start(self) -> None:
        self._job.start()

    def poll(self) -> JobState:
        """Deliver what has arrived; at the end, call `onFinished` or `onFailed` once."""
        state = self._job.poll()
        if state.isFinal:
            self._conclude(state)
        elif state is not JobState.CANCELLING and self._hasLostNodes():
            self._job.close()
            self._conclude(JobState.FAILED, RegistrationError(_REMOVED, "input"))
        else:
            self._showPreview()
        return self.state

    def wait(self, onIdle: Callable[[], None] | None = None) -> JobState:
        """Poll until the run is over; `onIdle` keeps an application alive meanwhile."""
        while not self.poll().isFinal:
            if onIdle:
                onIdle()
            self._job.wait(POLL_SECONDS)
        return self.state

    def keep(self) -> None:
        """End early: the results are those of what has been found so far."""
        self._job.keep()

    def cancel(self) -> None:
        self._job.cancel()

    def bringMoving(self) -> None:
        """Of a run that is done: where no warped volume was asked for, the moving one lies under the transform,
        unless it lies under another."""
        moving, outputs = self.inputs.movingVolume, self.outputs
        if outputs.transform and not outputs.volume and moving.GetParentTransformNode() is None:
            moving.SetAndObserveTransformNodeID(outputs.transform.GetID())

    def close(self) -> None:
        """End the child at once, load nothing, call nothing back: for a scene that is being closed."""
        self._told = True
        self._job.close()
        self._removeJobFolder()

    def _hear(self, event: Event) -> None:
        if event["event"] == "preview":
            self._previewFile = str(event.get("file"))  # of several, the newest counts
        else:
            if event["event"] == "warning":
                event = {**event, "message": self._inUsersWords(str(event.get("message", "")))}
            self._callbacks.onProgress(event)

    def _showPreview(self) -> None:
        """Hand over the newest preview, if there is one that has not been."""
        file, self._previewFile = self._previewFile, None
        if file is None or self._callbacks.onPreview is None:
            return
        try:
            preview = nodes.readVolume(self.jobFolder / file)
        except RegistrationError:
            return  # a newer one has taken its place
        self._callbacks.onPreview(preview)

    def _hasLostNodes(self) -> bool:
        return any(node.GetScene() is None for node in [*self.inputs.nodes(), *self.outputs.nodes()])

    def _conclude(self, state: JobState, error: RegistrationError | None = None) -> None:
        if self._told:
            return
        self._told, self._end = True, state
        self.logText = self._job.logText()
        self._job.close()
        self._removeJobFolder()
        if state is JobState.DONE:
            assert self.metrics is not None
            self._callbacks.onFinished(self.metrics)
            return
        error = RegistrationCancelled() if state is JobState.CANCELLED else error or self._job.error
        assert error is not None
        if error.kind == "internal":  # the others say all there is to know
            # before nodes are named: their names may be a patient's, and the application keeps its log
            logging.getLogger("MIRRBA").error("%s\nThe whole log of the run:\n%s", error, self.logText)
        message = self._inUsersWords(error.message)
        self.error = error if message == error.message else RegistrationError(message, error.kind, error.details)
        self.error.log = self.logText
        self._callbacks.onFailed(self.error)

    def _inUsersWords(self, message: str) -> str:
        """The engine names the job folder's files, which mean nothing to the user and are gone."""
        for name, node in (
            ("fixed.nrrd", self.inputs.fixedVolume),
            ("moving.nrrd", self.inputs.movingVolume),
            ("fixed_segmentation.seg.nrrd", self.inputs.fixedSegmentation),
            ("moving_segmentation.seg.nrrd", self.inputs.movingSegmentation),
            ("initial_transform.h5", self.inputs.initialTransform),
        ):
            if node is not None:
                message = message.replace(f"{self.jobFolder / name}: ", f"'{node.GetName()}' ")
        return message

    def _importResults(self, done: Event) -> None:
        """Check everything, read everything, then place everything."""
        results = self.jobFolder / str(done.get("output", "output"))
        checkResultFiles(results)
        inputs, outputs = self.inputs, self.outputs
        if self._hasLostNodes():
            raise RegistrationError(_REMOVED, "input")
        metrics, told = (json.loads((results / name).read_text(encoding="utf-8")) for name in (_METRICS, RESULT_FILE))
        isStoppedEarly = bool(told.get("stopped_early"))
        transform = outputs.transform is not False and nodes.readTransform(results / "transform.h5")
        volume = outputs.volume is not False and nodes.readVolume(results / "warped.nii.gz")
        segmentation = outputs.segmentation is not False and nodes.readSegmentation(
            results / "warped_segmentation.seg.nrrd"
        )
        fixed, moving = inputs.fixedVolume, inputs.movingVolume
        if transform:
            outputs.transform = nodes.placeTransform(transform, outputs.transform, fixed, moving)
        if volume:
            outputs.volume = nodes.placeVolume(volume, outputs.volume, fixed, moving)
        if segmentation:
            outputs.segmentation = nodes.placeSegmentation(
                segmentation, outputs.segmentation, fixed, inputs.movingSegmentation
            )
        for node in outputs.nodes():
            node.SetAttribute(OUTPUT_ATTRIBUTE, "1")
        self.bringMoving()
        self.isStoppedEarly = isStoppedEarly
        self.metrics = metrics


def checkRequest(inputs: Inputs, outputs: Outputs) -> None:
    """Raises InputError where the nodes cannot be registered; settles that without segments none come out."""
    for name, node in (("fixed", inputs.fixedVolume), ("moving", inputs.movingVolume)):
        if node is None or node.GetClassName() != "vtkMRMLScalarVolumeNode":
            raise InputError(f"Select a {name} PET: a scalar volume is needed.")
        if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
            raise InputError(f"The {name} volume '{node.GetName()}' holds no image; load it or choose another.")
        if node.GetImageData().GetNumberOfScalarComponents() != 1:
            raise InputError(f"The {name} volume '{node.GetName()}' has several values a voxel; choose a PET.")
        if node.GetScene() is None:
            raise InputError(f"'{node.GetName()}' was removed from the scene; choose another volume.")
    if inputs.fixedVolume is inputs.movingVolume:
        raise InputError("Fixed and moving are the same volume; choose the follow-up as fixed, the baseline as moving.")
    for node in (inputs.movingSegmentation, inputs.fixedSegmentation):
        if node is not None and not node.IsA("vtkMRMLSegmentationNode"):
            raise InputError(f"'{node.GetName()}' is not a segmentation; convert it in the Segmentations module.")
        if node is not None and node.GetSegmentation().GetNumberOfSegments() == 0:
            raise InputError(f"The segmentation '{node.GetName()}' has no segments; add one or choose another.")
    _checkParents(inputs)
    _checkInitialTransform(inputs)
    _checkOutputs(inputs, outputs)


def _checkParents(inputs: Inputs) -> None:
    """A parent transform that cannot be respected is refused, but for one that a registration has put there."""
    for node, check in (
        (inputs.fixedVolume, nodes.volumeToWorldMatrix),
        (inputs.movingVolume, nodes.volumeToWorldMatrix),
        (inputs.movingSegmentation, nodes.checkSegmentationInWorld),
        (inputs.fixedSegmentation, nodes.checkSegmentationInWorld),
    ):
        if node is not None and not any(parent.GetAttribute(OUTPUT_ATTRIBUTE) for parent in _transformsOver(node)):
            check(node)


def _checkInitialTransform(inputs: Inputs) -> None:
    transform, moving = inputs.initialTransform, inputs.movingVolume
    if transform is None:
        return
    if not transform.IsA("vtkMRMLTransformNode"):
        raise InputError(f"'{transform.GetName()}' is not a transform; choose another or none.")
    if transform in _transformsOver(moving):
        raise InputError(
            f"The initial transform '{transform.GetName()}' already moves '{moving.GetName()}', and would do so twice; "
            "choose no initial transform, or take the volume out of it."
        )


def _checkOutputs(inputs: Inputs, outputs: Outputs) -> None:
    """Also settles that there is no warped segmentation without a moving one."""
    if inputs.movingSegmentation is None:
        if outputs.segmentation not in (None, False):
            raise InputError("A warped segmentation needs a moving segmentation; select one.")
        outputs.segmentation = False
    if (outputs.transform, outputs.volume, outputs.segmentation) == (False, False, False):
        raise InputError("Nothing would come out; ask for a transform, a warped volume or a warped segmentation.")
    if any(node in inputs.nodes() for node in outputs.nodes()):
        raise InputError("An output would overwrite an input; choose another output node.")
    for node, classNames, what in (
        (outputs.transform, ("vtkMRMLTransformNode", "vtkMRMLGridTransformNode"), "a transform that can hold a field"),
        (outputs.volume, ("vtkMRMLScalarVolumeNode",), "a scalar volume"),
        (outputs.segmentation, ("vtkMRMLSegmentationNode",), "a segmentation"),
    ):
        if node not in (None, False) and node.GetClassName() not in classNames:
            raise InputError(f"The output '{node.GetName()}' is not {what}; create a new node for it.")
    for node in inputs.nodes():
        if outputs.transform in _transformsOver(node):
            raise InputError(
                f"The output transform '{outputs.transform.GetName()}' moves '{node.GetName()}'; "
                "choose another output, or take the node out of it."
            )


def _transformsOver(node) -> list:
    """The node's parent transform, its parent, and so on."""
    transforms = []
    while (node := node.GetParentTransformNode()) is not None:
        transforms.append(node)
    return transforms


def _makeJobFolder() -> Path:
    """A new folder that only this user can read."""
    application = getattr(slicer, "app", None)
    parent = application.temporaryPath if application else None
    try:
        return Path(tempfile.mkdtemp(prefix="mirrba-", dir=parent))
    except OSError as error:
        raise RegistrationError(
            f"No folder could be made in {parent or tempfile.gettempdir()} ({error.strerror}); "
            "choose another temporary folder in the application settings."
        ) from None


def _exportInputs(inputs: Inputs, folder: Path, config: dict[str, Any], preview: bool) -> None:
    """Write the nodes and job.json (docs/architecture.md, "The job folder")."""
    files: dict[str, str | None] = {"fixed": "fixed.nrrd", "moving": "moving.nrrd"}
    nodes.exportVolume(inputs.fixedVolume, folder / "fixed.nrrd")
    nodes.exportVolume(inputs.movingVolume, folder / "moving.nrrd")
    for key, segmentation, reference, segmentIDs in (
        ("moving_segmentation", inputs.movingSegmentation, inputs.movingVolume, inputs.segmentIDs),
        ("fixed_segmentation", inputs.fixedSegmentation, inputs.fixedVolume, None),
    ):
        files[key] = None
        if segmentation is not None:
            files[key] = f"{key}.seg.nrrd"
            nodes.exportSegmentation(segmentation, folder / f"{key}.seg.nrrd", reference, segmentIDs)
    files["initial_transform"] = None
    if inputs.initialTransform is not None:
        files["initial_transform"] = "initial_transform.h5"
        nodes.exportTransform(inputs.initialTransform, folder / "initial_transform.h5", inputs.fixedVolume)
    job = {"schema": SCHEMA, "task": "register", **files, "config": config}
    if preview:
        job["preview"] = True
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
