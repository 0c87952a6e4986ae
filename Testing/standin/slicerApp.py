"""slicer.app and the main window.

Properties and methods were checked in qSlicerCoreApplication.h, qSlicerApplication.h and their PythonQt decorators,
qSlicerMainWindow.h, qSlicerModuleSelectorToolBar.h and QApplication.
"""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import offered

PANEL_WIDTH = 520


class SlicerApp(QtCore.QObject):
    slicerName = "qSlicerApplication"
    startupCompleted = Signal()
    aboutToQuit = Signal()
    vtkSignals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlSceneChanged = Signal(object)
    usageEventLogged = Signal(str, str)

    def __init__(self, application) -> None:
        super().__init__()
        self._application = application
        self._home = application.folder

    @offered
    def mrmlScene(self):
        return self._application.scene

    @offered
    def applicationLogic(self):
        return self._application.applicationLogic

    @offered
    def moduleLogic(self, moduleName: str):
        module = self._application.moduleManager.module(moduleName)
        return module.logic() if module is not None else None

    @offered
    def moduleManager(self):
        return self._application.moduleManager

    @offered
    def layoutManager(self):
        return self._application.layoutManager

    @offered
    def coreIOManager(self):
        return self._application.ioManager

    @offered
    def ioManager(self):
        return self._application.ioManager

    @offered
    def commandOptions(self):
        return self._application.commandOptions

    @offered
    def pythonConsole(self):
        return None

    @offered
    def testingEnabled(self) -> bool:
        return self._application.testing

    @offered
    def settings(self) -> QtCore.QSettings:
        return self._application.settings

    @offered
    def userSettings(self) -> QtCore.QSettings:
        return self._application.settings

    @offered
    def translate(self, context: str, text: str) -> str:
        return text

    @offered
    def moduleDocumentationUrl(self, moduleName: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{moduleName.lower()}.html"

    @offered
    def logUsageEvent(self, component: str, event: str) -> None:
        self.usageEventLogged.emit(component, event)

    @offered
    def setRenderPaused(self, pause: bool) -> None:
        """Nothing: the views are drawn when they are looked at."""

    @offered
    def pauseRender(self) -> None:
        """Nothing, likewise."""

    @offered
    def resumeRender(self) -> None:
        """Nothing, likewise."""

    @offered
    def environment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    @offered
    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    # QApplication's

    @offered
    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    @offered
    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return [self._application.mainWindow] if self._application.mainWindow is not None else []

    @offered
    def clipboard(self):
        return QtWidgets.QApplication.clipboard()

    @offered
    def setOverrideCursor(self, cursor) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    @offered
    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    @offered
    def keyboardModifiers(self):
        return QtWidgets.QApplication.keyboardModifiers()

    @offered
    def palette(self):
        return QtWidgets.QApplication.palette()

    @offered
    def style(self) -> QtWidgets.QStyle:
        return QtWidgets.QApplication.style()

    applicationName = Property(str, lambda self: "Slicer")
    applicationVersion = Property(str, lambda self: "5.12.0")
    mainApplicationName = Property(str, lambda self: "Slicer")
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 12)
    mainApplicationMajorVersion = Property(int, lambda self: 5)
    mainApplicationMinorVersion = Property(int, lambda self: 12)
    slicerHome = Property(str, lambda self: str(self._home))
    temporaryPath = Property(str, lambda self: str(self._home))
    cachePath = Property(str, lambda self: str(self._home))
    defaultScenePath = Property(str, lambda self: str(self._home))
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
    os = Property(str, lambda self: "linux")
    isUsageLoggingSupported = Property(bool, lambda self: False)


class CommandOptions(QtCore.QObject):
    """qSlicerCommandOptions: as after a plain start."""

    slicerName = "qSlicerCommandOptions"
    testingEnabled = Property(bool, lambda self: False)
    noMainWindow = Property(bool, lambda self: False)


class ModuleSelector(QtWidgets.QToolBar):
    """qSlicerModuleSelectorToolBar: which module the panel shows."""

    slicerName = "qSlicerModuleSelectorToolBar"
    moduleSelected = Signal(str)

    def __init__(self, window: MainWindow) -> None:
        super().__init__()
        self._window = window

    @offered
    def selectModule(self, moduleName: str) -> None:
        self._window.showModule(moduleName)
        self.moduleSelected.emit(moduleName)

    selectedModule = Property(str, lambda self: self._window.shownModule, selectModule, notify=moduleSelected)


class MainWindow(QtWidgets.QMainWindow):
    """qSlicerMainWindow: the module panel at the left, the views at the right."""

    slicerName = "qSlicerMainWindow"

    def __init__(self, application) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer")
        self._application = application
        self.shownModule = ""
        self._selector = ModuleSelector(self)
        self._panel = QtWidgets.QScrollArea()
        self._panel.setWidgetResizable(True)
        self._panel.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self._panel.setFixedWidth(PANEL_WIDTH)
        central = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(central)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self._panel)
        row.addWidget(application.layoutManager.viewport(), 1)
        self.setCentralWidget(central)
        self.statusBar()

    @offered
    def moduleSelector(self) -> ModuleSelector:
        return self._selector

    def showModule(self, moduleName: str) -> None:
        """Leave the module that is shown and enter this one; no name shows none."""
        shown = self._panel.takeWidget()
        if shown is not None:
            shown.exit()
            shown.setParent(None)
        self.shownModule = moduleName
        if moduleName:
            widget = self._application.moduleManager.module(moduleName).widgetRepresentation()
            widget.enter()
            self._panel.setWidget(widget)
            widget.show()
