"""What Slicer's displayable managers put over a slice, drawn with QPainter: segments, a grid, the crosshair.

They need OpenGL in Slicer; here they are computed from the same nodes. Thickness, fill and glyphs are not Slicer's.
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui

_PRESENT = 1e-6


def drawOverlays(painter: QtGui.QPainter, sliceNode, width: int, height: int) -> None:
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        _drawSegmentation(painter, node, sliceNode, width, height)
    for node in slicer.util.getNodesByClass("vtkMRMLTransformNode"):
        _drawTransform(painter, node, sliceNode)
    _drawCrosshair(painter, sliceNode, width, height)


def _isShown(displayNode, sliceNode) -> bool:
    isOn = displayNode is not None and displayNode.GetVisibility() and displayNode.GetVisibility2D()
    return bool(isOn and displayNode.IsDisplayableInView(sliceNode.GetID()))


def _drawSegmentation(painter, node, sliceNode, width: int, height: int) -> None:
    display, segmentation = node.GetDisplayNode(), node.GetSegmentation()
    if not _isShown(display, sliceNode):
        return
    toSegmentation = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node.GetParentTransformNode(), toSegmentation)
    sampled: dict[int, np.ndarray] = {}  # segments share label maps
    for index in range(segmentation.GetNumberOfSegments()):
        segmentID = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segmentID)
        labelmap = segment.GetRepresentation("Binary labelmap")
        if labelmap is None or not display.GetSegmentVisibility(segmentID):
            continue
        key = hash(labelmap)
        if key not in sampled:
            sampled[key] = _sampled(labelmap, toSegmentation, sliceNode, width, height)
        _drawMask(painter, sampled[key] == segment.GetLabelValue(), segment.GetColor(), display)


def _sampled(labelmap, toSegmentation, sliceNode, width: int, height: int) -> np.ndarray:
    """The label map's values at the view's pixels, [row, column] from the top."""
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(_withoutGeometry(labelmap))
    linear = vtk.vtkTransform()
    isLinear = slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(toSegmentation, linear)
    transform = vtk.vtkTransform() if isLinear else vtk.vtkGeneralTransform()
    transform.PostMultiply()
    transform.Concatenate(sliceNode.GetXYToRAS())
    transform.Concatenate(linear if isLinear else toSegmentation)
    transform.Concatenate(_worldToImage(labelmap))
    reslice.SetResliceTransform(transform)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputExtent(0, width - 1, 0, height - 1, 0, 0)
    reslice.SetInterpolationModeToNearestNeighbor()
    reslice.Update()
    scalars = reslice.GetOutput().GetPointData().GetScalars()
    return vtk.util.numpy_support.vtk_to_numpy(scalars).reshape(height, width)[::-1]


def _withoutGeometry(labelmap) -> vtk.vtkImageData:
    image = vtk.vtkImageData()
    image.ShallowCopy(labelmap)
    image.SetOrigin(0, 0, 0)
    image.SetSpacing(1, 1, 1)
    image.SetDirectionMatrix(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return image


def _worldToImage(labelmap) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetWorldToImageMatrix(matrix)
    return matrix


def _drawMask(painter, mask: np.ndarray, color, display) -> None:
    """The mask filled, transparent, and its inner border opaque."""
    if not mask.any():
        return
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    mask = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[..., :3] = np.round(255 * np.asarray(color)).astype(np.uint8)
    opacity = display.GetOpacity()
    fill = display.GetOpacity2DFill() * opacity if display.GetVisibility2DFill() else 0.0
    line = display.GetOpacity2DOutline() * opacity if display.GetVisibility2DOutline() else 0.0
    pixels[..., 3] = np.where(mask & ~inside, int(255 * line), np.where(mask, int(255 * fill), 0))
    height, width = mask.shape
    image = QtGui.QImage(pixels.data, width, height, 4 * width, QtGui.QImage.Format.Format_RGBA8888)
    painter.drawImage(left, top, image)


def _drawTransform(painter, node, sliceNode) -> None:
    display = node.GetDisplayNode()
    if not _isShown(display, sliceNode):
        return
    lines = vtk.vtkPolyData()
    slicer.vtkSlicerTransformLogic.GetVisualization2d(lines, display, sliceNode)
    painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*display.GetColor()), 1))
    height = sliceNode.GetDimensions()[1]
    rasToXy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceNode.GetXYToRAS(), rasToXy)
    for index in range(lines.GetNumberOfCells()):
        points = lines.GetCell(index).GetPoints()
        xy = [rasToXy.MultiplyPoint((*points.GetPoint(i), 1)) for i in range(points.GetNumberOfPoints())]
        painter.drawPolyline([QtCore.QPointF(x, height - 1 - y) for x, y, *_ in xy])


def _drawCrosshair(painter, sliceNode, width: int, height: int) -> None:
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is None or crosshair.GetCrosshairMode() == crosshair.NoCrosshair:
        return
    rasToXy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceNode.GetXYToRAS(), rasToXy)
    x, y, *_ = rasToXy.MultiplyPoint((*crosshair.GetCrosshairRAS(), 1))
    column, row = round(x), round(height - 1 - y)
    if not (0 <= column < width and 0 <= row < height):
        return
    painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*crosshair.GetCrosshairColor()), 1))
    length = 10 if crosshair.GetCrosshairMode() == crosshair.ShowSmallBasic else width + height
    for sign in (-1, 1):
        painter.drawLine(column + 5 * sign, row, column + length * sign, row)
        painter.drawLine(column, row + 5 * sign, column, row + length * sign)


def plotBounds(chart) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of all points of a plot chart."""
    lines = [line for line in map(_points, _series(chart)) if line is not None and len(line)]
    if not lines:
        return (0.0, 1.0), (0.0, 1.0)
    points = np.concatenate(lines)
    return tuple(zip(points.min(0).tolist(), points.max(0).tolist(), strict=True))


