"""The module's panel: its parts, and who tells whom."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from . import layout, sampleData
from .enginePanel import EnginePanel
from .inputPanel import InputPanel
from .methodPanel import MethodPanel
from .parameters import forgetNode
from .propagatePanel import PropagatePanel
from .results import addResult
from .review import Review
from .reviewPanel import ReviewPanel
from .runPanel import RunPanel
from .runQueue import Task, TaskState


class Panel(VTKObservationMixin):
    """Every choice is in the parameter node; when it changes, every part shows it anew."""

    def __init__(self, ui, logic, requirementsPath: str) -> None:
        VTKObservationMixin.__init__(self)
        self.parameters = None
        self._ui = ui
        self._guiTag = None
        self._isUpdating = False
        layout.registerLayouts()
        review = Review()
        self.input = InputPanel(ui, self._onSampleData)
        self.method = MethodPanel(ui)
        self.isEntered = False
        """Whether the module is the one that is shown: the views of another module's user are left alone."""
        self.review = ReviewPanel(ui, review, lambda: self.isEntered)
        self.run = RunPanel(ui, logic.startProcess, review, self._onTask, self._showResult, lambda: self.isEntered)
        self.propagate = PropagatePanel(ui, self.run.start)
        self.engine = EnginePanel(ui, requirementsPath, self._onEngineReady)
        self._parts = (self.input, self.method, self.review, self.run, self.propagate)
        self._lookTimer = qt.QTimer()  # Slicer's own singleShot leaves a timer behind each time
        self._lookTimer.setSingleShot(True)
        self._lookTimer.setInterval(0)
        self._lookTimer.connect("timeout()", self._lookAgain)
        self._isImporting = False
        self._areViewsLost = False
        """Whether the application has chosen volumes for the views by itself, or what they show lies elsewhere."""
        for event, slot in (
            (slicer.vtkMRMLScene.NodeAddedEvent, self._onSceneChanged),
            (slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved),
            (slicer.vtkMRMLScene.NodeRemovedEvent, self._onSceneChanged),
            (slicer.vtkMRMLScene.StartImportEvent, self._onStartImport),
            (slicer.vtkMRMLScene.EndImportEvent, self._onEndImport),
        ):
            self.addObserver(slicer.mrmlScene, event, slot)

    def setParameters(self, parameters) -> None:
        """Show a scene's choices; None while the scene is closed: what runs is stopped, and nothing is loaded."""
        if parameters is not None and self._isSame(parameters):
            return
        if parameters is None:
            self.review.rememberLayout()
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onModified)
            self.run.close()
            self.review.close()
        self.parameters = parameters
        for part in self._parts:
            part.setParameters(parameters)
        if parameters is not None:
            self._guiTag = parameters.connectGui(self._ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onModified)
            self.input.guess()
            self.update()

    def update(self) -> None:
        """Make every part show the parameter node."""
        if self.parameters is None or self._isUpdating or self._isImporting:
            return
        self._isUpdating = True
        try:
            self.input.update()
            self.method.update()
            self.run.update(self.engine.isReady)
            self.propagate.update(self.engine.isReady and self.run.queue is None)
            self.review.update()
        finally:
            self._isUpdating = False

    def enter(self) -> None:
        """The module is shown."""
        self.isEntered = True
        self.engine.update()
        self._enterViews()
        self.update()

    def exit(self) -> None:
        """Another module is shown; what runs goes on."""
        self.isEntered = False
        self.review.exit()

    def close(self) -> None:
        """The application ends, or the module is reloaded."""
        self.review.exit()
        self.setParameters(None)
        self.method.close()
        self._lookTimer.stop()
        self.removeObservers()

    def _isSame(self, parameters) -> bool:
        return self.parameters is not None and self.parameters.parameterNode is parameters.parameterNode

    def _onModified(self, caller, event) -> None:
        self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller, event, node) -> None:
        if self.parameters is not None and not self._isImporting:
            forgetNode(self.parameters, node)
            isVolume = node.IsA("vtkMRMLVolumeNode") and not node.GetHideFromEditors()
            # rows move in the views' lists, and their selectors choose again; what lay under a transform moves
            if isVolume or self.review.isShownThrough(node):
                self._areViewsLost = True

    def _onSceneChanged(self, caller, event) -> None:
        """Nodes come in many pieces: look once, when the application has time."""
        if self.parameters is not None:
            self._lookTimer.start()

    def _lookAgain(self) -> None:
        if not self._isImporting:
            self.input.guess()
            self.update()
            if self._areViewsLost and self.isEntered and self.parameters is not None:
                self._enterViews()
            self._areViewsLost = False
            self.review.hideNew()

    def _enterViews(self) -> None:
        self.review.enter()
        self.run.enter()

    def _onStartImport(self, caller, event) -> None:
        """Node selectors forget their choice while nodes are loaded, and would tell the parameter node so."""
        self._isImporting = self.propagate.isPaused = True
        self.review.rememberLayout()
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)

    def _onEndImport(self, caller, event) -> None:
        """What runs goes on; choices that came with the scene are shown. Slice views empty themselves after this."""
        self._isImporting = self.propagate.isPaused = False
        self._areViewsLost = True
        self.input.forget()
        if self.parameters is not None:
            self.review.endImport()
            self.parameters.Modified()  # it had looked for its nodes before they were in the scene
            self._guiTag = self.parameters.connectGui(self._ui)
            self._onSceneChanged(caller, event)

    def _onEngineReady(self) -> None:
        self.method.findDevices()
        self.update()

    def _onSampleData(self) -> None:
        sampleData.onSampleRequested()

    def _onTask(self, task: Task) -> None:
        if task.state is TaskState.DONE:
            self.parameters.result = addResult(task.job)
            if not task.job.isStoppedEarly:
                self.method.rememberDuration(task.request.config, task.job.metrics["seconds"])
            self.review.open()
        self.propagate.showTask(task)

    def _showResult(self) -> bool:
        """An earlier one, if there is one, where a preview was; whether there is."""
        isShown = self.isEntered and layout.isShown() and self.parameters.result is not None
        if isShown:
            self.review.show()
        return isShown
