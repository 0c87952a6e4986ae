"""What the views looked like before a registration was shown in them, to be given back."""

from __future__ import annotations

import json

import slicer

from . import layout, overlay

_WINDOW, _COLOURS = "MIRRBA.Window", "MIRRBA.Colours"
"""Of a display node, as the user had it: an attribute and a reference, so that a scene saved meanwhile has them."""

_OUTLINES = "MIRRBA.Outlines"
"""Of a segmentation's display node: likewise."""
_CROSSHAIR = "MIRRBA.Crosshair"
"""Of the crosshair node: likewise."""
_PLACED, _PARENT = "MIRRBA.Placed", "MIRRBA.Parent"
"""Of a node that was put under a transform, or taken out of one: where it is now (also an attribute) and was before."""


class ViewMemory:
    def __init__(self) -> None:
        self._arrangement: int | None = None
        self._arrangementAtClose: int | None = None

    def remember(self, *volumeNodes) -> None:
        """Colours and windows as they are now, unless they are remembered already."""
        for node in volumeNodes:
            if node is None:
                continue
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            if display.GetAttribute(_WINDOW) is not None:
                continue
            window = (display.GetAutoWindowLevel(), display.GetWindowLevelMin(), display.GetWindowLevelMax())
            display.SetAttribute(_WINDOW, json.dumps(window))
            display.SetNodeReferenceID(_COLOURS, display.GetColorNodeID())
            reviewed = display.GetAttribute(overlay.WINDOW)
            if reviewed is not None:
                display.AutoWindowLevelOff()
                display.SetWindowLevelMinMax(*json.loads(reviewed))

    def rememberOutlines(self, display) -> None:
        """How a segmentation is drawn, unless it is remembered already."""
        if display.GetAttribute(_OUTLINES) is None:
            drawn = (
                display.GetVisibility(),
                display.GetVisibility2DFill(),
                display.GetSliceIntersectionThickness(),
                display.GetViewNodeIDs(),
            )
            display.SetAttribute(_OUTLINES, json.dumps(drawn))

    def giveBackOutlines(self) -> None:
        for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
            drawn = display.GetAttribute(_OUTLINES)
            if drawn is None:
                continue
            isVisible, isFilled, width, viewIDs = json.loads(drawn)
            with slicer.util.NodeModify(display):
                display.SetVisibility(isVisible)
                display.SetVisibility2DFill(isFilled)
                display.SetSliceIntersectionThickness(width)
                display.SetViewNodeIDs(viewIDs)
                display.RemoveAttribute(_OUTLINES)

    def rememberCrosshair(self) -> None:
        crosshair = layout.crosshairNode()
        if crosshair is not None and crosshair.GetAttribute(_CROSSHAIR) is None:
            crosshair.SetAttribute(_CROSSHAIR, str(crosshair.GetCrosshairMode()))

    def giveBackCrosshair(self) -> None:
        crosshair = layout.crosshairNode()
        if crosshair is not None and crosshair.GetAttribute(_CROSSHAIR) is not None:
            crosshair.SetCrosshairMode(int(crosshair.GetAttribute(_CROSSHAIR)))
            crosshair.RemoveAttribute(_CROSSHAIR)

    def rememberLayout(self) -> None:
        """The application's layout, unless it is the review layout already, or none while one scene follows another."""
        arrangement = layout.arrangement()
        if arrangement not in (None, slicer.vtkMRMLLayoutNode.SlicerLayoutNone) and not layout.isShown():
            self._arrangement = self._arrangementAtClose = arrangement

    def giveBackDisplays(self) -> None:
        for display in slicer.util.getNodesByClass("vtkMRMLScalarVolumeDisplayNode"):
            window = display.GetAttribute(_WINDOW)
            if window is None:
                continue
            isAuto, lower, upper = json.loads(window)
            if display.GetAttribute(overlay.WINDOW) is not None:
                reviewed = (display.GetWindowLevelMin(), display.GetWindowLevelMax())
                display.SetAttribute(overlay.WINDOW, json.dumps(reviewed))
            with slicer.util.NodeModify(display):
                display.SetAndObserveColorNodeID(display.GetNodeReferenceID(_COLOURS) or "")
                display.SetAutoWindowLevel(isAuto)
                display.SetWindowLevelMinMax(lower, upper)
                display.RemoveAttribute(_WINDOW)
                display.SetNodeReferenceID(_COLOURS, None)

    def place(self, node, transform) -> None:
        """Put a node under a transform, or under None; where it lay is remembered."""
        parent = node.GetParentTransformNode()
        if parent is transform:
            return
        if node.GetAttribute(_PLACED) is None:
            node.SetAttribute(_PLACED, "1")
            node.SetNodeReferenceID(_PARENT, _idOf(parent))
        node.SetNodeReferenceID(_PLACED, _idOf(transform))
        node.SetAndObserveTransformNodeID(_idOf(transform))

    def giveBackPlaces(self) -> None:
        """But a run may have put its baseline elsewhere since."""
        for node in slicer.util.getNodesByClass("vtkMRMLTransformableNode"):
            if node.GetAttribute(_PLACED) is None:
                continue
            if node.GetParentTransformNode() is node.GetNodeReference(_PLACED):
                node.SetAndObserveTransformNodeID(_idOf(node.GetNodeReference(_PARENT)))
            node.RemoveAttribute(_PLACED)
            for role in (_PLACED, _PARENT):
                node.SetNodeReferenceID(role, None)

    def giveBackLayout(self) -> None:
        """Only if the review layout is still the one that is shown."""
        if self._arrangement is not None and layout.isShown():
            layout.setArrangement(self._arrangement)
        self._arrangement = None

    def forgetLayout(self) -> None:
        """The user has a result to look at: the review layout stays while the scene does."""
        self._arrangement = None

    def closeScene(self) -> None:
        """The next scene is shown in the user's own layout; in Slicer's, where the review layout came with a file."""
        self._arrangement = self._arrangementAtClose
        if self._arrangement is None:  # not 0, which is Slicer's at its start
            self._arrangement = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
        self.giveBackLayout()


def _idOf(node) -> str | None:
    return node.GetID() if node is not None else None
