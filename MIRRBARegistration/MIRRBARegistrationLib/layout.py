"""The review layout: follow-up | baseline | overlay, one linked slice view each, optionally over the loss plot."""

from __future__ import annotations

import slicer
import vtk

FIXED, MOVING, OVERLAY = "MIRRBAFixed", "MIRRBAMoving", "MIRRBAOverlay"
"""Layout names of the three slice views."""
PLOT = "MIRRBALoss"
VIEWS_LAYOUT, VIEWS_AND_PLOT_LAYOUT = 87201, 87202
NARROW_VIEWS_LAYOUT, NARROW_VIEWS_AND_PLOT_LAYOUT = 87203, 87204
"""The same in two rows: side by side the views would take the module's panel its room."""
NARROW_PIXELS = 1350
"""Of the main window."""
_VIEW_GROUP = 872
"""A group of their own, so that linking leaves other views alone."""
_SLICE_VIEW = """
<view class="vtkMRMLSliceNode" singletontag="{tag}">
 <property name="orientation" action="default">Coronal</property>
 <property name="viewlabel" action="default">{label}</property>
 <property name="viewcolor" action="default">{color}</property>
 <property name="viewgroup" action="default">{group}</property>
</view>"""
_PLOT_VIEW = f"""
<view class="vtkMRMLPlotViewNode" singletontag="{PLOT}">
 <property name="viewlabel" action="default">L</property>
</view>"""
_LABELS = {FIXED: ("F", "#4AA84A"), MOVING: ("B", "#B44AB4"), OVERLAY: ("O", "#808080")}


def registerLayouts() -> None:
    """Make the review layouts known, also to scenes that were saved with one of them."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    layoutNode = manager.layoutLogic().GetLayoutNode()
    for layoutID, description in _descriptions().items():
        if not layoutNode.IsLayoutDescription(layoutID):
            layoutNode.AddLayoutDescription(layoutID, description)
            if layoutNode.GetViewArrangement() == layoutID:  # asked for before it was known: nothing is shown yet
                layoutNode.SetViewArrangement(layoutNode.SlicerLayoutConventionalView)
                layoutNode.SetViewArrangement(layoutID)


def showReviewLayout(withPlot: bool) -> None:
    """Switch the application to the layout, and then link its views. Nothing happens without a layout manager."""
    if slicer.app.layoutManager() is None:
        return
    registerLayouts()
    window = slicer.util.mainWindow()
    if window is not None and window.width < NARROW_PIXELS:
        wanted = NARROW_VIEWS_AND_PLOT_LAYOUT if withPlot else NARROW_VIEWS_LAYOUT
    else:
        wanted = VIEWS_AND_PLOT_LAYOUT if withPlot else VIEWS_LAYOUT
    if arrangement() != wanted:
        setArrangement(wanted)
        linkViews()


def linkViews() -> None:
    """The three views move together."""
    for tag in (FIXED, MOVING, OVERLAY):
        composite = compositeNode(tag)
        if composite is not None:
            composite.SetLinkedControl(True)


def arrangement() -> int | None:
    """The number of the application's layout; None without a layout manager."""
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode().GetViewArrangement() if manager is not None else None


def setArrangement(layoutID: int) -> None:
    slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(layoutID)


def isShown() -> bool:
    return arrangement() in _descriptions()


def isReviewing(volumeNode) -> bool:
    """Whether a review layout is shown, and this volume as its follow-up."""
    composite = compositeNode(FIXED) if isShown() and volumeNode is not None else None
    return composite is not None and composite.GetBackgroundVolumeID() == volumeNode.GetID()


def sliceNode(tag: str):
    """The slice node of one of the three views, or None before the layout was first shown."""
    return _byLayoutName("vtkMRMLSliceNode", tag)


def compositeNode(tag: str):
    """What says which volumes the view shows, or None before the layout was first shown."""
    return _byLayoutName("vtkMRMLSliceCompositeNode", tag)


