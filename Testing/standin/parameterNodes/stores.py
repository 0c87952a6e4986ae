"""How a value of each type is kept in a parameter node: the same names and texts as Slicer's serializers."""

from __future__ import annotations

import enum
import pathlib
import types
import typing

import slicer
import slicer.util

from .annotations import IsInstance, NotNone, Validator, splitAnnotations
from .observedList import ObservedList


class Store:
    """One parameter's text in the node. Subclasses say how a value becomes text and back."""

    validators: tuple = ()

    def __init__(self, kind) -> None:
        self.kind = kind

    def default(self):
        return self.kind()

    def text(self, value) -> str:
        return str(value)

    def value(self, text: str):
        return self.kind(text)

    def accepts(self, value) -> bool:
        """Whether a value of an optional or union type is this store's."""
        return isinstance(value, self.kind)

    def isIn(self, node, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, self.text(value))

    def read(self, node, name: str):
        return self.value(node.GetParameter(name))

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)


class NumberStore(Store):
    def __init__(self, kind) -> None:
        super().__init__(kind)
        self.validators = (NotNone(), IsInstance((int, float) if kind is float else int))

    def default(self):
        return 0


class TextStore(Store):
    def __init__(self, kind) -> None:
        super().__init__(kind)
        self.validators = (NotNone(), IsInstance(kind))


class BoolStore(TextStore):
    def text(self, value) -> str:
        return "True" if value else "False"

    def value(self, text: str) -> bool:
        return text == "True"


class EnumStore(Store):
    def __init__(self, kind) -> None:
        super().__init__(kind)
        if len(kind) == 0:
            raise ValueError("Cannot serialize empty Enum.")
        self.validators = (IsInstance(kind),)

    def default(self):
        return next(iter(self.kind))

    def text(self, value) -> str:
        return value.name

    def value(self, text: str):
        if text not in self.kind.__members__:
            raise ValueError(f"The parameter node holds {text!r}, which {self.kind} lacks")
        return self.kind[text]


class NodeStore(Store):
    """A node reference; the empty parameter of the same name says that there is one, be it to nothing."""

    def __init__(self, kind) -> None:
        super().__init__(kind)
        self.validators = (IsInstance(kind),)

    def default(self):
        return None

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name: str):
        return node.GetNodeReference(name)

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class NoneStore(Store):
    def default(self):
        return None

    def text(self, value) -> str:
        return "True"

    def value(self, text: str):
        return None


class ListStore(Store):
    """`name.len`, and the elements as `name.0`, `name.1`, …"""

    def __init__(self, elementStore: ValidatedStore) -> None:
        super().__init__(list)
        self._element = elementStore

    def default(self) -> list:
        return []

    def accepts(self, value) -> bool:
        return isinstance(value, list | ObservedList)

    def isIn(self, node, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node, name: str, values) -> None:
        values = list(values)
        for value in values:
            self._element.validate(value)
        with slicer.util.NodeModify(node):
            oldLength = int(node.GetParameter(f"{name}.len") or 0)
            for index, value in enumerate(values):
                self._element.write(node, f"{name}.{index}", value)
            node.SetParameter(f"{name}.len", str(len(values)))
            for index in range(len(values), oldLength):
                self._element.remove(node, f"{name}.{index}")

    def read(self, node, name: str) -> ObservedList:
        length = int(node.GetParameter(f"{name}.len") or 0)
        values = [self._element.read(node, f"{name}.{index}") for index in range(length)]
        return ObservedList(values, lambda changed: self.write(node, name, changed))

    def remove(self, node, name: str) -> None:
        self.write(node, name, [])
        node.UnsetParameter(f"{name}.len")


class UnionStore(Store):
    """The value under `name.i`, where i is the place of its type in the union."""

    def __init__(self, stores: list[ValidatedStore]) -> None:
        super().__init__(object)
        self._stores = stores

    def default(self):
        isOptional = len(self._stores) == 2 and isinstance(self._stores[1].store, NoneStore)
        return None if isOptional else self._stores[0].default()

    def _place(self, value) -> int:
        for index, store in enumerate(self._stores):
            if store.store.accepts(value):
                store.validate(value)
                return index
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def isIn(self, node, name: str) -> bool:
        return any(store.isIn(node, f"{name}.{i}") for i, store in enumerate(self._stores))

    def write(self, node, name: str, value) -> None:
        index = self._place(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self._stores[index].write(node, f"{name}.{index}", value)

    def read(self, node, name: str):
        for index, store in enumerate(self._stores):
            if store.isIn(node, f"{name}.{index}"):
                return store.read(node, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, node, name: str) -> None:
        for index, store in enumerate(self._stores):
            store.remove(node, f"{name}.{index}")


class ValidatedStore:
    """A store that checks a value before it is written: first what its type demands, then the annotations."""

    def __init__(self, store: Store, validators: list[Validator]) -> None:
        self.store = store
        self._validators = [*store.validators, *validators]
        self.default, self.isIn = store.default, store.isIn
        self.read, self.remove = store.read, store.remove

    def validate(self, value) -> None:
        for validator in self._validators:
            validator.validate(value)

    def write(self, node, name: str, value) -> None:
        self.validate(value)
        self.store.write(node, name, value)


def createStore(annotatedType) -> ValidatedStore:
    kind, annotations = splitAnnotations(annotatedType)
    return ValidatedStore(_storeOf(kind), [a for a in annotations if isinstance(a, Validator)])


def _storeOf(kind) -> Store:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return UnionStore([createStore(member) for member in typing.get_args(kind)])
    if origin is list:
        return ListStore(createStore(*typing.get_args(kind)))
    if kind is type(None):
        return NoneStore(kind)
    if kind is bool:
        return BoolStore(kind)
    if kind in (int, float):
        return NumberStore(kind)
    if kind is str or (isinstance(kind, type) and issubclass(kind, pathlib.PurePath)):
        return TextStore(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return EnumStore(kind)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeStore(kind)
    raise TypeError(f"Unable to create serializer for type: {kind}")
