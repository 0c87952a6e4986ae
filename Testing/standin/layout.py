"""The layout manager and its slice views: Slicer's real layout and slice logics, drawn on the CPU.

A layout's slice views get their real vtkMRMLSliceNode and vtkMRMLSliceCompositeNode and show the real image of the
slice logic, with the corner annotation's text and what drawing.py puts over it. Plot views show their chart's lines.
3-D views and tables are empty places; markups and slice intersections are not drawn.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal
from vtk.util.numpy_support import vtk_to_numpy
from vtk.util.vtkConstants import VTK_UNSIGNED_CHAR

from .drawing import drawOverlays, drawPlot, plotBounds
from .mrmlWidgets import NodeComboBox
from .pythonqt import offered

_HEADER = 22


class SliceView(QtWidgets.QWidget):
    """qMRMLSliceView: the picture of one slice."""

    slicerName = "qMRMLSliceView"

    def __init__(self, sliceLogic, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = sliceLogic
        self._cornerAnnotation = vtk.vtkCornerAnnotation()
        self.setMinimumSize(40, 40)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)

    @offered
    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    @offered
    def cornerAnnotation(self):
        return self._cornerAnnotation

    @offered
    def scheduleRender(self) -> None:
        self.update()

    @offered
    def forceRender(self) -> None:
        self.repaint()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._logic.ResizeSliceNode(self.width(), self.height())
        super().resizeEvent(event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        image = self._image()
        if image is not None:
            painter.drawImage(0, 0, image)
            drawOverlays(painter, self._logic.GetSliceNode(), self.width(), self.height())
        painter.setPen(QtGui.QColor("white"))
        for corner, alignment in enumerate(_CORNERS):
            text = self._cornerAnnotation.GetText(corner) or ""
            painter.drawText(self.rect().adjusted(4, 2, -4, -2), alignment, text)

    def _image(self) -> QtGui.QImage | None:
        self._logic.UpdatePipeline()
        connection = self._logic.GetImageDataConnection()
        if connection is None:
            return None
        connection.GetProducer().Update()
        data = connection.GetProducer().GetOutputDataObject(0)
        scalars = data.GetPointData().GetScalars()
        if scalars is None or scalars.GetDataType() != VTK_UNSIGNED_CHAR:
            return None
        columns, rows, _ = data.GetDimensions()
        pixels = vtk_to_numpy(scalars).reshape(rows, columns, -1)[::-1, :, :3].copy()
        return QtGui.QImage(pixels.data, columns, rows, 3 * columns, QtGui.QImage.Format.Format_RGB888).copy()


_CORNERS = (
    Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft,
    Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignRight,
    Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft,
    Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight,
)


class LayerSelector(NodeComboBox):
    """A slice controller's choice of a layer's volume. Its list is a tree in Slicer: it tells its choice again when the
    row of it moves, and None when the tree is made anew."""

    def __init__(self, parent: QtWidgets.QWidget) -> None:
        super().__init__(parent)
        self.nodeTypes = ["vtkMRMLVolumeNode"]
        self.noneEnabled = self.editEnabled = self.renameEnabled = True
        self.addEnabled = self.removeEnabled = False
        self.hide()

    def _remove(self, row: int) -> None:
        isMoved = row < self._rowOf(self.currentNodeID)
        super()._remove(row)
        if isMoved:
            self._onCurrentTextChanged()

    def _repopulate(self, _) -> None:
        wasFilled = self.nodeCount() > 0
        super()._repopulate(_)
        if wasFilled:
            self.setCurrentNode(None)
            self._onCurrentTextChanged()


class SliceWidget(QtWidgets.QWidget):
    """qMRMLSliceWidget: a coloured bar with the view's name, and the slice view.

    The controller's selectors of volumes are there, but not seen: when a volume leaves the scene they choose its
    neighbour, when a scene is imported nothing, and linked views follow. Read in qMRMLSliceControllerWidget.cxx.
    """

    slicerName = "qMRMLSliceWidget"

    def __init__(self, sliceNode, applicationLogic) -> None:
        super().__init__()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        self._logic.SetSliceNode(sliceNode)  # before the scene: it names the nodes of the slice's model
        self._logic.SetMRMLScene(sliceNode.GetScene())
        self._view = SliceView(self._logic, self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._bar(sliceNode))
        layout.addWidget(self._view, 1)
        self._selectors = {layer: self._selector(layer) for layer in ("Foreground", "Background")}
        composite = self._logic.GetSliceCompositeNode()
        self._observation = composite.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onCompositeModified)

    def leaveScene(self) -> None:
        self._logic.GetSliceCompositeNode().RemoveObserver(self._observation)
        self._logic.SetMRMLScene(None)

    def _selector(self, layer: str) -> LayerSelector:
        selector = LayerSelector(self)
        selector.setMRMLScene(self._logic.GetMRMLScene())
        selector.currentNodeChanged[object].connect(lambda node: self._onSelected(layer, node))
        return selector

    def _onSelected(self, layer: str, node) -> None:
        composite = self._logic.GetSliceCompositeNode()
        self._logic.StartSliceCompositeNodeInteraction(getattr(composite, f"{layer}VolumeFlag"))
        getattr(composite, f"Set{layer}VolumeID")(node.GetID() if node is not None else None)
        self._logic.EndSliceCompositeNodeInteraction()

    def _onCompositeModified(self, composite, event) -> None:
        for layer, selector in self._selectors.items():
            wasBlocked = selector.blockSignals(True)
            selector.setCurrentNodeID(getattr(composite, f"Get{layer}VolumeID")() or "")
            selector.blockSignals(wasBlocked)

    def _bar(self, sliceNode) -> QtWidgets.QLabel:
        label = QtWidgets.QLabel(f" {sliceNode.GetLayoutLabel() or sliceNode.GetLayoutName()}")
        color = QtGui.QColor.fromRgbF(*sliceNode.GetLayoutColor())
        label.setStyleSheet(f"background: {color.name()}; color: black; font-weight: bold")
        label.setFixedHeight(_HEADER)
        return label

    @offered
    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    @offered
    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    @offered
    def sliceLogic(self):
        return self._logic

    @offered
    def sliceView(self) -> SliceView:
        return self._view

    @offered
    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    @offered
    def setSliceOrientation(self, orientation: str) -> None:
        self._logic.GetSliceNode().SetOrientation(orientation)

    sliceOrientation = Property(str, lambda self: self._logic.GetSliceNode().GetOrientation(), setSliceOrientation)
    sliceViewName = Property(str, lambda self: self._logic.GetSliceNode().GetLayoutName())
    sliceViewLabel = Property(str, lambda self: self._logic.GetSliceNode().GetLayoutLabel())


class EmptyView(QtWidgets.QLabel):
    """The place of a view that is not drawn."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setStyleSheet("background: qlineargradient(y1:0, y2:1, stop:0 #7474a8, stop:1 #c1c3e8); color: white")
        self.setMinimumSize(40, 40)


class PlotView(QtWidgets.QWidget):
    """The place of a plot view: its chart's lines.

    As in qMRMLPlotView an automatic range is chosen when a line is added to the view; rows that come later leave it.
    """

    def __init__(self, viewNode) -> None:
        super().__init__()
        self._viewNode = viewNode
        self._lines: list[str] = []
        self._chosen = ((0.0, 1.0), (0.0, 1.0))
        self._observation = viewNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self.ranges())
        self.setMinimumSize(40, 40)

    def close(self) -> None:
        self._viewNode.RemoveObserver(self._observation)

    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Of the two axes, as they are drawn."""
        chart = self._viewNode.GetPlotChartNode()
        if chart is None:
            self._lines = []
            return self._chosen
        lines = [chart.GetNthPlotSeriesNodeID(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
        if set(lines) - set(self._lines):
            self._chosen = plotBounds(chart)
        self._lines = lines
        x, y = self._chosen
        return (
            x if chart.GetXAxisRangeAuto() else chart.GetXAxisRange(),
            y if chart.GetYAxisRangeAuto() else chart.GetYAxisRange(),
        )

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.white)
        ranges = self.ranges()
        if self._lines:
            drawPlot(painter, self._viewNode.GetPlotChartNode(), self.rect(), *ranges)


class LayoutManager(QtCore.QObject):
    """qSlicerLayoutManager."""

    slicerName = "qSlicerLayoutManager"
    layoutChanged = Signal(int)

    def __init__(self, scene, applicationLogic, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._applicationLogic = applicationLogic
        self._viewport = QtWidgets.QFrame()
        self._viewport.setObjectName("CentralWidgetLayoutFrame")
        QtWidgets.QVBoxLayout(self._viewport).setContentsMargins(0, 0, 0, 0)
        self._content: QtWidgets.QWidget | None = None
        self._sliceWidgets: dict[str, SliceWidget] = {}
        self.plotViews: dict[str, PlotView] = {}
        self._shown = (-1, "")
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        layoutNode = self._logic.GetLayoutNode()
        self._observation = (layoutNode, layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayoutModified))
        layoutNode.SetViewArrangement(layoutNode.SlicerLayoutConventionalView)

    def close(self) -> None:
        self._observation[0].RemoveObserver(self._observation[1])
        self._applicationLogic.SetSliceLogics(None)
        for widget in self._sliceWidgets.values():
            widget.leaveScene()
        self._sliceWidgets.clear()
        for view in self.plotViews.values():
            view.close()
        self.plotViews.clear()
        self._logic.SetMRMLScene(None)

    @offered
    def layoutLogic(self):
        return self._logic

    @offered
    def mrmlScene(self):
        return self._logic.GetMRMLScene()

    @offered
    def setLayout(self, newLayout: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(newLayout)

    @offered
    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    @offered
    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._sliceWidgets.get(name)

    @offered
    def sliceViewNames(self) -> list[str]:
        return list(self._sliceWidgets)

    @offered
    def mrmlSliceLogics(self):
        logics = vtk.vtkCollection()
        for widget in self._sliceWidgets.values():
            logics.AddItem(widget.sliceLogic())
        return logics

    @offered
    def resetSliceViews(self) -> None:
        for widget in self._sliceWidgets.values():
            widget.fitSliceToBackground()

    @offered
    def setRenderPaused(self, pause: bool) -> None:
        """Nothing: the views are drawn when they are looked at."""

    layout = Property(
        int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout, notify=layoutChanged
    )
    threeDViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: len(self.plotViews))

    def _onLayoutModified(self, layoutNode, event) -> None:
        shown = (layoutNode.GetViewArrangement(), layoutNode.GetCurrentLayoutDescription() or "")
        if shown != self._shown and shown[1]:
            self._shown = shown
            self._build(ElementTree.fromstring(shown[1]))
            self.layoutChanged.emit(shown[0])

    def _build(self, description: ElementTree.Element) -> None:
        kept = [*self._sliceWidgets.values(), *self.plotViews.values()]
        for view in kept:
            view.setParent(None)
        old, self._content = self._content, self._place(description)
        self._viewport.layout().addWidget(self._content)
        for view in kept:
            if view.parent() is None:
                view.hide()
        if old is not None:
            old.hide()
            old.setParent(None)
            old.deleteLater()
        self._applicationLogic.SetSliceLogics(self.mrmlSliceLogics())

    def _place(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        """The widget for a <layout> or a <view>."""
        if element.tag == "view":
            return self._view(element)
        if element.get("type") == "tab":
            tabs = QtWidgets.QTabWidget()
            for item in element.findall("item"):
                tabs.addTab(self._place(item[0]), item.get("name", ""))
            return tabs
        frame = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(frame)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        for index, item in enumerate(element.findall("item")):
            row, column = {"vertical": (index, 0), "grid": (int(item.get("row", 0)), int(item.get("column", 0)))}.get(
                element.get("type"), (0, index)
            )
            grid.addWidget(self._place(item[0]), row, column, int(item.get("rowspan", 1)), int(item.get("colspan", 1)))
            share = int(item.get("splitSize", 1))
            grid.setRowStretch(row, share if element.get("type") == "vertical" else 1)
            grid.setColumnStretch(column, share if element.get("type") == "horizontal" else 1)
        return frame

    def _view(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        name = element.get("singletontag")
        if element.get("class") == "vtkMRMLPlotViewNode":
            if name not in self.plotViews:
                self.plotViews[name] = PlotView(self.mrmlScene().GetSingletonNode(name, "vtkMRMLPlotViewNode"))
            self.plotViews[name].show()
            return self.plotViews[name]
        if element.get("class") != "vtkMRMLSliceNode":
            return EmptyView("3D" if element.get("class") == "vtkMRMLViewNode" else "")
        if name not in self._sliceWidgets:
            node = self.mrmlScene().GetSingletonNode(name, "vtkMRMLSliceNode")
            self._sliceWidgets[name] = SliceWidget(node, self._applicationLogic)
        self._sliceWidgets[name].show()
        return self._sliceWidgets[name]
