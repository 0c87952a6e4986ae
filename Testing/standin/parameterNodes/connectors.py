"""Which widget shows which type, and how: the pairs of Slicer's guiConnectors.py, and its refusals.

The widget's type is compared exactly. There is no connector for QPlainTextEdit, QListWidget, QRadioButton or
qMRMLCheckableNodeComboBox.
"""

from __future__ import annotations

import enum
import logging
import types
import typing

import ctk
import qt
import slicer

from .annotations import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    findFirstAnnotation,
    splitAnnotations,
    unannotatedType,
)


class GuiConnector:
    """A widget as a place for a value: read, write, and a call when the user changes it."""

    signalName: str | None = None

    def __init__(self, widget, datatype) -> None:
        self._widget = widget
        self.kind, self.annotations = splitAnnotations(datatype)
        self._callback = None
        self.prepare()

    def prepare(self) -> None:
        """Make the widget fit the type."""

    def widget(self):
        return self._widget

    def read(self):
        raise NotImplementedError

    def write(self, value) -> None:
        raise NotImplementedError

    def onChanged(self, callback) -> None:
        """Call this from now on; None for nothing."""
        self._callback = callback
        if self.signalName is not None:
            signal = getattr(self._widget, self.signalName)
            (signal.disconnect if callback is None else signal.connect)(self.changed)

    def changed(self) -> None:
        if self._callback:
            self._callback()


class CheckConnector(GuiConnector):
    signalName = "stateChanged"

    def read(self) -> bool:
        return self._widget.checked

    def write(self, value: bool) -> None:
        self._widget.checked = value


class PushButtonConnector(CheckConnector):
    signalName = "toggled"

    def prepare(self) -> None:
        if not self._widget.checkable:
            logging.warning("Making push button checkable for conversion to bool: button %s", self._widget)
            self._widget.checkable = True


class NumberConnector(GuiConnector):
    """Spin boxes and sliders. The annotations give the range; without them a spin box has none."""

    signalName = "valueChanged"
    infinities = (float("-inf"), float("inf"))
    needsBounds: tuple = ("ctkSliderWidget", "qMRMLSliderWidget")

    def prepare(self) -> None:
        self._setDecimals()
        singleStep = findFirstAnnotation(self.annotations, SingleStep)
        if singleStep is not None:
            self._widget.singleStep = singleStep.value
        low, high = self._bounds()
        if self._widget.className() in self.needsBounds and (low is None or high is None):
            raise RuntimeError(f"A {self._widget.className()} cannot show a number without WithinRange")
        self._widget.minimum = self.infinities[0] if low is None else low
        self._widget.maximum = self.infinities[1] if high is None else high

    def _setDecimals(self) -> None:
        decimals = findFirstAnnotation(self.annotations, Decimals)
        if self.kind is int:
            self._widget.decimals = 0
        elif decimals is not None:
            self._widget.decimals = decimals.value

    def _bounds(self) -> tuple:
        withinRange = findFirstAnnotation(self.annotations, WithinRange)
        if withinRange is not None:
            return withinRange.minimum, withinRange.maximum
        minimum = findFirstAnnotation(self.annotations, Minimum)
        maximum = findFirstAnnotation(self.annotations, Maximum)
        return getattr(minimum, "minimum", None), getattr(maximum, "maximum", None)

    def read(self):
        return self.kind(self._widget.value)

    def write(self, value) -> None:
        self._widget.value = self.kind(value)


class IntegerConnector(NumberConnector):
    infinities = (-(2**31), 2**31 - 1)
    needsBounds = ("QSlider",)

    def _setDecimals(self) -> None:
        decimals = findFirstAnnotation(self.annotations, Decimals)
        if decimals is not None:
            self._widget.decimals = decimals.value


class ChoiceConnector(GuiConnector):
    """A combo box, filled anew with the choices: what the .ui lists in it is dropped."""

    signalName = "currentIndexChanged"

    def prepare(self) -> None:
        choice = findFirstAnnotation(self.annotations, Choice)
        if choice is None:
            raise RuntimeError("A combo box needs the annotation Choice")
        self._values = list(choice.choices)
        self._fill([str(value) for value in self._values])

    def _fill(self, labels: list[str]) -> None:
        self._widget.clear()
        for label in labels:
            self._widget.addItem(label)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value) -> None:
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


class EnumConnector(ChoiceConnector):
    """The enum's members by their `label()` if it has one, else by their names."""

    def prepare(self) -> None:
        label = getattr(self.kind, "label", lambda member: member.name)
        self._values = list(self.kind)
        selected = self.read()  # of the items of the .ui: it may have no more of them than the enum
        self._fill([label(member) for member in self._values])
        self.write(selected)


class LineEditConnector(GuiConnector):
    signalName = "textChanged"

    def read(self) -> str:
        return self._widget.text

    def write(self, value: str) -> None:
        if value != self._widget.text:  # else the cursor would jump
            self._widget.text = value


class LabelConnector(GuiConnector):
    def read(self) -> str:
        return self._widget.text

    def write(self, value: str) -> None:
        self._widget.text = value


class TextEditConnector(GuiConnector):
    signalName = "textChanged"

    def read(self) -> str:
        return self._widget.toPlainText()

    def write(self, value: str) -> None:
        self._widget.setPlainText(value)


class NodeConnector(GuiConnector):
    """A node selector; its node types become the parameter's."""

    signalName = "currentNodeChanged"

    def prepare(self) -> None:
        self._widget.nodeTypes = [kind().GetClassName() for kind in _nodeClasses(self.kind)]

    def read(self):
        return self._widget.currentNode()

    def write(self, value) -> None:
        self._widget.setCurrentNode(value)


def createGuiConnector(widget, datatype) -> GuiConnector:
    """The connector for this widget and type; RuntimeError if there is none."""
    kind = unannotatedType(datatype)
    for connector, isPair in _PAIRS:
        if isPair(type(widget), kind):
            return connector(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


def _nodeClasses(kind) -> list[type]:
    """The node classes that a type names; none if it names anything else too."""
    isUnion = typing.get_origin(kind) in (typing.Union, types.UnionType)
    members = [unannotatedType(m) for m in typing.get_args(kind)] if isUnion else [kind]
    members = [m for m in members if m is not type(None)]
    areNodes = all(isinstance(m, type) and issubclass(m, slicer.vtkMRMLNode) for m in members)
    return members if areNodes else []


_DOUBLES = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSpinBox)
_COMBO_BOXES = (qt.QComboBox, ctk.ctkComboBox)
_PAIRS = (
    (CheckConnector, lambda widget, kind: kind is bool and widget in (qt.QCheckBox, ctk.ctkCheckBox)),
    (PushButtonConnector, lambda widget, kind: kind is bool and widget is qt.QPushButton),
    (IntegerConnector, lambda widget, kind: kind is int and widget in (qt.QSlider, qt.QSpinBox)),
    (NumberConnector, lambda widget, kind: kind in (int, float) and widget in _DOUBLES),
    (ChoiceConnector, lambda widget, kind: kind in (int, float, str, bool) and widget in _COMBO_BOXES),
    (EnumConnector, lambda widget, kind: widget in _COMBO_BOXES and issubclass(kind, enum.Enum)),
    (LineEditConnector, lambda widget, kind: kind is str and widget is qt.QLineEdit),
    (LabelConnector, lambda widget, kind: kind is str and widget is qt.QLabel),
    (TextEditConnector, lambda widget, kind: kind is str and widget is qt.QTextEdit),
    (NodeConnector, lambda widget, kind: widget is slicer.qMRMLNodeComboBox and bool(_nodeClasses(kind))),
)
