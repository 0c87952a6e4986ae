"""The button, the progress, and the live preview of what runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from . import derivedVolumes, layout, request
from .backgroundJob import Event, JobState
from .errors import InputError
from .guess import OUTPUT_ATTRIBUTE
from .lossPlot import LossPlot
from .methodPanel import durationText
from .registrationJob import Inputs
from .review import Review
from .runQueue import QueueCallbacks, RunQueue, Task, TaskState
from .settingNames import inPanelsWords

POLL_MSEC = 100
DOUBLE_CLICK_SECONDS = 0.5
"""For so long the button that starts a run does not cancel it."""
_STEPS = 1000
BUTTON_LENGTH = 60
"""The longest sentence that a button can show."""
_NAME_LENGTH = 24
_ERROR_STYLE = "color: #58151c; background-color: #f8d7da; padding: 3px;"  # read on light and on dark palettes


class RunPanel:
    """One queue at a time: a registration, or a propagation to several follow-ups."""

    def __init__(
        self,
        ui,
        startProcess: Callable,
        review: Review,
        onTask: Callable[[Task], None],
        showResult: Callable[[], bool],
        isEntered: Callable[[], bool],
    ) -> None:
        self.queue: RunQueue | None = None
        """What runs; None if nothing does."""
        self._ui = ui
        self._startProcess = startProcess
        self._review = review
        self._onTask = onTask
        self._showResult = showResult
        self._isEntered = isEntered
        self._outcome = ""
        """How the last run ended."""
        self._problem = ""
        self._parameters = None
        self._lossPlot = self._earlierPlot = LossPlot()
        """Of the run, and of the one before, which comes back where nothing comes of the run."""
        self._isPlotWanted = False
        """As the control was when last looked at: another layout that the user has chosen since stays."""
        self._preview = None
        self._takenOut: list[tuple] = []
        """Nodes and the transforms that they lay under, for a run that comes to nothing."""
        self._stage = ""
        self._finishedLogs: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MSEC)
        self._timer.connect("timeout()", self.poll)
        self._startedAt = 0.0
        ui.applyButton.connect("clicked()", self._onApply)
        ui.keepButton.connect("clicked()", self._onKeep)
        ui.copyLogButton.connect("clicked()", self._copyLog)
        for widget in (ui.progressBar, ui.keepButton, ui.statusLabel):
            widget.visible = False

    def setParameters(self, parameters) -> None:
        self._parameters = parameters

    def update(self, isEngineReady: bool) -> None:
        """The button says what it does, or what is missing."""
        if self._preview is not None and not self._parameters.livePreview:
            self._endPreview()
        if self.queue is not None:
            self._showRunning()
        else:
            self._showIdle(isEngineReady)
        isPlotNewlyWanted = self._parameters.showLossPlot and not self._isPlotWanted
        self._isPlotWanted = self._parameters.showLossPlot
        if self._isEntered() and (layout.isShown() or (self.queue is not None and isPlotNewlyWanted)):
            self._showViews()

    def start(self, requests: list[request.Request]) -> None:
        """Run the requests one after the other."""
        callbacks = QueueCallbacks(
            onStarting=self._onStarting,
            onTask=self._onTaskChanged,
            onProgress=self._onProgress,
            onPreview=self._onPreview if self._parameters.livePreview else None,
        )
        self.queue = RunQueue(requests, callbacks, self._startProcess)
        self._earlierPlot, self._lossPlot = self._lossPlot, LossPlot()
        self._finishedLogs = []
        self._outcome = ""
        self._ui.logTextEdit.clear()
        self._ui.progressBar.value = 0
        self._say(_("Starting…"))
        self._showRunning()
        if self._parameters.showLossPlot:
            self._showViews()
        self._timer.start()
        self._startedAt = time.monotonic()

    def enter(self) -> None:
        """The module is shown again: so is the preview of what runs."""
        if self.queue is not None and self.queue.current is not None and self._preview is not None:
            inputs = self.queue.current.request.inputs
            if inputs.fixedVolume.GetScene() is not None and self._preview.GetScene() is not None:
                self._review.showPreview(inputs, self._preview, self._parameters.orientation)

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
        self._putBack()
        self._lossPlot.remove()
        self._earlierPlot.remove()
        self._ui.progressBar.visible = False
        self._ui.keepButton.visible = False
        self._outcome = self._problem = ""
        self._say("")

    # Buttons

    def _onApply(self) -> None:
        if self.queue is not None:
            if time.monotonic() - self._startedAt < DOUBLE_CLICK_SECONDS:
                return
            self._say(_("Cancelling…"))
            self.queue.cancel()
            self._showRunning()
            return
        try:
            self.start([request.registration(self._parameters)])
        except InputError as error:
            self._say(str(error), isError=True)

    def _onKeep(self) -> None:
        if self.queue is None:
            return
        self.queue.keep()
        self._showRunning()

    def _copyLog(self) -> None:
        slicer.app.clipboard().setText(self._ui.logTextEdit.plainText)

    # Events of the run

    def _onProgress(self, event: Event) -> None:
        if event["event"] == "warning":
            self._log(_("Warning: {message}").format(message=inPanelsWords(event["message"])))
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
        inputs = self.queue.current.request.inputs
        if inputs.fixedVolume.GetScene() is None or not self._isEntered() or not self._parameters.livePreview:
            return
        if self._preview is None or self._preview.GetScene() is None:
            isInView = layout.isReviewing(inputs.fixedVolume)
            self._showViews()
            volumeNode.SetName(_("Preview"))
            self._preview = derivedVolumes.addHidden(volumeNode)
            self._preview.CreateDefaultDisplayNodes()
            self._preview.GetDisplayNode().SetSaveWithScene(False)
            self._review.showPreview(inputs, self._preview, self._parameters.orientation)
            if not isInView:  # else the user may be looking at a lesion
                qt.QTimer.singleShot(0, layout.fitViews)  # once the views have their new size
            return
        self._preview.SetAndObserveImageData(volumeNode.GetImageData())

    def _onStarting(self, task: Task) -> None:
        """Only now: while a task waits, results can be looked at, which puts baselines under their transforms."""
        self._review.memory.giveBackPlaces()  # what it has put under a transform is not to be put back there
        self._takenOut += _takeOutOfResults(task.request.inputs)

    def _onTaskChanged(self, task: Task) -> None:
        if task.state is TaskState.RUNNING:
            self._ui.progressBar.value = 0
        else:
            self._removePreview(task.request.inputs)
            self._logWhole(task)
        if self.queue.isOver:
            self._endTakenOut()  # before an earlier result is shown, which may move them
        if task.state is TaskState.DONE:
            self._review.memory.giveBackPlaces()  # an earlier result that is looked at may have the baseline
            task.job.bringMoving()
            self._review.memory.forgetLayout()
        elif task.state in (TaskState.CANCELLED, TaskState.FAILED):
            self._giveBackViews()
        self._stage = ""
        self._onTask(task)

    def _giveBackViews(self) -> None:
        """Nothing came of it: the views are as they were."""
        self._review.endPreview()
        if not self._showResult():
            self._review.giveBackOutlines()

    def _endPreview(self) -> None:
        """The user does not want it any longer."""
        task = self.queue.current if self.queue is not None else None
        self._removePreview(task.request.inputs if task is not None else None)
        self._review.endPreview()
        if not self._showResult():
            self._review.giveBackOutlines()

    def _endTakenOut(self) -> None:
        if any(task.state is TaskState.DONE for task in self.queue.tasks):
            self._takenOut = []
        self._putBack()

    def _putBack(self) -> None:
        """Under the transforms of earlier results that the nodes were taken out of."""
        for node, transform in self._takenOut:
            isThere = node.GetScene() is not None and transform.GetScene() is not None
            if isThere and node.GetParentTransformNode() is None:
                node.SetAndObserveTransformNodeID(transform.GetID())
        self._takenOut = []

    def _finish(self) -> None:
        self._timer.stop()
        tasks, self.queue = self.queue.tasks, None
        self._settlePlot(any(task.state is TaskState.DONE for task in tasks))
        self._ui.progressBar.visible = False
        self._ui.keepButton.visible = False
        failed = [task for task in tasks if task.state is TaskState.FAILED]
        if any(task.error.kind == "internal" for task in failed):
            self._ui.logGroupBox.collapsed = False
        self._outcome = _failureText(failed, len(tasks)) if failed else _endText(tasks)
        self._say(self._outcome, isError=bool(failed))
        # through the parameter node: everybody who shows what can be done now is updated
        self._parameters.Modified()

    # What is shown

    def _showIdle(self, isEngineReady: bool) -> None:
        button = self._ui.applyButton
        try:
            ready = request.registration(self._parameters)
        except InputError as error:
            self._showProblem(str(error))
            return
        self._showProblem("")
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

    def _showProblem(self, sentence: str) -> None:
        """On the button, or below it where there is no room for it."""
        button = self._ui.applyButton
        wasShown, self._problem = self._problem, sentence if len(sentence) > BUTTON_LENGTH else ""
        if self._problem:
            self._say(" ".join(filter(None, (self._outcome, self._problem))), isError=True)
        elif wasShown:
            self._say(self._outcome)
        if sentence:
            button.enabled = False
            button.text = _("Cannot register yet") if self._problem else sentence.rstrip(".")
            button.toolTip = sentence

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
        self._review.memory.rememberLayout()
        layout.showReviewLayout(self._parameters.showLossPlot)
        self._lossPlot.show()

    def _settlePlot(self, isDone: bool) -> None:
        if isDone:
            self._earlierPlot.remove()
        else:
            self._lossPlot.remove()
            self._lossPlot = self._earlierPlot
            self._lossPlot.show()

    def _removePreview(self, inputs: Inputs | None = None) -> None:
        if self._preview is not None and self._preview.GetScene() is not None:
            if inputs is not None:
                self._review.showPair(*(_present(node) for node in (inputs.fixedVolume, inputs.movingVolume)))
            derivedVolumes.remove(self._preview)
        self._preview = None

    def _say(self, text: str, isError: bool = False) -> None:
        self._ui.statusLabel.setStyleSheet(_ERROR_STYLE if isError else "")
        self._ui.statusLabel.text = _breakable(text)
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


def _endText(tasks: list[Task]) -> str:
    if not any(task.state is TaskState.CANCELLED for task in tasks):
        return _doneText(tasks)
    done = any(task.state is TaskState.DONE for task in tasks)
    return _("Cancelled.") if done else _("Cancelled; nothing was changed.")


def _doneText(tasks: list[Task]) -> str:
    if len(tasks) > 1:
        return _("Done: {count} follow-ups.").format(count=len(tasks))
    metrics = tasks[0].job.metrics
    text = _("Stopped early, after {time}") if tasks[0].job.isStoppedEarly else _("Done in {time}")
    parts = [text.format(time=durationText(metrics["seconds"]))]
    for key, label in (("dice_organs", _("Dice of organs")), ("dice_lesions", _("Dice of lesions"))):
        if metrics.get(key) is not None:
            parts.append(f"{label} {metrics[key]:.2f}")
    return " · ".join(parts)


def _failureText(failed: list[Task], count: int) -> str:
    if count == 1:
        return failed[0].error.message
    return " ".join(f"{task.request.inputs.fixedVolume.GetName()}: {task.error.message}" for task in failed)


def _short(name: str) -> str:
    short = name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
    return short.replace("&", "&&")  # a single one marks a key


def _breakable(text: str) -> str:
    """With places where a name without spaces may go on in the next line."""
    return re.sub(r"(_|[^\s_]{20})(?=\S)", "\\1\u200b", text)


def _present(node):
    return node if node.GetScene() is not None else None


def _takeOutOfResults(inputs: Inputs) -> list[tuple]:
    """A transform that an earlier run made, and that was put over the volume, is not to count twice.

    Returns what was taken out, and of which transform.
    """
    takenOut = []
    for node in inputs.nodes():
        parent = node.GetParentTransformNode()
        if parent is not None and parent.GetAttribute(OUTPUT_ATTRIBUTE) is not None:
            node.SetAndObserveTransformNodeID(None)
            takenOut.append((node, parent))
    return takenOut