def drawPlot(painter: QtGui.QPainter, chart, rect: QtCore.QRect, xRange, yRange) -> None:
    """The series of a plot chart as lines in a frame, so far as they lie in the ranges."""
    frame = rect.adjusted(60, 24, -12, -34)
    painter.drawRect(frame)
    painter.drawText(rect.adjusted(0, 4, 0, 0), QtCore.Qt.AlignmentFlag.AlignHCenter, chart.GetTitle() or "")
    bottom = QtCore.Qt.AlignmentFlag.AlignBottom | QtCore.Qt.AlignmentFlag.AlignHCenter
    painter.drawText(rect.adjusted(0, 0, 0, -2), bottom, chart.GetXAxisTitle() or "")
    painter.drawText(frame.left() - 56, frame.top() + 10, f"{yRange[1]:.3g}")
    painter.drawText(frame.left() - 56, frame.bottom(), f"{yRange[0]:.3g}")
    painter.setClipRect(frame)
    for series in _series(chart):
        points = _points(series)
        if points is None:
            continue
        if len(points) < 2:
            raise ValueError("Attempted to paint a line with <2 points.")  # an error in VTK's log
        columns = frame.left() + frame.width() * (points[:, 0] - xRange[0]) / max(xRange[1] - xRange[0], _PRESENT)
        rows = frame.bottom() - frame.height() * (points[:, 1] - yRange[0]) / max(yRange[1] - yRange[0], _PRESENT)
        painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*series.GetColor()), 2))
        painter.drawPolyline([QtCore.QPointF(c, r) for c, r in zip(columns, rows, strict=True)])


def _series(chart) -> list:
    return [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]


def _points(series) -> np.ndarray | None:
    """[point, (x, y)]; None without a table."""
    table = series.GetTableNode()
    if table is None:
        return None
    columns = (series.GetXColumnName(), series.GetYColumnName())
    return np.stack([slicer.util.arrayFromTableColumn(table, name) for name in columns], axis=1)
