"""Qt's enum values as PythonQt shows them: integers (of a type named as the enum) that Qt functions accept."""

import enum


class EnumValue(int):
    """An int that remembers the PySide6 value it stands for. Flags combine into flags."""

    nativeEnum: enum.Enum

    def __or__(self, other):
        return _combined(self, other, int.__or__)

    def __and__(self, other):
        return _combined(self, other, int.__and__)

    def __xor__(self, other):
        return _combined(self, other, int.__xor__)

    def __invert__(self):
        return enumValue(~self.nativeEnum) if isinstance(self.nativeEnum, enum.Flag) else ~int(self)


class EnumType:
    """An enum as an attribute of its class: calling it turns an int into a value."""

    def __init__(self, native: type[enum.Enum]) -> None:
        self._native = native
        self.__name__ = native.__name__

    def __call__(self, value: int) -> EnumValue:
        return enumValue(self._native(value))


def isEnumValue(value) -> bool:
    return isinstance(value, enum.Enum)


def isEnumType(value) -> bool:
    return isinstance(value, type) and issubclass(value, enum.Enum)


def enumType(native: type[enum.Enum]) -> EnumType:
    return EnumType(native)


def enumValue(native: enum.Enum) -> EnumValue:
    value = EnumValue(native.value)
    value.nativeEnum = native
    return value


def _combined(first: EnumValue, second: int, operation):
    result = operation(first, second)
    if isinstance(first.nativeEnum, enum.Flag):
        return enumValue(type(first.nativeEnum)(result))
    return result
