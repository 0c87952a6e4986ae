"""Fixed in green, moving or warped in magenta, added: what agrees is grey, what does not is coloured."""

from __future__ import annotations

import numpy as np
import slicer

_GREEN = "vtkMRMLColorTableNodeGreen"
_MAGENTA = "vtkMRMLColorTableNodeMagenta"
_INVERTED_GREY = "vtkMRMLColorTableNodeInvertedGrey"
BACKGROUND_FRACTION = 0.02
"""Voxels below this share of the hottest tissue count as air and do not enter the window."""
WINDOW_PERCENTILE = 95.0
"""The tissue uptake that is shown at full brightness."""


def showOverlay(fixedVolume, foregroundVolume, composites: list | None = None, opacity: float = 1.0) -> None:
    """Show both volumes in the given slice views, or in all, linked. `opacity` is the foreground's, 0 to 1.

    Colours and windows of the two display nodes change; everything else stays.
    """
    _display(fixedVolume, _GREEN)
    _display(foregroundVolume, _MAGENTA)
    if composites is None:
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", fixedVolume.GetScene())
    for composite in composites:
        _setLayers(composite, fixedVolume, foregroundVolume, opacity, slicer.vtkMRMLSliceCompositeNode.Add)
        composite.SetLinkedControl(True)


def makeGrey(*volumeNodes) -> None:
    """As nuclear medicine prints a PET, black on white, in every view. None is left out."""
    for node in volumeNodes:
        if node is not None:
            _display(node, _INVERTED_GREY)


def showGrey(volumeNode, composite, foregroundVolume=None, opacity: float = 0.0) -> None:
    """Show a PET in grey, and another one over it or not."""
    makeGrey(volumeNode, foregroundVolume)
    _setLayers(composite, volumeNode, foregroundVolume, opacity, slicer.vtkMRMLSliceCompositeNode.Alpha)


def showMap(volumeNode, mapNode, composite, opacity: float) -> None:
    """Show a PET in grey, and over it a map that keeps its own colours."""
    makeGrey(volumeNode)
    _setLayers(composite, volumeNode, mapNode, opacity, slicer.vtkMRMLSliceCompositeNode.Alpha)


def hideForeground(composite) -> None:
    """Leave the background alone in the view."""
    with slicer.util.NodeModify(composite):
        composite.SetCompositing(slicer.vtkMRMLSliceCompositeNode.Alpha)
        composite.SetForegroundOpacity(0.0)


def petWindow(volumeNode) -> tuple[float, float]:
    """The intensities shown as black and as full brightness: tissue fills the range, brain and bladder exceed it."""
    voxels = slicer.util.arrayFromVolume(volumeNode)[::2, ::2, ::2]
    voxels = voxels[np.isfinite(voxels)]
    tissue = voxels[voxels > BACKGROUND_FRACTION * np.percentile(voxels, 99.9)] if voxels.size else voxels
    if not tissue.size:
        return 0.0, 1.0
    return 0.0, float(np.percentile(tissue, WINDOW_PERCENTILE))


def _setLayers(composite, background, foreground, opacity: float, compositing: int) -> None:
    with slicer.util.NodeModify(composite):
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        composite.SetCompositing(compositing)
        composite.SetForegroundOpacity(opacity)


def _display(volumeNode, colorNodeID: str) -> None:
    volumeNode.CreateDefaultDisplayNodes()
    display = volumeNode.GetDisplayNode()
    if display.GetColorNodeID() == colorNodeID:
        return  # a window that the user has chosen since stays
    lower, upper = petWindow(volumeNode)
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(colorNodeID)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(lower, upper)
