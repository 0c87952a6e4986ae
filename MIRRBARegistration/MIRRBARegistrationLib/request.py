"""From the panel's choices to a registration, or to the sentence that says what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mirrba.errors import MirrbaError
from mirrba.presets import resolve
from slicer.i18n import tr as _

from .errors import InputError
from .parameters import Initialisation
from .registrationJob import Inputs, Outputs, checkRequest
from .settingNames import inPanelsWords


@dataclass(frozen=True)
class Request:
    inputs: Inputs
    outputs: Outputs
    config: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.inputs.movingVolume.GetName()} to {self.inputs.fixedVolume.GetName()}"

    def check(self) -> None:
        """Raises InputError with a sentence on what has to be changed."""
        # a copy: checking settles which outputs there are
        checkRequest(self.inputs, replace(self.outputs))
        try:
            resolve(**self.config)
        except MirrbaError as error:
            raise InputError(inPanelsWords(str(error))) from None


def registration(parameters) -> Request:
    """What the button starts. Raises InputError if something is missing."""
    if parameters.fixedVolume is None:
        raise InputError(_("Select a follow-up PET (fixed)"))
    if parameters.movingVolume is None:
        raise InputError(_("Select a baseline PET (moving)"))
    inputs = Inputs(
        parameters.fixedVolume,
        parameters.movingVolume,
        parameters.movingSegmentation,
        parameters.fixedSegmentation,
        parameters.initialTransform,
        _segmentIDs(parameters),
    )
    outputs = Outputs(
        parameters.outputTransform if parameters.createTransform else False,
        parameters.outputVolume if parameters.createVolume else False,
        _outputSegmentation(parameters),
    )
    request = Request(inputs, outputs, settings(parameters))
    request.check()
    return request


def propagations(parameters) -> list[Request]:
    """One registration a follow-up; only the warped segments are kept. Raises InputError if something is missing."""
    baseline, segmentation = parameters.movingVolume, parameters.movingSegmentation
    if baseline is None:
        raise InputError(_("Select a baseline PET (moving)"))
    if segmentation is None:
        raise InputError(_("Select a baseline segmentation"))
    followUps = [volume for volume in parameters.followUps if volume is not None and volume is not baseline]
    if not followUps:
        raise InputError(_("Check at least one follow-up volume"))
    requests = [
        Request(
            Inputs(followUp, baseline, segmentation, segmentIDs=_segmentIDs(parameters)),
            Outputs(False, False, None),
            settings(parameters),
        )
        for followUp in followUps
    ]
    for request in requests:
        request.check()
    return requests


def settings(parameters) -> dict[str, Any]:
    """The engine's settings: the preset and what is laid over it."""
    chosen: dict[str, Any] = {"preset": parameters.preset, "device": parameters.device, "seed": parameters.seed}
    for name, text in (
        ("depth", parameters.levels),
        ("iterations", parameters.iterations),
        ("smooth", parameters.smooth),
        ("spacing", parameters.spacing),
    ):
        if text.strip():
            chosen[name] = text.strip()
    if parameters.initialisation is not Initialisation.PRESET:
        chosen["init"] = parameters.initialisation.value
    return chosen


def _segmentIDs(parameters) -> list[str] | None:
    """The checked segments; None, for all, where none is left out."""
    if parameters.movingSegmentation is None:
        return None
    present = list(parameters.movingSegmentation.GetSegmentation().GetSegmentIDs())
    checked = [segmentID for segmentID in present if segmentID not in parameters.leftOutSegments]
    if present and not checked:
        raise InputError(_("Check at least one segment, or select no baseline segmentation"))
    return None if checked == present else checked


def _outputSegmentation(parameters):
    wanted = parameters.createSegmentation and parameters.movingSegmentation is not None
    return parameters.outputSegmentation if wanted else False
