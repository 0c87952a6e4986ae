"""One result in the three views: which volumes, colours, segments and maps are shown. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from . import derivedVolumes, layout, overlay
from .guess import OUTPUT_ATTRIBUTE
from .parameters import Orientation, OverlayMode
from .registrationJob import Inputs
from .results import Result, resultTables
from .viewMemory import ViewMemory

JACOBIAN_OPACITY = 0.5
FOLLOW_UP_WIDTH, BASELINE_WIDTH = 1, 3
"""Of outlines, in pixels."""


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
        self._table = None
        self._preview = None
        self._pair: tuple | None = None
        """Follow-up and baseline that are looked at."""
        self._outlines: list[tuple] = []
        self._hidden: list = []
        """Segmentations of others: hidden once, so that the user may show them."""
        self._gridOf = None
        """The transform whose grid is shown."""

    @property
    def isPreviewing(self) -> bool:
        """Whether the views belong to a registration that runs."""
        return self._preview is not None and self._preview.GetScene() is not None

    def show(self, result: Result, view: View, flickerOn: bool = True) -> None:
        """Bring the views to the state, unless they show a preview; nothing else in the scene changes."""
        if self.isPreviewing:
            return
        self._placeMoving(result, view.before)
        fixed, other = result.fixedVolume, _movingShown(result, view.before)
        self._showOutlines(_outlines(result, view.before), (result.fixedVolume, result.movingVolume))
        self._showGrid(result.transform, view.grid)
        if fixed is None:
            self.showPair(None, None)
            return
        self.memory.remember(fixed, other)
        self._showSingle(layout.FIXED, fixed)
        isAlone = other is None and not view.before  # outlines of what was kept lie on something
        self._showSingle(layout.MOVING, fixed if isAlone else other)
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

    def showPreview(self, inputs: Inputs, previewVolume, orientation: Orientation) -> None:
        """The registration as it stands, in green and magenta, and the follow-up's outlines."""
        fixedVolume, self._preview = inputs.fixedVolume, previewVolume
        self.memory.remember(fixedVolume)
        self.memory.giveBackCrosshair()  # it may point into another patient
        self._showGrid(None, False)
        layout.linkViews()
        layout.setOrientation(orientation.value)
        self._showSingle(layout.FIXED, fixedVolume)
        self._showSingle(layout.MOVING, previewVolume)
        composite = layout.compositeNode(layout.OVERLAY)
        if composite is not None:
            overlay.showOverlay(fixedVolume, previewVolume, [composite])
        outlines = (  # the baseline's do not follow it yet
            (inputs.fixedSegmentation, True, FOLLOW_UP_WIDTH, layout.MOVING),
            (inputs.movingSegmentation, False, BASELINE_WIDTH, layout.FIXED),
        )
        pair = (fixedVolume, inputs.movingVolume)
        self._showOutlines([outline for outline in outlines if _isThere(outline[0])], pair)

    def endPreview(self) -> None:
        """No result came of it: volumes and layout look as they did. Outlines wait for an earlier result."""
        self.memory.giveBackDisplays()
        self.memory.giveBackLayout()

    def giveBackOutlines(self) -> None:
        self.memory.giveBackOutlines()
        self._outlines, self._hidden, self._pair = [], [], None

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
        """Volumes look and lie as they did; the overlay, which adds two colours, shows the follow-up alone."""
        self.memory.giveBackDisplays()
        self.memory.giveBackPlaces()
        self.giveBackOutlines()
        self._showGrid(None, False)
        self.memory.giveBackCrosshair()
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
            derivedVolumes.remove(node)
        self._derived = {}

    def forget(self) -> None:
        """The scene is closed: its nodes are nobody's any more."""
        self.clear()
        self._table = self._preview = self._gridOf = None
        self._outlines, self._hidden, self._pair = [], [], None

    def _placeMoving(self, result: Result, before: bool) -> None:
        """The original lies where it was acquired; where no warped volume was kept, under the transform after."""
        if result.table is not self._table:
            self.memory.giveBackPlaces()  # it may be another result's baseline
            self._table = result.table
        if before or result.volume is None:
            for node in (result.movingVolume, result.movingSegmentation):
                if node is not None and _isFree(node):
                    self.memory.place(node, None if before else result.transform)

    def _showOutlines(self, outlines: list[tuple], pair: tuple) -> None:
        """Those that belong to what is shown; until that changes, the user may show others."""
        isAnotherPair = pair != self._pair
        if outlines == self._outlines and not isAnotherPair:
            self.hideNew()
            return
        if isAnotherPair:
            self.giveBackOutlines()  # what was hidden may be of this one
        self._outlines, self._pair = outlines, pair
        shown = [node for node, *_ in outlines]
        self._hidden = [node for node in self._hidden if node not in shown]
        self._hideOthers(isAnotherPair)
        for node, isVisible, width, hidingView in outlines:
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            self.memory.rememberOutlines(display)
            with slicer.util.NodeModify(display):
                display.SetVisibility(isVisible)
                display.SetVisibility2DFill(False)
                display.SetSliceIntersectionThickness(width)
                display.SetViewNodeIDs(layout.viewIDsBut(hidingView))

    def hideNew(self) -> None:
        """What has come to the scene since, and is of another result or image. A file that says nothing stays."""
        if self._pair is not None and layout.isShown():
            self._hideOthers(False)

    def _hideOthers(self, withUnknown: bool) -> None:
        """All that was not drawn on the follow-up: what was drawn on the baseline does not follow it. Also those of
        which nobody knows on what they were drawn, where asked."""
        shown, ofResults = [node for node, *_ in self._outlines], _segmentationsOfResults()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            display = node.GetDisplayNode()
            if node in shown or node in self._hidden or display is None:
                continue
            belongs = _isDrawnOn(node, self._pair[0])
            if node.GetAttribute(OUTPUT_ATTRIBUTE) is not None or (belongs is None and node in ofResults):
                belongs = False
            if belongs or (belongs is None and not withUnknown):
                continue
            self._hidden.append(node)
            if display.GetVisibility():
                self.memory.rememberOutlines(display)
                display.SetVisibility(False)

    def _showGrid(self, transform, isVisible: bool) -> None:
        """On the views: of no other transform than this one."""
        for node in (self._gridOf, transform):
            if node is not None and node.GetScene() is not None:
                _setGrid(node, isVisible and node is transform)
        self._gridOf = transform if isVisible else None

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


