"""The loss against the iterations, in Slicer's plot nodes. Hidden from the node lists, not saved with the scene."""

from __future__ import annotations

import slicer
import vtk

from . import layout
from .backgroundJob import Event
from .derivedVolumes import addHidden

_ITERATION, _LOSS = "Iteration", "Loss"


class LossPlot:
    """Of one run. Made when the first loss arrives, so that an unused panel leaves no nodes in the scene."""

    def __init__(self) -> None:
        self._table = self._series = self._chart = None
        self._stage = None
        self._doneBefore = 0
        self._lastIteration = 0

    def add(self, event: Event) -> None:
        """A point for a progress event with a loss; the stages follow each other on the axis."""
        if event.get("loss") is None:
            return
        if not self._isMade():
            self._make()
        if event["stage"] != self._stage:
            self._stage, self._doneBefore = event["stage"], self._doneBefore + self._lastIteration
        self._lastIteration = event["iteration"]
        row = self._table.GetTable().InsertNextBlankRow()
        self._table.GetTable().SetValue(row, 0, vtk.vtkVariant(self._doneBefore + self._lastIteration))
        self._table.GetTable().SetValue(row, 1, vtk.vtkVariant(event["loss"]))
        self._table.Modified()
        self._fitAxes()

    def show(self) -> None:
        """In the plot view of the review layout, where that is shown."""
        viewNode = layout.plotViewNode()
        # a line needs two points
        if viewNode is not None and self._isMade() and self._table.GetNumberOfRows() > 1:
            viewNode.SetPlotChartNodeID(self._chart.GetID())

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        for node in (self._chart, self._series, self._table):
            if node is not None and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
        self._table = self._series = self._chart = None

    def _isMade(self) -> bool:
        return self._chart is not None and self._chart.GetScene() is not None

    def _fitAxes(self) -> None:
        """Slicer's view fits an automatic range when it adds a line, and not again when the line grows."""
        with slicer.util.NodeModify(self._chart):
            for name, setRange in ((_ITERATION, self._chart.SetXAxisRange), (_LOSS, self._chart.SetYAxisRange)):
                values = slicer.util.arrayFromTableColumn(self._table, name)
                if values.min() < values.max():
                    setRange(values.min(), values.max())

    def _make(self) -> None:
        self._table = _added(slicer.vtkMRMLTableNode(), "MIRRBA loss")
        for name in (_ITERATION, _LOSS):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            self._table.AddColumn(column)
        series = self._series = _added(slicer.vtkMRMLPlotSeriesNode(), "Loss")
        series.SetAndObserveTableNodeID(self._table.GetID())
        series.SetXColumnName(_ITERATION)
        series.SetYColumnName(_LOSS)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetColor(0.7, 0.2, 0.7)
        self._chart = _added(slicer.vtkMRMLPlotChartNode(), "MIRRBA loss")
        self._chart.AddAndObservePlotSeriesNodeID(series.GetID())
        self._chart.SetTitle("Loss")
        self._chart.SetXAxisTitle(_ITERATION)
        self._chart.SetYAxisTitle(_LOSS)
        self._chart.SetLegendVisibility(False)
        self._chart.SetXAxisRangeAuto(False)
        self._chart.SetYAxisRangeAuto(False)


def _added(node, name: str):
    node.SetName(name)
    return addHidden(node)
