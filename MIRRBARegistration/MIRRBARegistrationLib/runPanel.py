"""The button, the progress, and the live preview of what runs."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from . import derivedVolumes, layout, request
from .backgroundJob import Event, JobState
from .errors import InputError
from .lossPlot import LossPlot
from .methodPanel import durationText
from .review import Review
from .runQueue import QueueCallbacks, RunQueue, Task, TaskState

POLL_MSEC = 100
_STEPS = 1000
_NAME_LENGTH = 24
_ERROR_STYLE = "color: #d13438;"


class RunPanel:
    """One queue at a time: a registration, or a propagation to several follow-ups."""

    def __init__(self, ui, startProcess: Callable, review: Review, onTask: Callable[[Task], None]) -> None:
        self.queue: RunQueue | None = None
        """What runs; None if nothing does."""
        self._ui = ui
        self._startProcess = startProcess
        self._review = review
        self._onTask = onTask
        self._parameters = None
        self._lossPlot = LossPlot()
        self._preview = None
        self._stage = ""
        self._finishedLogs: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MSEC)
        self._timer.connect("timeout()", self.poll)
        ui.applyButton.connect("clicked()", self._onApply)
        ui.keepButton.connect("clicked()", self._onKeep)
        ui.copyLogButton.connect("clicked()", self._copyLog)
        for widget in (ui.progressBar, ui.keepButton, ui.statusLabel):
            widget.visible = False

    def setParameters(self, parameters) -> None:
        self._parameters = parameters

    def update(self, isEngineReady: bool) -> None:
        """The button says what it does, or what is missing."""
        if self.queue is not None:
            self._showRunning()
        else:
            self._showIdle(isEngineReady)
        if layout.isShown() or (self.queue is not None and self._parameters.showLossPlot):
            self._showViews()

    def start(self, requests: list[request.Request]) -> None:
        """Run the requests one after the other."""
        callbacks = QueueCallbacks(
            onTask=self._onTaskChanged,
            onProgress=self._onProgress,
            onPreview=self._onPreview if self._parameters.livePreview else None,
        )
        self.queue = RunQueue(requests, callbacks, self._startProcess)
        self._lossPlot.clear()
        self._finishedLogs = []
        self._ui.logTextEdit.clear()
        self._say(_("Starting…"))
        self._showRunning()
        if self._parameters.showLossPlot:
            self._showViews()
        self._timer.start()

    def poll(self) -> None:
        """Deliver what has arrived. Called by the timer; tests call it, too."""
        if self.queue is None:
            return
        self.queue.poll()
        if self.queue is None:
            return  # a callback has closed the scene
        if self.queue.isOver:
            self._finish()
        else:
            self._showRunning()

    def close(self) -> None:
        """End what runs without a word: the scene is being closed, or the module reloaded, or Slicer left."""
        self._timer.stop()
        if self.queue is not None:
            self.queue.close()
            self.queue = None
        self._removePreview()
        self._lossPlot.remove()
        self._ui.progressBar.visible = False
        self._ui.keepButton.visible = False
        self._say("")

    # Buttons

    def _onApply(self) -> None:
        if self.queue is not None:
            self._say(_("Cancelling…"))
            self.queue.cancel()
            self._showRunning()
            return
        try:
            self.start([request.registration(self._parameters)])
        except InputError as error:
            self._say(str(error), isError=True)

    def _onKeep(self) -> None:
        self.queue.keep()
        self._showRunning()

    def _copyLog(self) -> None:
        slicer.app.clipboard().setText(self._ui.logTextEdit.plainText)

    # Events of the run

    def _onProgress(self, event: Event) -> None:
        if event["event"] == "warning":
            self._log(_("Warning: {message}").format(message=event["message"]))
            return
        if event["stage"] != self._stage:
            self._stage = event["stage"]
            self._log(f"{event['elapsed']:8.1f} s  {self._stage}")
        self._ui.progressBar.value = round(_STEPS * event["fraction"])
        if self.queue.jobState is JobState.RUNNING:
            self._say(_progressText(event))
        self._lossPlot.add(event)
        self._lossPlot.show()

    def _onPreview(self, volumeNode) -> None:
        fixed = self.queue.current.request.inputs.fixedVolume
        if fixed.GetScene() is None:
            return
        if self._preview is None or self._preview.GetScene() is None:
            self._showViews()
            volumeNode.SetName(_("Preview"))
            self._preview = slicer.mrmlScene.AddNode(volumeNode)
            self._preview.CreateDefaultDisplayNodes()
            derivedVolumes.hide(self._preview)
            self._review.showPreview(fixed, self._preview, self._parameters.orientation)
            qt.QTimer.singleShot(0, layout.fitViews)  # once the views have their new size
            return
        self._preview.SetAndObserveImageData(volumeNode.GetImageData())

    def _onTaskChanged(self, task: Task) -> None:
        if task.state is not TaskState.RUNNING:
            self._removePreview()
            self._logWhole(task)
        self._stage = ""
        self._onTask(task)

    def _finish(self) -> None:
        self._timer.stop()
        tasks, self.queue = self.queue.tasks, None
        self._ui.progressBar.visible = False
        self._ui.keepButton.visible = False
        failed = [task for task in tasks if task.state is TaskState.FAILED]
        if failed:
            self._say(_failureText(failed, len(tasks)), isError=True)
            if any(task.error.kind == "internal" for task in failed):
                self._ui.logGroupBox.collapsed = False
        elif any(task.state is TaskState.CANCELLED for task in tasks):
            done = sum(task.state is TaskState.DONE for task in tasks)
            self._say(_("Cancelled.") if done else _("Cancelled; nothing was changed."))
        else:
            self._say(_doneText(tasks))
        # through the parameter node: everybody who shows what can be done now is updated
        self._parameters.Modified()

    # What is shown

    def _showIdle(self, isEngineReady: bool) -> None:
        button = self._ui.applyButton
        try:
            ready = request.registration(self._parameters)
        except InputError as error:
            button.enabled, button.text = False, str(error).rstrip(".")
            button.toolTip = str(error)
            return
        button.enabled = isEngineReady
        if not isEngineReady:
            button.text = _("Install PyTorch first")
            button.toolTip = _("The notice at the top of this panel says how.")
            return
        moving, fixed = ready.inputs.movingVolume.GetName(), ready.inputs.fixedVolume.GetName()
        button.text = _("Register {moving} onto {fixed}").format(moving=_short(moving), fixed=_short(fixed))
        button.toolTip = _("Register '{moving}' onto '{fixed}' in the background; you can go on working.").format(
            moving=moving, fixed=fixed
        )

    def _showRunning(self) -> None:
        state = self.queue.jobState
        texts = {
            JobState.CANCELLING: _("Cancelling…"),
            JobState.KEEPING: _("Cancel"),
            JobState.IMPORTING: _("Loading the result…"),
        }
        self._ui.applyButton.text = texts.get(state, _("Cancel"))
        self._ui.applyButton.enabled = state not in (JobState.CANCELLING, JobState.IMPORTING)
        self._ui.applyButton.toolTip = _("Stop the registration; the scene stays as it was.")
        self._ui.keepButton.visible = state in (JobState.STARTING, JobState.RUNNING, JobState.KEEPING)
        self._ui.keepButton.enabled = state is JobState.RUNNING
        self._ui.progressBar.visible = True
        if state is JobState.KEEPING:
            self._say(_("Keeping the present state…"))

    def _showViews(self) -> None:
        layout.showReviewLayout(self._parameters.showLossPlot)
        self._lossPlot.show()

    def _removePreview(self) -> None:
        if self._preview is not None and self._preview.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._preview)
        self._preview = None

    def _say(self, text: str, isError: bool = False) -> None:
        self._ui.statusLabel.setStyleSheet(_ERROR_STYLE if isError else "")
        self._ui.statusLabel.text = text
        self._ui.statusLabel.visible = bool(text)

    def _log(self, text: str) -> None:
        self._ui.logTextEdit.appendPlainText(text)

    def _logWhole(self, task: Task) -> None:
        """In the place of what was told while it ran: all that the child wrote."""
        if task.job is not None:
            self._finishedLogs.append(task.job.logText.rstrip())
            self._ui.logTextEdit.setPlainText("\n".join(self._finishedLogs))


def _progressText(event: Event) -> str:
    parts = [event["stage"][:1].upper() + event["stage"][1:]]
    if event["iteration"]:
        parts.append(
            _("iteration {iteration} of {iterations}").format(
                iteration=event["iteration"], iterations=event["iterations"]
            )
        )
    if event["remaining"] is not None:
        parts.append(_("{time} left").format(time=durationText(event["remaining"])))
    return " · ".join(parts)


def _doneText(tasks: list[Task]) -> str:
    if len(tasks) > 1:
        return _("Done: {count} follow-ups.").format(count=len(tasks))
    metrics = tasks[0].job.metrics
    parts = [_("Done in {time}").format(time=durationText(metrics["seconds"]))]
    for key, label in (("dice_organs", _("Dice of organs")), ("dice_lesions", _("Dice of lesions"))):
        if metrics.get(key) is not None:
            parts.append(f"{label} {metrics[key]:.2f}")
    return " · ".join(parts)


def _failureText(failed: list[Task], count: int) -> str:
    if count == 1:
        return failed[0].error.message
    return " ".join(f"{task.request.inputs.fixedVolume.GetName()}: {task.error.message}" for task in failed)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
