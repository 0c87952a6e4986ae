"""The list that a list parameter reads as: a change of it is written to the parameter node."""

import collections.abc


class ObservedList(collections.abc.MutableSequence):
    """Like a list, but no list: it supports no `+` and no `*`, and is written whenever it changes in place."""

    def __init__(self, values: list, save) -> None:
        self._values, self._save = values, save

    def __repr__(self) -> str:
        return f"ObservedList({self._values})"

    def __eq__(self, other) -> bool:
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    __hash__ = None

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value) -> None:
        self._values[index] = value
        self._save(self._values)

    def __delitem__(self, index) -> None:
        del self._values[index]
        self._save(self._values)

    def insert(self, index: int, value) -> None:
        self._values.insert(index, value)
        self._save(self._values)

    def sort(self, *args, **kwargs) -> None:
        self._values.sort(*args, **kwargs)
        self._save(self._values)

    def __add__(self, other):
        raise NotImplementedError("An ObservedList cannot be added; += is possible")

    __radd__ = __add__

    def __mul__(self, other):
        raise NotImplementedError("An ObservedList cannot be multiplied")

    __rmul__ = __mul__
