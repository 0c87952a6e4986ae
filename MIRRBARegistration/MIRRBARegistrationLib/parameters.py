"""All choices of the panel, saved with the scene."""

from __future__ import annotations

import enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class _Choice(enum.Enum):
    def label(self) -> str:
        """What the combo box shows; Slicer's connector asks for it."""
        return _labels()[self]


class Initialisation(_Choice):
    PRESET = "preset"
    NONE = "none"
    CENTRE = "centre"
    RIGID = "rigid"
    AFFINE = "affine"


class Orientation(_Choice):
    CORONAL = "Coronal"
    SAGITTAL = "Sagittal"
    AXIAL = "Axial"


class OverlayMode(_Choice):
    COLOURS = "colours"
    CHECKERBOARD = "checkerboard"
    FLICKER = "flicker"


def _labels() -> dict[_Choice, str]:
    return {
        Initialisation.PRESET: _("As the preset"),
        Initialisation.NONE: _("None"),
        Initialisation.CENTRE: _("Centre of mass"),
        Initialisation.RIGID: _("Rigid"),
        Initialisation.AFFINE: _("Affine"),
        Orientation.CORONAL: _("Coronal"),
        Orientation.SAGITTAL: _("Sagittal"),
        Orientation.AXIAL: _("Axial"),
        OverlayMode.COLOURS: _("Green and magenta"),
        OverlayMode.CHECKERBOARD: _("Checkerboard"),
        OverlayMode.FLICKER: _("Flicker"),
    }


@parameterNodeWrapper
class MIRRBARegistrationParameterNode:
    """The texts of the advanced settings are empty where the preset decides.

    preset and device are plain texts, without a Choice: a scene may come from a version or a computer that had others.
    leftOutSegments holds identifiers of segments of movingSegmentation, so that segments added later are included.
    """

    fixedVolume: slicer.vtkMRMLScalarVolumeNode
    movingVolume: slicer.vtkMRMLScalarVolumeNode
    movingSegmentation: slicer.vtkMRMLSegmentationNode
    leftOutSegments: list[str]
    fixedSegmentation: slicer.vtkMRMLSegmentationNode
    initialTransform: slicer.vtkMRMLTransformNode

    createTransform: bool = True
    createVolume: bool = True
    createSegmentation: bool = True
    outputTransform: slicer.vtkMRMLTransformNode
    outputVolume: slicer.vtkMRMLScalarVolumeNode
    outputSegmentation: slicer.vtkMRMLSegmentationNode

    preset: str = "default"
    device: str = "auto"
    levels: str = ""
    iterations: str = ""
    smooth: str = ""
    spacing: str = ""
    initialisation: Initialisation = Initialisation.PRESET
    seed: Annotated[int, WithinRange(0, 1_000_000)] = 0

    livePreview: bool = True
    showLossPlot: bool = False

    result: slicer.vtkMRMLTableNode
    orientation: Orientation = Orientation.CORONAL
    overlayMode: OverlayMode = OverlayMode.COLOURS
    blend: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    showBefore: bool = False
    showGrid: bool = False
    showJacobian: bool = False

    followUps: list[slicer.vtkMRMLScalarVolumeNode]


_NODES = (
    "fixedVolume",
    "movingVolume",
    "movingSegmentation",
    "fixedSegmentation",
    "initialTransform",
    "outputTransform",
    "outputVolume",
    "outputSegmentation",
    "result",
)


def forgetNode(parameters, node) -> None:
    """Of a node that is about to be removed: its selector would choose the one that comes to lie in its row."""
    with slicer.util.NodeModify(parameters.parameterNode):
        for name in _NODES:
            if getattr(parameters, name) is node:
                setattr(parameters, name, None)
        kept = [followUp for followUp in parameters.followUps if followUp is not node]
        if len(kept) < len(parameters.followUps):
            parameters.followUps = kept
