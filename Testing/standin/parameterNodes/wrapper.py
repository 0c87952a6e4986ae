"""The class decorator parameterNodeWrapper."""

from __future__ import annotations

import typing

import qt
import slicer.util
import vtk

from .annotations import Default, findFirstAnnotation, splitAnnotations
from .connectors import createGuiConnector
from .stores import createStore

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Parameter:
    def __init__(self, name: str, annotatedType, default: Default | None) -> None:
        self.name, self.annotatedType = name, annotatedType
        self.store = createStore(annotatedType)
        own = findFirstAnnotation(splitAnnotations(annotatedType)[1], Default)
        self.default = default or own or Default(self.store.default())


class _WrapperMethods:
    """What every parameter node wrapper can do. The names are reserved."""

    def default(self, paramName: str) -> Default:
        return self._parameter(paramName).default

    def dataType(self, paramName: str):
        return self._parameter(paramName).annotatedType

    def getValue(self, paramName: str):
        return self._parameter(paramName).store.read(self.parameterNode, self._prefix + paramName)

    def setValue(self, paramName: str, value) -> None:
        self._parameter(paramName).store.write(self.parameterNode, self._prefix + paramName, value)

    def connectGui(self, gui) -> int:
        """Connect the widgets that carry the property SlicerParameterName: children of a widget, or attributes."""
        isWidget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if isWidget else gui.__dict__.values()
        named = [(widget.property(SlicerParameterNamePropertyName), widget) for widget in widgets]
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        for name in mapping:
            self._parameter(name)
        connectors = {name: createGuiConnector(widget, self.dataType(name)) for name, widget in mapping.items()}
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._whenGuiChanges(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._updateGui())
        self._nextTag += 1
        self._guis[self._nextTag] = (connectors, observer)
        return self._nextTag

    def disconnectGui(self, guiTag: int) -> None:
        connectors, observer = self._guis.pop(guiTag, ({}, None))
        for connector in connectors.values():
            connector.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}, only {list(self.allParameters)}")
        return self.allParameters[name]

    def _whenGuiChanges(self, name: str, connector):
        def callback() -> None:
            with slicer.util.NodeModify(self):
                if not self._isUpdatingGui:
                    self.setValue(name, connector.read())

        return callback

    def _updateGui(self) -> None:
        if self._isUpdatingGui:
            return
        self._isUpdatingGui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in list(self._guis.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._isUpdatingGui = False


def parameterNodeWrapper(classtype=None):
    """Class decorator: the annotated members become parameters of the parameter node given to the constructor."""
    return _process if classtype is None else _process(classtype)


def isParameterNodeWrapper(classOrObj) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter: str):
    widgets = widget.findChildren(qt.QWidget)
    return next((w for w in widgets if w.property(SlicerParameterNamePropertyName) == parameter), None)


def _process(classtype):
    parameters = {}
    for name, annotatedType in typing.get_type_hints(classtype, include_extras=True).items():
        default = Default(getattr(classtype, name)) if hasattr(classtype, name) else None
        try:
            parameters[name] = _Parameter(name, annotatedType, default)
        except Exception as error:
            raise Exception(f"Unable to create serializer for {classtype} member {name}") from error
        setattr(classtype, name, _property(name))
    members = {n: m for n, m in vars(_WrapperMethods).items() if callable(m)}
    members |= {"allParameters": parameters, "_is_parameter_node_wrapper": True}
    for name, member in members.items():
        if name in vars(classtype):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, member)
    classtype.__init__ = _init
    return classtype


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def _init(self, parameterNode, prefix: str | None = None) -> None:
    self.parameterNode = parameterNode
    self._prefix = prefix or ""
    self._guis: dict[int, tuple] = {}
    self._nextTag = -1
    self._isUpdatingGui = False
    for name, parameter in self.allParameters.items():
        if not parameter.store.isIn(parameterNode, self._prefix + name):
            parameter.store.write(parameterNode, self._prefix + name, parameter.default.value)
