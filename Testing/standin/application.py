"""SlicerApplication: everything of the stand-in put in place, and taken away again."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
import types
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from headless import HeadlessSlicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import ctkWidgets, extraModules, i18n, mrmlWidgets, qtModule, receivers
from .dialogs import Dialogs
from .layout import LayoutManager, SliceView, SliceWidget
from .modules import Module, ModuleManager, Modules, ModuleWidget, ScriptedModule, loadScriptedModule
from .nodeFiles import NodeFiles
from .packaging import Packaging
from .pythonqt import wrap, wrapperClass
from .slicerApp import CommandOptions, MainWindow, SlicerApp

_SLICER_CLASSES = (*mrmlWidgets.WIDGETS, ModuleWidget, ScriptedModule, SliceView, SliceWidget)
_MODULE_LOGICS = {
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}
_PUBLISHED = ("qt", "ctk", "SampleData", "ScreenCapture", "PyTorchUtils")
_WINDOW_SIZE = (1400, 900)
_FONT_FOLDERS = ("matplotlib/mpl-data/fonts/ttf",)


class SlicerApplication:
    """Slicer, as far as a scripted module sees it, from `with` to the end of it.

    `errors` holds what was raised in a slot or an observer (Slicer only prints it), and connections to signals that
    do not exist. `dialogs` holds what was shown, and what the user answers.
    """

    def __init__(self, testing: bool = False, pyTorch: bool = True) -> None:
        self.testing = testing
        self._hasPyTorch = pyTorch
        self.installedTorch: list[str] = []
        self.errors: list[BaseException] = []
        self.mainWindow: MainWindow | None = None
        self._moduleFolders: list[Path] = []

    def __enter__(self) -> SlicerApplication:
        _startQt()
        self.folder = Path(tempfile.mkdtemp(prefix="standin"))
        self._remember()
        self._publishQt()
        self._startScene()
        self._publishSlicer()
        self.dialogs = Dialogs()
        self.dialogs.install(slicer.util)
        self._excepthook, sys.excepthook = sys.excepthook, self._onException
        return self

    def __exit__(self, *_) -> None:
        self.mainWindow.showModule("")
        for name in self.moduleManager.modulesNames():
            self.moduleManager.moduleAboutToBeUnloaded.emit(name)
        self._app.aboutToQuit.emit()
        self.layoutManager.close()
        self.mainWindow.deleteLater()
        self.moduleManager.deleteLater()
        QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        receivers.forgetAll()
        mrmlWidgets.forgetScene()
        sys.excepthook = self._excepthook
        self.dialogs.uninstall()
        self.headless.close()
        self._restore()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What a test does

    def loadModule(self, path: Path):
        """Load a scripted module's file as Slicer does, show the module, and return its widget object."""
        self._moduleFolders.append(Path(path).resolve().parent)
        module = loadScriptedModule(Path(path).resolve(), self)
        slicer.util.selectModule(module.name)
        self.processEvents()
        return getattr(slicer.modules, f"{module.name}Widget")

    def completeStartup(self) -> None:
        """Slicer has started: startupCompleted() is emitted."""
        self._app.startupCompleted.emit()

    def processEvents(self, milliseconds: int = 0) -> None:
        """Let timers fire and views be drawn, for so long; between events it sleeps, as an application does."""
        QtWidgets.QApplication.processEvents()
        if milliseconds > 0:
            loop = QtCore.QEventLoop()
            QtCore.QTimer.singleShot(milliseconds, loop.quit)
            loop.exec()

    def waitUntil(self, condition, seconds: float = 30.0) -> None:
        """Process events until the condition holds; TimeoutError if it does not in time."""
        deadline = QtCore.QDeadlineTimer(int(1000 * seconds))
        while not condition():
            if deadline.hasExpired():
                raise TimeoutError(f"not within {seconds} s")
            self.processEvents(10)

    def mainWindowScreenshot(self, path: Path, width: int = 1400, height: int = 900) -> None:
        """The main window as PNG: the module's panel at the left, the views at the right."""
        self.mainWindow.resize(width, height)
        self.mainWindow.show()
        self.processEvents()
        if not self.mainWindow.grab().save(str(path)):
            raise OSError(f"{path} could not be written")

    def panelScreenshot(self, path: Path) -> None:
        """The whole panel of the shown module as PNG, however long it is."""
        module = self.moduleManager.module(self.mainWindow.shownModule)
        widget = module.widgetRepresentation()
        self.mainWindow.show()
        self.mainWindow.resize(1400, max(900, widget.sizeHint().height() + 40))
        self.processEvents()
        if not widget.grab().save(str(path)):
            raise OSError(f"{path} could not be written")

    def raiseErrors(self) -> None:
        """Raise what a slot raised: a test that expects it clears `errors` first."""
        if receivers.problems:
            raise AssertionError("; ".join(receivers.problems))
        if self.errors:
            raise AssertionError(f"{len(self.errors)} exceptions in slots, the first is this one") from self.errors[0]

    # How it is put in place

    def _remember(self) -> None:
        self._sysModules = dict(sys.modules)
        self._sysPath = list(sys.path)
        self._slicerNames = dict(vars(slicer))

    def _restore(self) -> None:
        for name in [n for n in sys.modules if n not in self._sysModules and self._isOurs(n)]:
            _forget(name)
        self._restoreEngine()
        sys.path[:] = self._sysPath
        for name in [n for n in vars(slicer) if n not in self._slicerNames]:
            delattr(slicer, name)
        for name, value in self._slicerNames.items():
            setattr(slicer, name, value)

    def _restoreEngine(self) -> None:
        """A reload of the module has imported the engine anew: other tests have the classes from before."""
        if sys.modules.get("mirrba") is self._sysModules.get("mirrba"):
            return
        for name in [name for name in sys.modules if name.partition(".")[0] == "mirrba"]:
            del sys.modules[name]
        sys.modules.update({n: m for n, m in self._sysModules.items() if n.partition(".")[0] == "mirrba"})

    def _isOurs(self, name: str) -> bool:
        """Whether a module came with the application: a stand-in, or a loaded scripted module and what it imported.

        The engine stays: it knows nothing of the application, and is slow to import.
        """
        if name in _PUBLISHED or name.startswith("slicer."):
            return True
        isEngine = name.partition(".")[0] == "mirrba"
        return not isEngine and any(_isUnder(name, folder) for folder in self._moduleFolders)

    def _publishQt(self) -> None:
        _publish("qt", qtModule.makeQtModule())
        _publish("ctk", ctkWidgets.makeCtkModule())
        for nativeClass in _SLICER_CLASSES:
            setattr(slicer, nativeClass.slicerName, wrapperClass(nativeClass))

    def _startScene(self) -> None:
        self.headless = HeadlessSlicer()
        self.scene = self.headless.scene
        self.applicationLogic = self.headless.applicationLogic
        for className in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode"):
            for node in slicer.util.getNodesByClass(className):
                self.scene.RemoveNode(node)  # the layout brings its own, with their colours
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        for moduleName, className in _MODULE_LOGICS.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLApplicationLogic(self.applicationLogic)
            logic.SetMRMLScene(self.scene)
            self.applicationLogic.SetModuleLogic(moduleName, logic)
            self.headless.logics[moduleName] = logic

    def _publishSlicer(self) -> None:
        slicer.modules, slicer.moduleNames = Modules(), types.SimpleNamespace()
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        for scope in QtCore.QSettings.Scope:
            QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, str(self.folder))
        self.settings = QtCore.QSettings()
        self.ioManager = NodeFiles(self.scene)
        self.commandOptions = CommandOptions()
        self._app = SlicerApp(self)
        self.moduleManager = ModuleManager(self._app)
        self.layoutManager = LayoutManager(self.scene, self.applicationLogic, self._app)
        slicer.app = wrap(self._app)
        for moduleName, logic in self.headless.logics.items():
            self.moduleManager.add(Module(moduleName, logic))
        self.mainWindow = MainWindow(self)
        self.mainWindow.resize(*_WINDOW_SIZE)
        self.mainWindow.show()
        _publish("slicer.i18n", i18n)
        self.packaging = Packaging()
        _publish("slicer.packaging", self.packaging.makeModule())
        from . import parameterNodes, scriptedModule

        _publish("slicer.parameterNodeWrapper", parameterNodes)
        _publish("slicer.ScriptedLoadableModule", scriptedModule)
        _publish("SampleData", extraModules.makeSampleData())
        _publish("ScreenCapture", extraModules.makeScreenCapture())
        if self._hasPyTorch:
            _publish("PyTorchUtils", extraModules.makePyTorchUtils(self.installedTorch))
            self.moduleManager.add(Module("PyTorchUtils", None))

    def _onException(self, kind, error, trace) -> None:
        self.errors.append(error)
        traceback.print_exception(kind, error, trace)


