"""QUiLoader for .ui files with ctk and qMRML widgets.

The connections of the .ui are made as Qt makes them; one that names a signal or slot which the class lacks is an
error here, where Qt only prints a warning. So is a property that the class lacks, unless it is marked as dynamic.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import receivers
from .pythonqt import offered

_customWidgets: dict[str, type] = {}
_NOT_PROPERTIES = {"buddy"}  # that Qt Designer writes as properties


def registerCustomWidget(nativeClass: type) -> None:
    """Let .ui files name the class by its Slicer name."""
    _customWidgets[nativeClass.slicerName] = nativeClass


class UiLoader(QtUiTools.QUiLoader):
    slicerName = "QUiLoader"

    @offered
    def load(self, device: QtCore.QIODevice, parentWidget: QtWidgets.QWidget | None = None):
        root = ElementTree.fromstring(bytes(device.readAll()))
        connections = root.findall("connections/connection")
        for element in root.findall("connections"):
            root.remove(element)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parentWidget)
        _checkProperties(root, widget)
        for connection in connections:
            _connect(widget, *(connection.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")))
        return widget

    def createWidget(self, className: str, parent=None, name: str = ""):
        if className not in _customWidgets:
            return super().createWidget(className, parent, name)
        widget = _customWidgets[className](parent)
        widget.setObjectName(name)
        return widget


def _named(root: QtWidgets.QWidget, name: str) -> QtCore.QObject:
    found = root if root.objectName() == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise ValueError(f"The .ui connects {name}, which it does not contain")
    return found


def _connect(root, senderName: str, signal: str, receiverName: str, slot: str) -> None:
    sender, receiver = _named(root, senderName), _named(root, receiverName)
    method = getattr(receiver, slot.partition("(")[0], None)
    if method is None or not receivers.connect(sender, receivers.resolve(sender, signal), method, signal):
        raise ValueError(f"The .ui connects {senderName}.{signal} to {receiverName}.{slot}, which cannot be")


def _checkProperties(root: ElementTree.Element, widget: QtWidgets.QWidget) -> None:
    for element in root.iter("widget"):
        native = _named(widget, element.get("name"))
        for prop in element.findall("property"):
            isDynamic = prop.get("stdset") == "0" or prop.get("name") in _NOT_PROPERTIES
            if not isDynamic and native.metaObject().indexOfProperty(prop.get("name")) < 0:
                raise ValueError(f"{element.get('class')} {element.get('name')} has no property {prop.get('name')}")
