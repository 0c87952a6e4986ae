"""Registrations one after the other, each in a process of its own."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .backgroundJob import Event, JobState
from .errors import RegistrationError
from .registrationJob import Callbacks, RegistrationJob
from .request import Request
from .settingNames import inPanelsWords


class TaskState(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass
class Task:
    request: Request
    state: TaskState = TaskState.WAITING
    job: RegistrationJob | None = None
    error: RegistrationError | None = None


@dataclass
class QueueCallbacks:
    """Called on the thread that polls."""

    onStarting: Callable[[Task], None] = field(default=lambda task: None)
    """A task is about to be checked, and its nodes to be written."""
    onTask: Callable[[Task], None] = field(default=lambda task: None)
    """A task has started or ended."""
    onProgress: Callable[[Event], None] = field(default=lambda event: None)
    onPreview: Callable[[Any], None] | None = None
    """Gets a volume node in no scene; None: no previews are made."""


class RunQueue:
    """One task that fails does not stop the others; cancelling does. Poll it regularly, as a RegistrationJob."""

    def __init__(self, requests: list[Request], callbacks: QueueCallbacks, startProcess: Callable) -> None:
        self.tasks = [Task(request) for request in requests]
        self._callbacks = callbacks
        self._startProcess = startProcess

    @property
    def current(self) -> Task | None:
        """The running task."""
        return next((task for task in self.tasks if task.state is TaskState.RUNNING), None)

    @property
    def isOver(self) -> bool:
        return all(task.state not in (TaskState.WAITING, TaskState.RUNNING) for task in self.tasks)

    @property
    def jobState(self) -> JobState:
        """That of the running task's process."""
        task = self.current
        return task.job.state if task is not None and task.job is not None else JobState.IDLE

    def poll(self) -> None:
        """Deliver what has arrived; start the next task when one has ended."""
        task = self.current
        if task is not None:
            task.job.poll()
        elif not self.isOver:
            self._start(next(task for task in self.tasks if task.state is TaskState.WAITING))

    def cancel(self) -> None:
        """Stop the running task, and drop those that wait."""
        for task in self.tasks:
            if task.state is TaskState.WAITING:
                self._end(task, TaskState.CANCELLED)
        if self.current is not None:
            self.current.job.cancel()

    def keep(self) -> None:
        """End the running task with its present state as the result; those that wait follow."""
        if self.current is not None:
            self.current.job.keep()

    def close(self) -> None:
        """End the child at once, load nothing, call nothing back: for a scene that is being closed."""
        for task in self.tasks:
            if task.state is TaskState.RUNNING:
                task.job.close()
            if task.state in (TaskState.WAITING, TaskState.RUNNING):
                task.state = TaskState.CANCELLED

    def _start(self, task: Task) -> None:
        self._callbacks.onStarting(task)
        # checked anew: nodes may have changed while it waited
        try:
            task.request.check()
            task.job = RegistrationJob(
                task.request.inputs,
                task.request.outputs,
                task.request.config,
                self._jobCallbacks(task),
                startProcess=self._startProcess,
            )
        except RegistrationError as error:
            task.error = error
            self._end(task, TaskState.FAILED)
            return
        task.state = TaskState.RUNNING
        task.job.start()
        self._callbacks.onTask(task)

    def _jobCallbacks(self, task: Task) -> Callbacks:
        def onFailed(error: RegistrationError) -> None:
            task.error = RegistrationError(inPanelsWords(error.message), error.kind, error.details)
            self._end(task, TaskState.CANCELLED if error.kind == "cancelled" else TaskState.FAILED)

        return Callbacks(
            onProgress=self._callbacks.onProgress,
            onFinished=lambda metrics: self._end(task, TaskState.DONE),
            onFailed=onFailed,
            onPreview=self._callbacks.onPreview,
        )

    def _end(self, task: Task, state: TaskState) -> None:
        task.state = state
        self._callbacks.onTask(task)
