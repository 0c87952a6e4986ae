"""What `Annotated[type, …]` may hold: a default, validators, hints for the widget."""

import abc
import dataclasses
import typing


class Default:
    def __init__(self, value=None, *, generator=None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class Validator(abc.ABC):
    @abc.abstractmethod
    def validate(self, value) -> None:
        """Raise an error for a value that may not be."""


class NotNone(Validator):
    def validate(self, value) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    def __init__(self, classtype) -> None:
        self.classtype = classtype

    def validate(self, value) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is a {type(value)}, not a {self.classtype}")


class WithinRange(Validator):
    def __init__(self, minimum, maximum) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not from {self.minimum} to {self.maximum}")


class Minimum(Validator):
    def __init__(self, minimum) -> None:
        self.minimum = minimum

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


class Maximum(Validator):
    def __init__(self, maximum) -> None:
        self.maximum = maximum

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


class Choice(Validator):
    def __init__(self, choices) -> None:
        self.choices = choices

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class Exclude(Validator):
    def __init__(self, excludedValues) -> None:
        self.excludedValues = excludedValues

    def validate(self, value) -> None:
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is one of {self.excludedValues}")


def splitAnnotations(possiblyAnnotatedType) -> tuple:
    """The type, and the tuple of its annotations."""
    if typing.get_origin(possiblyAnnotatedType) is not typing.Annotated:
        return possiblyAnnotatedType, ()
    kind, *annotations = typing.get_args(possiblyAnnotatedType)
    return kind, tuple(annotations)


def unannotatedType(possiblyAnnotatedType):
    return splitAnnotations(possiblyAnnotatedType)[0]


def findFirstAnnotation(annotationsList, annotationType):
    return next((a for a in annotationsList if isinstance(a, annotationType)), None)