def afterObstacle(result: Result):
    """The user's own transform over a baseline of which nothing warped was kept; None where After can be shown."""
    moving = result.movingVolume
    if result.volume is not None or result.segmentation is not None or moving is None or _isFree(moving):
        return None
    return moving.GetParentTransformNode()


def _isFree(node) -> bool:
    """Under no transform, or under one that a registration has made."""
    parent = node.GetParentTransformNode()
    return parent is None or parent.GetAttribute(OUTPUT_ATTRIBUTE) is not None


def _movingShown(result: Result, before: bool):
    """The original or the warped moving volume, or the original under the transform; None if none of them is there."""
    if before:
        return result.movingVolume
    return result.volume or _underTransform(result, result.movingVolume)


def _underTransform(result: Result, node):
    """The node if it lies under the result's transform."""
    isUnder = node is not None and result.transform is not None and node.GetParentTransformNode() is result.transform
    return node if isUnder else None


def _outlines(result: Result, before: bool) -> list[tuple]:
    """(segmentation, visible, width of its lines, the view that shows another volume): the baseline's before, those of
    follow-up and warped baseline after. Both have the same colours, so that the widths tell them apart."""
    isMovingWarped = result.volume is None and _underTransform(result, result.movingSegmentation) is not None
    outlines = [
        (result.fixedSegmentation, not before, FOLLOW_UP_WIDTH, layout.MOVING),
        (
            result.movingSegmentation,
            before or (isMovingWarped and result.segmentation is None),
            BASELINE_WIDTH,
            layout.FIXED,
        ),
        (result.segmentation, not before, BASELINE_WIDTH, layout.FIXED),
    ]
    return [outline for outline in outlines if _isThere(outline[0])]


def _segmentationsOfResults() -> list:
    return [node for table in resultTables(slicer.mrmlScene) for node in Result(table).segmentations]


def _isDrawnOn(segmentation, followUp) -> bool | None:
    """On the volume, on what was warped onto it, or on an image of its study, as its CT; None where nothing tells."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    reference, study = segmentation.GetNodeReference(role), _study(segmentation)
    if reference is None and study is None:
        return None
    if not _isThere(followUp):
        return False
    return _unwarped(reference) is followUp or (study is not None and study == _study(followUp))


def _unwarped(volume):
    """The follow-up that a warped baseline lies on; of any other volume itself."""
    results = [Result(table) for table in resultTables(slicer.mrmlScene)] if volume is not None else []
    return next((result.fixedVolume for result in results if result.volume is volume), volume)


def _study(node) -> int | None:
    """The subject hierarchy's item of the study that a node belongs to."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return (hierarchy.GetItemAncestorAtLevel(item, level) or None) if item else None


def _isThere(node) -> bool:
    return node is not None and node.GetScene() is not None


def _setGrid(transform, visible: bool) -> None:
    if not visible and transform.GetDisplayNode() is None:
        return
    transform.CreateDefaultDisplayNodes()
    display = transform.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetVisualizationMode(slicer.vtkMRMLTransformDisplayNode.VIS_MODE_GRID)
        display.SetVisibility(visible)
        display.SetVisibility2D(visible)