def viewIDsBut(tag: str) -> list[str]:
    """Of all views that there are, without one of ours."""
    views = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")
    return [view.GetID() for view in views if view.GetLayoutName() != tag]


def plotViewNode():
    return _byLayoutName("vtkMRMLPlotViewNode", PLOT)


def fitViews() -> None:
    """Zoom the follow-up's view so that the whole of it is seen, and show the same slice in the two others."""
    manager = slicer.app.layoutManager()
    sliceWidget = manager.sliceWidget(FIXED) if manager is not None else None
    if sliceWidget is None:
        return
    sliceWidget.fitSliceToBackground()
    first = sliceNode(FIXED)
    for tag in (MOVING, OVERLAY):
        other = sliceNode(tag)
        if other is not None:
            other.GetSliceToRAS().DeepCopy(first.GetSliceToRAS())
            other.SetFieldOfView(*_fieldOfView(first, other.GetDimensions()))
            other.SetXYZOrigin(*first.GetXYZOrigin())
            other.UpdateMatrices()


def _fieldOfView(node, size: tuple[int, int, int]) -> tuple[float, float, float]:
    """Of a view of another size (pixels) that is to show all that the node's does, mm."""
    fieldOfView, dimensions = node.GetFieldOfView(), node.GetDimensions()
    if min(*size[:2], *dimensions[:2]) <= 0:
        return fieldOfView
    millimetresPerPixel = max(fieldOfView[axis] / size[axis] for axis in range(2))
    return millimetresPerPixel * size[0], millimetresPerPixel * size[1], fieldOfView[2]


def setOrientation(orientation: str) -> None:
    """Coronal, Sagittal or Axial, for all three views."""
    for tag in (FIXED, MOVING, OVERLAY):
        node = sliceNode(tag)
        if node is not None and node.GetOrientation() != orientation:
            node.SetOrientation(orientation)


def jumpTo(position: tuple[float, float, float]) -> None:
    """Bring every slice view to a point (RAS mm), and the crosshair with them; zoom and centre stay.

    But one of our views in which the point would not be seen is centred on it.
    """
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByOffsetting(*position)
        if node.GetLayoutName() in _LABELS and not _isSeen(node, position):
            node.JumpSliceByCentering(*position)
    crosshair = crosshairNode()
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*position)
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)


def crosshairNode():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def hideCrosshair() -> None:
    crosshair = crosshairNode()
    if crosshair is not None:
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)


def _isSeen(node, position: tuple[float, float, float]) -> bool:
    rasToXY = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), rasToXY)
    point = rasToXY.MultiplyPoint([*position, 1.0])
    return all(0 <= point[axis] <= node.GetDimensions()[axis] for axis in range(2))


def _byLayoutName(className: str, tag: str):
    nodes = slicer.util.getNodesByClass(className)
    return next((node for node in nodes if node.GetLayoutName() == tag), None)


def _descriptions() -> dict[int, str]:
    """Of the layouts, as Slicer's layout manager reads them."""
    fixed, moving, overlay = (
        _SLICE_VIEW.format(tag=tag, label=label, color=color, group=_VIEW_GROUP)
        for tag, (label, color) in _LABELS.items()
    )
    row = _row(fixed, moving, overlay)
    upper = _row(fixed, moving)
    return {
        VIEWS_LAYOUT: row,
        VIEWS_AND_PLOT_LAYOUT: (
            f'<layout type="vertical" split="true"><item splitSize="750">{row}</item>'
            f'<item splitSize="250">{_PLOT_VIEW}</item></layout>'
        ),
        NARROW_VIEWS_LAYOUT: _rows(upper, _row(overlay)),
        NARROW_VIEWS_AND_PLOT_LAYOUT: _rows(upper, _row(overlay, _PLOT_VIEW)),
    }


def _row(*views: str) -> str:
    return f'<layout type="horizontal">{_items(views)}</layout>'


def _rows(*rows: str) -> str:
    return f'<layout type="vertical">{_items(rows)}</layout>'


def _items(parts: tuple[str, ...]) -> str:
    return "".join(f"<item>{part}</item>" for part in parts)
