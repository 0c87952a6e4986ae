"""The ctk widgets that Slicer's module panels use. Properties, signals and slots as in CTK's headers; looks alike.

Python reaches a C++ method of CTK only if it is a property, a public slot or Q_INVOKABLE, so `setCollapsed` or
`setRange` are missing here as they are there.
"""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .collapsing import Collapsing
from .pythonqt import offered, wrap, wrapperClass
from .uiLoader import registerCustomWidget


class CollapsibleButton(Collapsing, QtWidgets.QAbstractButton):
    """ctkCollapsibleButton: a header bar that shows or hides what is below it."""

    slicerName = "ctkCollapsibleButton"
    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.startCollapsing()
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self.headerHeight(), 0, 0)
        self.toggled.connect(lambda opened: self.contentsCollapsed.emit(not opened))

    collapsed = Property(bool, Collapsing._isCollapsed, Collapsing._setCollapsed, notify=contentsCollapsed)

    def minimumSizeHint(self) -> QtCore.QSize:
        return self._hint("totalMinimumSize")

    def sizeHint(self) -> QtCore.QSize:
        return self._hint("totalSizeHint")

    def _hint(self, of: str) -> QtCore.QSize:
        text = self.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, self.text())
        header = QtCore.QSize(text.width() + 40, self.headerHeight())
        if self.layout() is None or self._isCollapsed():
            return header
        return getattr(self.layout(), of)().expandedTo(header)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() <= self.headerHeight()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self.headerHeight())
        option.state |= QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        textRect = option.rect.adjusted(26, 0, -4, 0)
        option.rect = QtCore.QRect(6, (self.headerHeight() - 12) // 2, 12, 12)
        painter.drawPrimitive(_arrow(self), option)
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic
        painter.drawItemText(textRect, flags, self.palette(), self.isEnabled(), self.text(), self.foregroundRole())


class CollapsibleGroupBox(Collapsing, QtWidgets.QGroupBox):
    """ctkCollapsibleGroupBox: a group box whose arrow shows or hides its contents."""

    slicerName = "ctkCollapsibleGroupBox"

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.startCollapsing()

    collapsed = Property(bool, Collapsing._isCollapsed, Collapsing._setCollapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """The group box as ever, with an arrow for its check mark."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        style, control = self.style(), QtWidgets.QStyle.ComplexControl.CC_GroupBox
        checkBox = QtWidgets.QStyle.SubControl.SC_GroupBoxCheckBox
        arrowRect = style.subControlRect(control, option, checkBox, self)
        painter.drawComplexControl(control, option)
        painter.fillRect(arrowRect, self.palette().window())
        arrowOption = QtWidgets.QStyleOption()
        arrowOption.initFrom(self)
        arrowOption.state |= QtWidgets.QStyle.StateFlag.State_Enabled
        arrowOption.rect = arrowRect
        painter.drawPrimitive(_arrow(self), arrowOption)


def _arrow(widget: Collapsing) -> QtWidgets.QStyle.PrimitiveElement:
    element = QtWidgets.QStyle.PrimitiveElement
    return element.PE_IndicatorArrowRight if widget._isCollapsed() else element.PE_IndicatorArrowUp


class DoubleSpinBox(QtWidgets.QWidget):
    """ctkDoubleSpinBox: a widget around a QDoubleSpinBox."""

    slicerName = "ctkDoubleSpinBox"
    valueChanged = Signal((float,), (str,))
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._spinBox = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._spinBox)
        self._spinBox.valueChanged.connect(self._onValueChanged)
        self._spinBox.editingFinished.connect(self.editingFinished)

    def _onValueChanged(self, value: float) -> None:
        self.valueChanged[float].emit(value)
        self.valueChanged[str].emit(self._spinBox.text())

    @offered
    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    @offered
    def setDecimals(self, decimals: int) -> None:
        self._spinBox.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    @offered
    def stepUp(self) -> None:
        self._spinBox.stepUp()

    @offered
    def stepDown(self) -> None:
        self._spinBox.stepDown()

    value = Property(float, lambda self: self._spinBox.value(), setValue)
    decimals = Property(int, lambda self: self._spinBox.decimals(), setDecimals)
    minimum = Property(float, lambda self: self._spinBox.minimum(), lambda self, v: self._spinBox.setMinimum(v))
    maximum = Property(float, lambda self: self._spinBox.maximum(), lambda self, v: self._spinBox.setMaximum(v))
    singleStep = Property(
        float, lambda self: self._spinBox.singleStep(), lambda self, v: self._spinBox.setSingleStep(v)
    )
    prefix = Property(str, lambda self: self._spinBox.prefix(), lambda self, v: self._spinBox.setPrefix(v))
    suffix = Property(str, lambda self: self._spinBox.suffix(), lambda self, v: self._spinBox.setSuffix(v))


class SliderWidget(QtWidgets.QWidget):
    """ctkSliderWidget: a slider with a spin box for the same number."""

    slicerName = "ctkSliderWidget"
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(Qt.Orientation.Horizontal, self)
        self._spinBox = QtWidgets.QDoubleSpinBox(self)
        self._pageStep = 10.0
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spinBox)
        self._spinBox.valueChanged.connect(self._onValueChanged)
        self._slider.sliderMoved.connect(self._onSliderMoved)
        self._slider.sliderReleased.connect(lambda: self._onSliderMoved(self._slider.value(), True))
        self._spread()

    def _spread(self) -> None:
        """The slider's integers are the single steps from the minimum."""
        box = self._spinBox
        step = box.singleStep() or 1.0
        self._slider.setRange(0, max(0, min(10**6, round((box.maximum() - box.minimum()) / step))))
        self._slider.setValue(round((box.value() - box.minimum()) / step))

    def _onValueChanged(self, value: float) -> None:
        self._spread()
        self.valueChanged.emit(value)

    def _onSliderMoved(self, position: int, released: bool = False) -> None:
        value = self._spinBox.minimum() + position * self._spinBox.singleStep()
        self.valueIsChanging.emit(value)
        if released or self._slider.hasTracking():
            self._spinBox.setValue(value)

    def _setBox(self, setter: str, value) -> None:
        getattr(self._spinBox, setter)(value)
        self._spread()

    @offered
    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    @offered
    def setDecimals(self, decimals: int) -> None:
        self._spinBox.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    @offered
    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spinBox.setVisible(visible)

    @offered
    def reset(self) -> None:
        self._spinBox.setValue(self._spinBox.minimum())

    value = Property(float, lambda self: self._spinBox.value(), setValue)
    decimals = Property(int, lambda self: self._spinBox.decimals(), setDecimals)
    minimum = Property(float, lambda self: self._spinBox.minimum(), lambda self, v: self._setBox("setMinimum", v))
    maximum = Property(float, lambda self: self._spinBox.maximum(), lambda self, v: self._setBox("setMaximum", v))
    singleStep = Property(
        float, lambda self: self._spinBox.singleStep(), lambda self, v: self._setBox("setSingleStep", v)
    )
    pageStep = Property(float, lambda self: self._pageStep, lambda self, v: setattr(self, "_pageStep", v))
    prefix = Property(str, lambda self: self._spinBox.prefix(), lambda self, v: self._spinBox.setPrefix(v))
    suffix = Property(str, lambda self: self._spinBox.suffix(), lambda self, v: self._spinBox.setSuffix(v))
    tracking = Property(bool, lambda self: self._slider.hasTracking(), lambda self, v: self._slider.setTracking(v))
    spinBoxVisible = Property(bool, lambda self: not self._spinBox.isHidden(), setSpinBoxVisible)


class ComboBox(QtWidgets.QComboBox):
    """ctkComboBox: a combo box with a text for when nothing is chosen."""

    slicerName = "ctkComboBox"

    def _defaultText(self) -> str:
        return self._text

    def _setDefaultText(self, text: str) -> None:
        self._text = text
        self.update()

    _text = ""
    defaultText = Property(str, _defaultText, _setDefaultText)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        if self.currentIndex() >= 0:
            super().paintEvent(event)
            return
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self._text
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)


class CheckBox(QtWidgets.QCheckBox):
    slicerName = "ctkCheckBox"


class ExpandButton(QtWidgets.QToolButton):
    """ctkExpandButton: a flat tool button with a double arrow."""

    slicerName = "ctkExpandButton"

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAutoRaise(True)
        self.setIcon(self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_ToolBarHorizontalExtensionButton))


_WIDGETS = (CollapsibleButton, CollapsibleGroupBox, DoubleSpinBox, SliderWidget, ComboBox, CheckBox, ExpandButton)


class _WidgetsUtils:
    """ctkWidgetsUtils: the functions of CTK's namespace `ctk`, as static methods."""

    @staticmethod
    def grabWidget(widget):
        return wrap(_native(widget).grab().toImage())


def _native(wrapper):
    return wrapper.__dict__["native"]


def makeCtkModule() -> types.ModuleType:
    module = types.ModuleType("ctk", "CTK as Slicer's Python sees it: a stand-in on PySide6.")
    for widget in _WIDGETS:
        setattr(module, widget.slicerName, wrapperClass(widget))
        registerCustomWidget(widget)
    module.ctkWidgetsUtils = _WidgetsUtils
    return module
