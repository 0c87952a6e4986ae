"""What scripts and the panel call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer

from . import overlay
from .backgroundJob import Event, startProcess
from .errors import InputError, RegistrationError
from .registrationJob import Callbacks, Inputs, Outputs, RegistrationJob

OnProgress = Callable[[Event], None]


class MIRRBARegistrationLogic:
    """Register a baseline PET (moving) onto a follow-up PET (fixed), in a process of its own.

    Output nodes: give a node to fill it, None for a new one ("<moving> to <fixed>", beside the fixed volume), False to
    leave that output out. `settings` overrides any setting of the preset, such as {"spacing": 6}. `onProgress` gets
    the engine's progress and warning events (docs/architecture.md, "The child process").

    Volumes and segmentations may lie under transforms that keep their axes at right angles; they are registered where
    these put them in the world, and all results are in world coordinates. A transform alone, without a warped volume,
    is at once put over the moving volume, unless that lies under a transform already.
    """

    startProcess = staticmethod(startProcess)
    """How the child process is started; tests put another one here."""

    def register(
        self,
        fixedVolume,
        movingVolume,
        movingSegmentation=None,
        fixedSegmentation=None,
        initialTransform=None,
        outputTransform=None,
        outputVolume=None,
        outputSegmentation=None,
        preset: str = "default",
        device: str = "auto",
        settings: dict[str, Any] | None = None,
        segmentIDs: list[str] | None = None,
        onProgress: OnProgress | None = None,
        keepJobFolder: bool = False,
    ) -> dict[str, Any]:
        """Block until the results are in the scene; return the scores (docs/architecture.md, "Scores").

        Raises InputError, RegistrationCancelled or RegistrationError; the scene is then as it was.
        """
        job = self.startRegistration(
            fixedVolume,
            movingVolume,
            movingSegmentation,
            fixedSegmentation,
            initialTransform,
            outputTransform,
            outputVolume,
            outputSegmentation,
            preset,
            device,
            settings,
            segmentIDs,
            onProgress,
            keepJobFolder=keepJobFolder,
        )
        return _finished(job).metrics

    def startRegistration(
        self,
        fixedVolume,
        movingVolume,
        movingSegmentation=None,
        fixedSegmentation=None,
        initialTransform=None,
        outputTransform=None,
        outputVolume=None,
        outputSegmentation=None,
        preset: str = "default",
        device: str = "auto",
        settings: dict[str, Any] | None = None,
        segmentIDs: list[str] | None = None,
        onProgress: OnProgress | None = None,
        onFinished: Callable[[dict[str, Any]], None] | None = None,
        onFailed: Callable[[RegistrationError], None] | None = None,
        onPreview: Callable[[Any], None] | None = None,
        keepJobFolder: bool = False,
    ) -> RegistrationJob:
        """Start and return at once. Call `poll()` of the handle regularly: it calls back, on the caller's thread.

        `onPreview` gets, every few seconds, a scalar volume node that is in no scene: the moving volume as it is warped
        so far, on the engine's working grid. The handle's `keep()` ends the run early with what it has found.
        """
        given = {"onProgress": onProgress, "onFinished": onFinished, "onFailed": onFailed, "onPreview": onPreview}
        job = RegistrationJob(
            Inputs(fixedVolume, movingVolume, movingSegmentation, fixedSegmentation, initialTransform, segmentIDs),
            Outputs(outputTransform, outputVolume, outputSegmentation),
            {"preset": preset, "device": device, **(settings or {})},
            Callbacks(**{name: callback for name, callback in given.items() if callback is not None}),
            keepJobFolder,
            self.startProcess,
        )
        job.start()
        return job

    def propagateSegmentation(
        self,
        baselineVolume,
        baselineSegmentation,
        followUpVolumes: Sequence,
        preset: str = "default",
        device: str = "auto",
        settings: dict[str, Any] | None = None,
        segmentIDs: list[str] | None = None,
        onProgress: OnProgress | None = None,
    ) -> list:
        """Bring one baseline's segments onto each follow-up, one after the other; returns the new segmentation nodes.

        One that fails does not stop the others; RegistrationError then names the failed ones at the end, and what
        succeeded stays in the scene. Raises RegistrationCancelled at once, and InputError where a node is None.
        """
        if None in (baselineVolume, baselineSegmentation, *followUpVolumes):
            raise InputError("Give a baseline, its segmentation and the follow-ups to bring it onto; one is None.")
        results, failures = [], []
        for followUp in followUpVolumes:
            try:
                job = self.startRegistration(
                    followUp,
                    baselineVolume,
                    baselineSegmentation,
                    outputTransform=False,
                    outputVolume=False,
                    preset=preset,
                    device=device,
                    settings=settings,
                    segmentIDs=segmentIDs,
                    onProgress=onProgress,
                )
                results.append(_finished(job).outputs.segmentation)
            except RegistrationError as error:
                if error.kind == "cancelled":
                    raise
                failures.append(f"{followUp.GetName()}: {error}")
        if failures:
            raise RegistrationError("Not every follow-up could be segmented. " + " ".join(failures))
        return results

    def showOverlay(self, fixedVolume, foregroundVolume) -> None:
        """Fixed in green and the other volume in magenta, added, in all slice views: grey is agreement."""
        overlay.showOverlay(fixedVolume, foregroundVolume)


def _finished(job: RegistrationJob) -> RegistrationJob:
    """Wait for the job; raise what it failed with."""
    application = getattr(slicer, "app", None)
    try:
        job.wait(onIdle=application.processEvents if application else None)
    except BaseException:  # the user's interrupt in a console
        job.close()
        raise
    if job.error is not None:
        raise job.error
    return job
