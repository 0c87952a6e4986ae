"""One result in the three views: which volumes, colours, segments and maps are shown. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from . import derivedVolumes, layout, overlay
from .parameters import Orientation, OverlayMode
from .results import Result
from .viewMemory import ViewMemory

JACOBIAN_OPACITY = 0.5


@dataclass(frozen=True)
class View:
    """How a result is looked at."""

    orientation: Orientation
    mode: OverlayMode
    blend: float
    before: bool
    grid: bool
    jacobian: bool


class Review:
    """Shows a result, or the preview of one that is being computed."""

    def __init__(self) -> None:
        self.memory = ViewMemory()
        self._derived: dict[tuple, object] = {}

    def show(self, result: Result, view: View, flickerOn: bool = True) -> None:
        """Bring the views to the state; nothing else in the scene changes."""
        fixed, other = result.fixedVolume, self._movingShown(result, view.before)
        layout.setOrientation(view.orientation.value)
        _showSegments(result, view.before)
        _showGrid(result, view.grid)
        if fixed is None:
            self.showPair(None, None)
            return
        self.memory.remember(fixed, other)
        self._showSingle(layout.FIXED, fixed)
        self._showSingle(layout.MOVING, other)
        composite = layout.compositeNode(layout.OVERLAY)
        if composite is None:
            return
        if view.jacobian and result.transform is not None:
            overlay.makeGrey(other)
            overlay.showMap(fixed, self._jacobian(result), composite, JACOBIAN_OPACITY)
        elif other is None:
            overlay.showGrey(fixed, composite)
        elif view.mode is OverlayMode.COLOURS:
            overlay.showOverlay(fixed, other, [composite], view.blend)
        elif view.mode is OverlayMode.FLICKER:
            overlay.showGrey(fixed, composite, other, 1.0 if flickerOn else 0.0)
        else:
            overlay.makeGrey(fixed, other)
            overlay.showGrey(self._checkerboard(fixed, other), composite)

    def showPreview(self, fixedVolume, previewVolume, orientation: Orientation) -> None:
        """The registration as it stands, in green and magenta."""
        self.memory.remember(fixedVolume)
        layout.setOrientation(orientation.value)
        self._showSingle(layout.FIXED, fixedVolume)
        self._showSingle(layout.MOVING, previewVolume)
        composite = layout.compositeNode(layout.OVERLAY)
        if composite is not None:
            overlay.showOverlay(fixedVolume, previewVolume, [composite])

    def showPair(self, fixedVolume, movingVolume) -> None:
        """Just the two volumes: a view whose volume is removed would choose another by itself."""
        for tag, volumes in (
            (layout.FIXED, (fixedVolume, None)),
            (layout.MOVING, (movingVolume, None)),
            (layout.OVERLAY, (fixedVolume, movingVolume)),
        ):
            composite = layout.compositeNode(tag)
            if composite is not None:
                background, foreground = (node.GetID() if node is not None else None for node in volumes)
                composite.SetBackgroundVolumeID(background)
                composite.SetForegroundVolumeID(foreground)

    def leave(self) -> None:
        """Volumes look as they did; the overlay, which adds green and magenta, shows the follow-up alone."""
        self.memory.giveBackDisplays()
        composite = layout.compositeNode(layout.OVERLAY)
        if composite is not None:
            overlay.hideForeground(composite)

    def clear(self) -> None:
        """Remove the volumes that were made to be looked at."""
        shown = {node.GetID() for node in self._derived.values() if node.GetScene() is not None}
        composite = layout.compositeNode(layout.OVERLAY)
        if composite is not None and {composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()} & shown:
            composite.SetBackgroundVolumeID(None)
            composite.SetForegroundVolumeID(None)
        for node in self._derived.values():
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
        self._derived = {}

    def _movingShown(self, result: Result, before: bool):
        """The warped or the original moving volume; where only a transform was kept, the volume under it or not.

        None after a registration of which neither was kept.
        """
        moving, transform = result.movingVolume, result.transform
        if result.volume is not None or transform is None:
            return moving if before else result.volume
        for node in (moving, result.movingSegmentation if result.segmentation is None else None):
            if node is not None and node.GetParentTransformNode() in (None, transform):
                node.SetAndObserveTransformNodeID(None if before else transform.GetID())
        return moving

    def _showSingle(self, tag: str, volumeNode) -> None:
        composite = layout.compositeNode(tag)
        if composite is not None:
            composite.SetBackgroundVolumeID(volumeNode.GetID() if volumeNode is not None else None)
            composite.SetForegroundVolumeID(None)

    def _checkerboard(self, fixed, other):
        key = ("checkerboard", fixed.GetID(), other.GetID(), other.GetTransformNodeID())
        return self._kept(key, lambda: derivedVolumes.checkerboard(fixed, other))

    def _jacobian(self, result: Result):
        key = ("jacobian", result.transform.GetID(), result.fixedVolume.GetID())
        return self._kept(key, lambda: derivedVolumes.jacobianMap(result.transform, result.fixedVolume))

    def _kept(self, key: tuple, make):
        """The volume made earlier for the same nodes, unless it has been removed since."""
        node = self._derived.get(key)
        if node is None or node.GetScene() is None:
            node = self._derived[key] = make()
        return node


def _showSegments(result: Result, before: bool) -> None:
    """The outlines that belong to what is shown: of the baseline before, of follow-up and warped segments after."""
    for node, visible in (
        (result.fixedSegmentation, not before),
        (result.movingSegmentation, before or result.segmentation is None),
        (result.segmentation, not before),
    ):
        if node is not None:
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetVisibility(visible)
            node.GetDisplayNode().SetVisibility2DFill(False)


def _showGrid(result: Result, visible: bool) -> None:
    transform = result.transform
    if transform is None or (not visible and transform.GetDisplayNode() is None):
        return
    transform.CreateDefaultDisplayNodes()
    display = transform.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetVisualizationMode(slicer.vtkMRMLTransformDisplayNode.VIS_MODE_GRID)
        display.SetVisibility(visible)
        display.SetVisibility2D(visible)
