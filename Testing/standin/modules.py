"""Modules: slicer.modules, the module manager, and how Slicer loads a scripted module's file.

Read in qSlicerScriptedLoadableModule(.cxx, .h), qSlicerScriptedLoadableModuleWidget, qSlicerAbstractModuleWidget,
qSlicerModuleManager and qSlicerAbstractCoreModule of Slicer.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .mrmlWidgets import MRMLWidget
from .pythonqt import offered, wrap


class Modules:
    """slicer.modules: an attribute for every module, by its lower-case name."""


def _text(name: str) -> Property:
    return Property(str, lambda self: self.values[name], lambda self, value: self.values.__setitem__(name, value))


def _texts(name: str) -> Property:
    return Property(
        "QStringList", lambda self: self.values[name], lambda self, value: self.values.__setitem__(name, value)
    )


class Module(QtCore.QObject):
    """qSlicerLoadableModule: a module in C++, of which only the logic is there."""

    slicerName = "qSlicerLoadableModule"

    def __init__(self, moduleName: str, logic) -> None:
        super().__init__()
        self.values = {"name": moduleName, "title": moduleName, "path": ""}
        self._logic = logic

    @offered
    def logic(self):
        return self._logic

    name = Property(str, lambda self: self.values["name"])
    title = Property(str, lambda self: self.values["title"])
    path = Property(str, lambda self: self.values["path"])


class ScriptedModule(QtCore.QObject):
    """qSlicerScriptedLoadableModule: what a module's class gets as its parent."""

    slicerName = "qSlicerScriptedLoadableModule"

    def __init__(self, path: Path, application) -> None:
        super().__init__()
        self._application = application
        self._widget: ModuleWidget | None = None
        self._icon = QtGui.QIcon()
        self.values = {"name": path.stem, "path": str(path), "title": "", "helpText": "", "acknowledgementText": ""}
        self.values |= {"categories": [], "contributors": [], "dependencies": [], "associatedNodeTypes": []}
        self.values |= {"hidden": False, "index": -1, "isBuiltIn": False}

    @offered
    def logic(self):
        return None

    @offered
    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = ModuleWidget(self)
            self._widget.start()
        return self._widget

    @offered
    def mrmlScene(self):
        return self._application.scene

    def _setIcon(self, icon: QtGui.QIcon) -> None:
        self._icon = icon

    name = Property(str, lambda self: self.values["name"])
    path = Property(str, lambda self: self.values["path"])
    title, helpText, acknowledgementText = _text("title"), _text("helpText"), _text("acknowledgementText")
    categories, contributors = _texts("categories"), _texts("contributors")
    dependencies, associatedNodeTypes = _texts("dependencies"), _texts("associatedNodeTypes")
    hidden = Property(bool, lambda s: s.values["hidden"], lambda s, v: s.values.__setitem__("hidden", v))
    index = Property(int, lambda s: s.values["index"], lambda s, v: s.values.__setitem__("index", v))
    icon = Property(QtGui.QIcon, lambda self: self._icon, _setIcon)


class ModuleWidget(MRMLWidget):
    """qSlicerScriptedLoadableModuleWidget: what a module's widget class gets as its parent."""

    slicerName = "qSlicerScriptedLoadableModuleWidget"

    def __init__(self, module: ScriptedModule) -> None:
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self._module = module
        self._isEntered = False
        self._self = None

    def start(self) -> None:
        """Instantiate the module's widget class and set it up, as when the module is first shown."""
        import slicer

        self.setMRMLScene(slicer.mrmlScene)
        self.reload()

    @offered
    def reload(self) -> None:
        import slicer

        className = f"{self._module.name}Widget"
        self._self = getattr(sys.modules[self._module.name], className)(wrap(self))
        setattr(slicer.modules, className, self._self)
        self._self.setup()

    @offered
    def self(self):
        return self._self

    @offered
    def enter(self) -> None:
        self._isEntered = True
        self._callIfThere("enter")

    @offered
    def exit(self) -> None:
        self._isEntered = False
        self._callIfThere("exit")

    @offered
    def module(self) -> ScriptedModule:
        return self._module

    def _callIfThere(self, method: str) -> None:
        """An exception is printed, not passed on, as everywhere where Qt calls Python."""
        try:
            getattr(self._self, method, lambda: None)()
        except Exception:
            sys.excepthook(*sys.exc_info())

    isEntered = Property(bool, lambda self: self._isEntered)
    moduleName = Property(str, lambda self: self._module.name)


class ModuleManager(QtCore.QObject):
    """qSlicerModuleManager."""

    slicerName = "qSlicerModuleManager"
    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self.modules: dict[str, QtCore.QObject] = {}

    @offered
    def module(self, name: str):
        return self.modules.get(name)

    @offered
    def modulesNames(self) -> list[str]:
        return list(self.modules)

    def add(self, module: QtCore.QObject) -> None:
        import slicer

        module.setParent(self)
        self.modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), wrap(module))
        setattr(slicer.moduleNames, module.name, module.name)


def loadScriptedModule(path: Path, application) -> ScriptedModule:
    """Import the file under the module's name, and instantiate the module's class with its parent."""
    import slicer

    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = source
    spec.loader.exec_module(source)
    module = ScriptedModule(path, application)
    application.moduleManager.add(module)
    setattr(slicer.modules, f"{path.stem}Instance", getattr(source, path.stem)(wrap(module)))
    return module
