"""Signals and their Python receivers, as PythonQt connects them.

A receiver with a fixed number of parameters gets no more arguments than it takes. An exception in a receiver is
printed, never passed on. Connecting to a signal that does not exist prints a line and returns False.

Checked in PythonQt 4.1.0: PythonQtSignalReceiver.cpp, PythonQtSignal.cpp, PythonQtStdDecorators.cpp.
"""

from __future__ import annotations

import re
import sys
import types

import shiboken6
from PySide6 import QtCore

_VTK_POINTER = re.compile(r"vtk\w+\*")
_PYTHON_OBJECT = "PyObject"
_connections: dict[int, list] = {}
problems: list[str] = []


def resolve(native: QtCore.QObject, signature: str) -> str | None:
    """PySide6's signature of the signal that Slicer's signature names, None if the class has no such signal."""
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    if _PYTHON_OBJECT in normalized:
        return None
    if _VTK_POINTER.search(normalized):
        if normalized not in getattr(type(native), "vtkSignals", ()):
            return None
        normalized = _VTK_POINTER.sub(_PYTHON_OBJECT, normalized)
    return normalized if native.metaObject().indexOfSignal(normalized) >= 0 else None


def firstSignature(native: QtCore.QObject, name: str) -> str | None:
    """The signature behind `object.signal`: the first overload that the most derived class declares."""
    metaObject = native.metaObject()
    while metaObject is not None:
        for index in range(metaObject.methodOffset(), metaObject.methodCount()):
            method = metaObject.method(index)
            if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and bytes(method.name()).decode() == name:
                return bytes(method.methodSignature()).decode()
        metaObject = metaObject.superClass()
    return None


def connect(native: QtCore.QObject, signature: str | None, receiver, asked: str = "") -> bool:
    if signature is None:
        return _noSignal("connect", native, asked)
    if not callable(receiver):
        raise ValueError(f"Could not find matching overload for given arguments: ({asked!r}, {receiver!r}) of connect")

    def deliver(*args) -> None:
        call(receiver, args)

    QtCore.QObject.connect(native, QtCore.SIGNAL(signature), deliver)
    key = _key(native)
    if key not in _connections:
        _connections[key] = []
        native.destroyed.connect(lambda: _connections.pop(key, None))
    _connections[key].append((signature, receiver, deliver))
    return True


def disconnect(native: QtCore.QObject, signature: str | None, receiver, asked: str = "") -> bool:
    """Disconnect one connection to the receiver, or every one if there is no receiver."""
    if signature is None:
        return _noSignal("disconnect", native, asked)
    connections = _connections.get(_key(native), [])
    found = [c for c in connections if c[0] == signature and (receiver is None or c[1] == receiver)]
    for connection in found if receiver is None else found[:1]:
        QtCore.QObject.disconnect(native, QtCore.SIGNAL(signature), connection[2])
        connections.remove(connection)
    return bool(found)


def emit(native: QtCore.QObject, signature: str, args: list) -> None:
    getattr(native, signature.partition("(")[0]).emit(*args)


def call(receiver, args) -> None:
    """Call a receiver with what it takes of a signal's arguments; an exception ends here."""
    from .pythonqt import wrap

    try:
        receiver(*[wrap(a) for a in args[: _parameterCount(receiver)]])
    except Exception:
        sys.excepthook(*sys.exc_info())


def forgetAll() -> None:
    """Drop every connection: the application ends."""
    _connections.clear()
    problems.clear()


def _parameterCount(receiver) -> int | None:
    """How many arguments a Python function or method takes; None for any number and for other callables."""
    function = receiver.__func__ if isinstance(receiver, types.MethodType) else receiver
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & 0x04:
        return None
    return function.__code__.co_argcount - isinstance(receiver, types.MethodType)


def _key(native: QtCore.QObject) -> int:
    return shiboken6.getCppPointer(native)[0]


def _noSignal(what: str, native: QtCore.QObject, asked: str) -> bool:
    className = getattr(type(native), "slicerName", type(native).__name__)
    problem = f"PythonQt: QObject::{what}() signal '{asked}' does not exist on {className}"
    problems.append(problem)
    print(problem, file=sys.stderr)
    return False