def _publish(name: str, module: types.ModuleType) -> None:
    sys.modules[name] = module
    if name.startswith("slicer."):
        setattr(slicer, name.partition(".")[2], module)


def _forget(name: str) -> None:
    """Undo the import of a module, also in its package, where `from package import module` looks first."""
    module = sys.modules.pop(name)
    package, _, attribute = name.rpartition(".")
    if package and getattr(sys.modules.get(package), attribute, None) is module:
        delattr(sys.modules[package], attribute)


def _isUnder(name: str, folder: Path) -> bool:
    """Whether a module in sys.modules was loaded from below a folder."""
    origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
    return bool(origin) and folder in Path(origin).parents


def _startQt() -> None:
    """The one QApplication of the process, with a font."""
    if QtWidgets.QApplication.instance() is not None:
        return
    QtCore.qInstallMessageHandler(_onQtMessage)
    application = QtWidgets.QApplication(["Slicer"])
    application.setStyle("Fusion")
    application.setOrganizationName("NA-MIC")
    application.setApplicationName("Slicer")
    if not QtGui.QFontDatabase.families():
        for folder in sys.path:
            for font in Path(folder).glob(f"{_FONT_FOLDERS[0]}/DejaVuSans*.ttf"):
                QtGui.QFontDatabase.addApplicationFont(str(font))
    application.setFont(QtGui.QFont("DejaVu Sans", 9))
    SlicerApplication.qApplication = application


def _onQtMessage(kind: QtCore.QtMsgType, context: QtCore.QMessageLogContext, message: str) -> None:
    """Qt's warnings, save what the offscreen plug-in says about every window."""
    if "propagateSizeHints" not in message:
        print(message, file=sys.stderr)
