"""How Slicer's Python sees a Qt object: PythonQt's habits on top of PySide6.

Each Qt class has one wrapper class, each Qt object at most one wrapper at a time. Attributes come from the object's
meta-object, as in PythonQt: a Qt property is a plain attribute, so `label.text` is a str and `label.text()` an error.

A native class of our own (a ctk or qMRML widget) is a PySide6 subclass. It offers its Qt properties and signals, its
methods marked with @offered, and what its nearest Qt base class has. Everything else raises AttributeError.

Checked in PythonQt 4.1.0, on which Slicer 5.12's patched version is based: PythonQtInstanceWrapper.cpp (attributes),
PythonQtClassWrapper.cpp (classes), PythonQtClassInfo.cpp (what a name means), PythonQtConversion.cpp (values).
"""

from __future__ import annotations

import inspect
import weakref

import shiboken6
from PySide6 import QtCore

from . import receivers
from .enums import enumType, enumValue, isEnumType, isEnumValue
from .properties import propertyOf, readProperty, writeProperty

_classes: dict[type, type] = {}
_instances: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
_interceptors: dict[tuple[str, str], object] = {}
_PYSIDE_ONLY = {"emit", "receivers", "sender", "signalsBlocked_", "staticMetaObject", "metaObject"}


def offered(method):
    """Mark a method of a native class of ours as callable from Python: a slot or Q_INVOKABLE of the real class."""
    method.isOffered = True
    return method


def intercept(className: str, methodName: str, replacement) -> None:
    """Calls of a method go to replacement(native or None, arguments) instead, or to Qt again with None."""
    if replacement is None:
        _interceptors.pop((className, methodName), None)
    else:
        _interceptors[className, methodName] = replacement


class PythonQtClass(type):
    """The type of the wrapper classes: enum values, enums and static methods are attributes of the class."""

    def __call__(cls, *args):
        try:
            return wrap(cls.nativeClass(*map(unwrap, args)))
        except TypeError as error:
            raise ValueError(
                f"Could not find matching overload for given arguments: {args} of {cls.__name__}"
            ) from error

    def __getattr__(cls, name: str):
        if not name.startswith("_"):
            member = _qtAttribute(cls.nativeClass, name)
            if isEnumType(member):
                return enumType(member)
            if isEnumValue(member):
                return enumValue(member)
            if callable(member):
                return Method(None, cls, name, member)
        raise AttributeError(f"{cls.__name__} has no attribute named '{name}'")


