"""One baseline's segments onto several follow-ups."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from . import request
from .errors import InputError
from .runPanel import BUTTON_LENGTH
from .runQueue import Task, TaskState


class PropagatePanel:
    def __init__(self, ui, start: Callable[[list[request.Request]], None]) -> None:
        self._ui = ui
        self._start = start
        self._parameters = None
        self._requests: list[request.Request] = []
        self._toolTip = ui.propagateButton.toolTip
        self._isFilling = False
        self.isPaused = False
        """While a scene is loaded: the list is made anew, and unchecks what it forgets."""
        ui.followUpsComboBox.connect("checkedNodesChanged()", self._onChecked)
        ui.propagateButton.connect("clicked()", self._onPropagate)
        ui.queueList.visible = False

    def setParameters(self, parameters) -> None:
        self._parameters = parameters
        if parameters is None:
            self._requests = []
            self._ui.queueList.clear()
            self._ui.queueList.visible = False

    def update(self, isIdle: bool) -> None:
        """`isIdle`: nothing runs, and the engine is there."""
        self._showChecked()
        button = self._ui.propagateButton
        try:
            count = len(request.propagations(self._parameters))
        except InputError as error:
            self._showProblem(str(error))
            return
        button.enabled = isIdle
        button.toolTip = self._toolTip
        button.text = _("Propagate to {count} follow-ups").format(count=count) if count > 1 else _("Propagate")

    def showTask(self, task: Task) -> None:
        """How far one of the queue's follow-ups is; a task of another panel is none of ours."""
        rows = [row for row, ours in enumerate(self._requests) if ours is task.request]
        if rows:
            _tell(self._ui.queueList.item(rows[0]), task)

    def _showProblem(self, sentence: str) -> None:
        button = self._ui.propagateButton
        button.enabled = False
        button.text = sentence.rstrip(".") if len(sentence) <= BUTTON_LENGTH else _("Cannot propagate yet")
        button.toolTip = sentence

    def _onPropagate(self) -> None:
        try:
            self._requests = request.propagations(self._parameters)
        except InputError:
            return  # the scene has changed since; the button says so
        self._ui.queueList.clear()
        for ours in self._requests:
            item = qt.QListWidgetItem()
            _tell(item, Task(ours))
            self._ui.queueList.addItem(item)
        self._ui.queueList.visible = True
        self._start(self._requests)

    def _onChecked(self) -> None:
        if not self._isFilling and not self.isPaused and self._parameters is not None:
            self._parameters.followUps = list(self._ui.followUpsComboBox.checkedNodes())

    def _showChecked(self) -> None:
        wanted = [node for node in self._parameters.followUps if node is not None]
        comboBox = self._ui.followUpsComboBox
        if set(comboBox.checkedNodes()) == set(wanted):
            return
        self._isFilling = True
        for node in comboBox.checkedNodes():
            comboBox.setCheckState(node, qt.Qt.Unchecked)
        for node in wanted:
            comboBox.setCheckState(node, qt.Qt.Checked)
        self._isFilling = False


def _tell(item, task: Task) -> None:
    """How far a follow-up is; the list shows as much of it as fits its width."""
    states = {
        TaskState.WAITING: _("waiting"),
        TaskState.RUNNING: _("running…"),
        TaskState.DONE: _("done"),
        TaskState.FAILED: _("failed: {error}").format(error=task.error.message if task.error is not None else ""),
        TaskState.CANCELLED: _("cancelled"),
    }
    text = f"{task.request.inputs.fixedVolume.GetName()}: {states[task.state]}"
    item.setText(text)
    item.setToolTip(text)
