"""Fixed in green, moving or warped in magenta, added: what agrees is grey, what does not is coloured."""

from __future__ import annotations

import json

import numpy as np
import slicer

_GREEN = "vtkMRMLColorTableNodeGreen"
_MAGENTA = "vtkMRMLColorTableNodeMagenta"
_INVERTED_GREY = "vtkMRMLColorTableNodeInvertedGrey"
BACKGROUND_FRACTION = 0.02
"""Voxels below this share of the hottest tissue count as air and do not enter the window."""
WINDOW_PERCENTILE = 95.0
"""The tissue uptake that is shown at full brightness."""
WINDOW = "MIRRBA.ReviewWindow"
"""Attribute of a display node that has got its window here; while the module is left, the last one that it had."""


def showOverlay(fixedVolume, foregroundVolume, composites: list | None = None, opacity: float = 1.0) -> None:
    """Show both volumes in the given slice views, or in all and link them. `opacity` is the foreground's, 0 to 1.

    Colours of the two display nodes change, and the first time their windows; everything else stays.
    """
    _display(fixedVolume, _GREEN)
    _display(foregroundVolume, _MAGENTA)
    areAll = composites is None
    if areAll:
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", fixedVolume.GetScene())
    for composite in composites:
        _setLayers(composite, fixedVolume, foregroundVolume, opacity, slicer.vtkMRMLSliceCompositeNode.Add)
        if areAll:
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
    with slicer.util.NodeModify(display):
        if display.GetColorNodeID() != colorNodeID:
            display.SetAndObserveColorNodeID(colorNodeID)
        if display.GetAttribute(WINDOW) is None:  # one that the user has chosen since stays
            window = petWindow(volumeNode)
            display.AutoWindowLevelOff()
            display.SetWindowLevelMinMax(*window)
            display.SetAttribute(WINDOW, json.dumps(window))