class PythonQtInstance(metaclass=PythonQtClass):
    """A wrapped Qt object. No wrapper class derives from another, so isinstance sees only an object's own class."""

    nativeClass: type = object

    def __init_subclass__(cls, isWrapper: bool = False) -> None:
        if not isWrapper:
            raise TypeError("the stand-in does not support Python classes derived from Qt classes")

    def __getattr__(self, name: str):
        native = self.__dict__["native"]
        if not shiboken6.isValid(native):
            raise ValueError(f"Trying to read property '{name}' from a destroyed {type(self).__name__} object")
        return _readMember(self, native, name)

    def __setattr__(self, name: str, value) -> None:
        _writeMember(self, self.__dict__["native"], name, value)

    def __bool__(self) -> bool:
        return shiboken6.isValid(self.__dict__["native"])

    def __eq__(self, other) -> bool:
        if other is None:
            return not self
        if not isinstance(other, PythonQtInstance):
            return NotImplemented
        mine, others = self.__dict__["native"], other.__dict__["native"]
        return mine is others if isinstance(mine, QtCore.QObject) else mine == others

    def __hash__(self) -> int:
        return id(self.__dict__["native"])

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({type(self).__name__} at: {id(self.__dict__['native']):#x})"

    def className(self) -> str:
        return type(self).__name__

    def inherits(self, name: str) -> bool:
        native = self.__dict__["native"]
        return any(getattr(c, "slicerName", c.__name__) == name for c in type(native).__mro__)


class Method:
    """A Qt method bound to an object, or a static one. It takes positional arguments only."""

    def __init__(self, native, owner: type, name: str, function) -> None:
        self._native, self._owner, self.__name__, self._function = native, owner, name, function

    def __call__(self, *args):
        replacement = self._replacement()
        if replacement is not None:
            return replacement(self._native, args)
        native = [unwrap(a) for a in args]
        if not _accepts(self._function, native):
            raise self._noOverload(args)
        try:
            return wrap(self._function(*native))
        except TypeError as error:
            if inspect.isroutine(self._function) and not inspect.ismethod(self._function):
                raise self._noOverload(args) from error
            raise

    def __eq__(self, other) -> bool:
        return isinstance(other, Method) and (self._native, self.__name__) == (other._native, other.__name__)

    def __hash__(self) -> int:
        return hash((id(self._native), self.__name__))

    def _replacement(self):
        for nativeClass in self._owner.nativeClass.__mro__:
            replacement = _interceptors.get((nativeClass.__name__, self.__name__))
            if replacement is not None:
                return replacement
        return None

    def _noOverload(self, args) -> ValueError:
        return ValueError(f"Could not find matching overload for given arguments: {args} of {self.__name__}")


class Signal:
    """A signal of an object: connect, disconnect, emit. It is the first of the overloads, as in PythonQt."""

    def __init__(self, wrapper: PythonQtInstance, signature: str) -> None:
        self._wrapper, self._signature = wrapper, signature

    def connect(self, receiver) -> bool:
        return receivers.connect(unwrap(self._wrapper), self._signature, receiver)

    def disconnect(self, receiver=None) -> bool:
        return receivers.disconnect(unwrap(self._wrapper), self._signature, receiver)

    def emit(self, *args) -> None:
        receivers.emit(unwrap(self._wrapper), self._signature, [unwrap(a) for a in args])

    __call__ = emit


def wrapperClass(nativeClass: type, name: str | None = None) -> type:
    """The one wrapper class of a Qt class, or of a class of ours that stands for one."""
    if nativeClass not in _classes:
        name = name or getattr(nativeClass, "slicerName", nativeClass.__name__)
        _classes[nativeClass] = PythonQtClass.__new__(
            PythonQtClass, name, (PythonQtInstance,), {"nativeClass": nativeClass}, isWrapper=True
        )
        type.__init__(_classes[nativeClass], name, (PythonQtInstance,), {})
    return _classes[nativeClass]


def wrap(value):
    """What Python sees of a value that Qt returned. Lists become tuples."""
    if isinstance(value, shiboken6.Shiboken.Object):
        return _wrapObject(value)
    if isEnumValue(value):
        return enumValue(value)
    if isinstance(value, list | tuple):
        return tuple(map(wrap, value))
    return value


def unwrap(value):
    """What PySide6 understands of a value from Python."""
    if isinstance(value, PythonQtInstance):
        return value.__dict__["native"]
    if isinstance(value, PythonQtClass):
        return value.nativeClass
    if isinstance(value, list | tuple):
        return [unwrap(v) for v in value]
    return getattr(value, "nativeEnum", value)


def _wrapObject(native) -> PythonQtInstance:
    wrapper = _instances.get(id(native))
    if wrapper is None:
        wrapper = object.__new__(wrapperClass(type(native)))
        wrapper.__dict__["native"] = native
        _instances[id(native)] = wrapper
    return wrapper


def _readMember(wrapper, native, name: str):
    isObject = isinstance(native, QtCore.QObject)
    if isObject and propertyOf(native, name):
        return wrap(readProperty(native, name))
    if isObject and name in _OBJECT_METHODS:
        return _OBJECT_METHODS[name].__get__(wrapper)
    if isObject and (signature := receivers.firstSignature(native, name)):
        return Signal(wrapper, signature)
    ours = getattr(type(native), name, None)
    if getattr(ours, "isOffered", False):
        return Method(native, type(wrapper), name, getattr(native, name))
    member = _qtAttribute(type(native), name)
    if isEnumType(member):
        return enumType(member)
    if isEnumValue(member):
        return enumValue(member)
    if callable(member):
        return Method(native, type(wrapper), name, getattr(native, member.__name__))
    if isObject and (value := native.property(name)) is not None:
        return wrap(value)
    for child in native.children() if isObject else ():
        if child.objectName() == name:
            return wrap(child)
    raise AttributeError(f"{type(wrapper).__name__} has no attribute named '{name}'")


def _writeMember(wrapper, native, name: str, value) -> None:
    className = type(wrapper).__name__
    if not shiboken6.isValid(native):
        raise AttributeError(f"Trying to set property '{name}' on a destroyed {className} object")
    if isinstance(native, QtCore.QObject):
        if propertyOf(native, name):
            writeProperty(native, name, value, unwrap(value))
            return
        if receivers.firstSignature(native, name):
            raise AttributeError(f"Signal '{name}' can not be overwritten on {className} object")
        if name.encode() in [bytes(n) for n in native.dynamicPropertyNames()]:
            native.setProperty(name, unwrap(value))
            return
    if name in _OBJECT_METHODS or _qtAttribute(type(native), name) is not None:
        raise AttributeError(f"Slot '{name}' can not be overwritten on {className} object")
    raise AttributeError(
        f"'{name}' does not exist on {className} and creating new attributes on C++ objects is not allowed"
    )


def _qtAttribute(nativeClass: type, name: str):
    """A public member of the Qt class; `exec_` is `exec`, whose plain name Python once reserved."""
    if name in _PYSIDE_ONLY or name.startswith("_"):
        return None
    for base in nativeClass.__mro__:
        if base.__module__.startswith("PySide6."):
            name = "exec" if name == "exec_" else name
            member = getattr(base, name, None)
            return None if isinstance(member, QtCore.Signal) else member
    ours = getattr(nativeClass, name, None)
    return ours if getattr(ours, "isOffered", False) else None


def _accepts(function, native: list) -> bool:
    """Whether the arguments fit: PythonQt passes no Python function to Qt, and refuses a wrong number."""
    if any(inspect.isroutine(a) or inspect.isfunction(a) for a in native):
        return False
    if not inspect.ismethod(function):
        return True
    try:
        inspect.signature(function).bind(*native)
    except TypeError:
        return False
    return True


# What PythonQt adds to, or does differently on, every QObject (PythonQtStdDecorators.cpp).


def _connect(self, signal: str, receiver, slot: str | None = None) -> bool:
    target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    return receivers.connect(unwrap(self), receivers.resolve(unwrap(self), signal), target, signal)


def _disconnect(self, signal: str, receiver=None, slot: str | None = None) -> bool:
    target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    return receivers.disconnect(unwrap(self), receivers.resolve(unwrap(self), signal), target, signal)


def _findChildren(self, kind, name: str | None = None) -> tuple:
    native = unwrap(self)
    found = native.findChildren(QtCore.QObject) if isinstance(kind, str) else native.findChildren(unwrap(kind))
    found = [o for o in found if not isinstance(kind, str) or wrap(o).inherits(kind)]
    return wrap([o for o in found if name is None or o.objectName() == name])


def _findChild(self, kind, name: str | None = None):
    return next(iter(_findChildren(self, kind, name)), None)


def _property(self, name: str):
    return wrap(unwrap(self).property(name))


def _setProperty(self, name: str, value) -> bool:
    return unwrap(self).setProperty(name, unwrap(value))


def _children(self) -> tuple:
    return wrap(unwrap(self).children())


def _parent(self):
    return wrap(unwrap(self).parent())


def _delete(self) -> None:
    shiboken6.delete(unwrap(self))


_OBJECT_METHODS = {
    "connect": _connect,
    "disconnect": _disconnect,
    "findChildren": _findChildren,
    "findChild": _findChild,
    "property": _property,
    "setProperty": _setProperty,
    "children": _children,
    "parent": _parent,
    "delete": _delete,
}
