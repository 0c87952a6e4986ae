"""Qt properties as attributes, with the conversions that PythonQt makes when one is set (PythonQtConversion.cpp)."""

import math

from PySide6 import QtCore

_OBJECT_NAME = "name"  # Slicer builds PythonQt with the property "name" for objectName


def propertyOf(native: QtCore.QObject, name: str):
    """The meta-property of that name, or None. QTimer.singleShot stays the method."""
    metaObject = native.metaObject()
    index = metaObject.indexOfProperty(name)
    if index < 0 and name == _OBJECT_NAME:
        index = metaObject.indexOfProperty("objectName")
    if index < 0 or (name == "singleShot" and isinstance(native, QtCore.QTimer)):
        return None
    return metaObject.property(index)


def readProperty(native: QtCore.QObject, name: str):
    prop = propertyOf(native, name)
    if prop.isEnumType():
        return prop.read(native)
    # a property that we wrote ourselves may hold what QVariant would change
    return getattr(native, name) if _isOurs(native, name) else native.property(prop.name())


def writeProperty(native: QtCore.QObject, name: str, value, unwrapped) -> None:
    prop = propertyOf(native, name)
    className = getattr(type(native), "slicerName", type(native).__name__)
    if not prop.isWritable():
        raise AttributeError(f"Property '{name}' of {className} object is not writable")
    try:
        converted = _converted(prop, unwrapped)
    except (TypeError, ValueError):
        converted = None
    if converted is None or not native.setProperty(prop.name(), converted):
        raise AttributeError(
            f"Property '{name}' of type '{prop.typeName()}' does not accept an object of type "
            f"{type(value).__name__} ({value})"
        )


def _isOurs(native, name: str) -> bool:
    return isinstance(getattr(type(native), name, None), QtCore.Property)


def _converted(prop, value):
    """The value as the property's type; a str property takes anything, even None, which becomes "None"."""
    if prop.isEnumType():
        return int(getattr(value, "value", value))
    kind = prop.typeName()
    if kind == "bool":
        return bool(value)
    if kind in ("int", "uint", "qlonglong", "qulonglong"):
        return math.floor(_number(value))
    if kind in ("double", "float"):
        return float(_number(value))
    if kind == "QString":
        return str(value)
    if kind == "QStringList":
        return [str(v) for v in value]
    return value


def _number(value):
    if isinstance(value, str) or value is None:
        raise TypeError("not a number")
    return value
