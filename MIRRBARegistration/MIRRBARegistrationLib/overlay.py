"""Fixed in green, moving or warped in magenta, added: what agrees is grey, what does not is coloured."""

from __future__ import annotations

import numpy as np
import slicer

_GREEN = "vtkMRMLColorTableNodeGreen"
_MAGENTA = "vtkMRMLColorTableNodeMagenta"
BACKGROUND_FRACTION = 0.02
"""Voxels below this share of the hottest tissue count as air and do not enter the window."""
WINDOW_PERCENTILE = 95.0
"""The tissue uptake that is shown at full brightness."""


def showOverlay(fixedVolume, foregroundVolume) -> None:
    """Show both volumes in all slice views, linked.

    Colours and windows of the two display nodes change; everything else stays.
    """
    _display(fixedVolume, _GREEN)
    _display(foregroundVolume, _MAGENTA)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", fixedVolume.GetScene()):
        composite.SetBackgroundVolumeID(fixedVolume.GetID())
        composite.SetForegroundVolumeID(foregroundVolume.GetID())
        composite.SetCompositing(slicer.vtkMRMLSliceCompositeNode.Add)
        composite.SetForegroundOpacity(1.0)
        composite.SetLinkedControl(True)


def petWindow(volumeNode) -> tuple[float, float]:
    """The intensities shown as black and as full brightness: tissue fills the range, brain and bladder exceed it."""
    voxels = slicer.util.arrayFromVolume(volumeNode)[::2, ::2, ::2]
    voxels = voxels[np.isfinite(voxels)]
    tissue = voxels[voxels > BACKGROUND_FRACTION * np.percentile(voxels, 99.9)] if voxels.size else voxels
    if not tissue.size:
        return 0.0, 1.0
    return 0.0, float(np.percentile(tissue, WINDOW_PERCENTILE))


def _display(volumeNode, colorNodeID: str) -> None:
    volumeNode.CreateDefaultDisplayNodes()
    display = volumeNode.GetDisplayNode()
    lower, upper = petWindow(volumeNode)
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(colorNodeID)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(lower, upper)
