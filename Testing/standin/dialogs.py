"""Dialogs are recorded, not shown: a test sets what the user answers.

`slicer.util`'s displays are the real ones; only the message box at their end is replaced. A file dialog answers the
next of `fileNames`, "" (cancelled) when there is none; like PythonQt's, it returns a plain str.
"""

from __future__ import annotations

import dataclasses

from . import pythonqt

_FILE_DIALOGS = ("getSaveFileName", "getOpenFileName", "getExistingDirectory")
_MESSAGE_BOXES = ("information", "question", "warning", "critical", "about")
_BUTTONS = {"ok": 0x400, "cancel": 0x400000, "yes": 0x4000, "no": 0x10000, "retry": 0x80000, "close": 0x200000}
_ACCEPTING = {"ok", "yes", "retry"}


@dataclasses.dataclass
class Message:
    """A message box that would have been shown. `icon` is information, warning, critical, question or ""."""

    text: str
    icon: str = ""
    details: str = ""


class Dialogs:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.fileNames: list[str] = []
        self.fileDialogs: list[tuple] = []
        self.openedUrls: list[str] = []
        self.shown: list = []
        self.answer: str | None = None  # "ok", "cancel", "yes", "no", "retry" or "close"; None: what agrees

    def install(self, util) -> None:
        """Put the recorder in the place of what would wait for a user."""
        self._util, self._messageBox = util, util.messageBox
        util.messageBox = self._recordMessage
        for name in _FILE_DIALOGS:
            pythonqt.intercept("QFileDialog", name, lambda _, args, name=name: self._fileName(name, args))
        for name in _MESSAGE_BOXES:
            pythonqt.intercept("QMessageBox", name, lambda _, args, name=name: self._static(name, args))
        for className in ("QDialog", "QMenu"):
            pythonqt.intercept(className, "exec_", self._execute)
            pythonqt.intercept(className, "exec", self._execute)
        pythonqt.intercept("QDesktopServices", "openUrl", self._openUrl)

    def uninstall(self) -> None:
        self._util.messageBox = self._messageBox
        for name in _FILE_DIALOGS:
            pythonqt.intercept("QFileDialog", name, None)
        for name in _MESSAGE_BOXES:
            pythonqt.intercept("QMessageBox", name, None)
        for className in ("QDialog", "QMenu"):
            pythonqt.intercept(className, "exec_", None)
            pythonqt.intercept(className, "exec", None)
        pythonqt.intercept("QDesktopServices", "openUrl", None)

    def _button(self, offered: int | None) -> int:
        """The button that is pressed: the answer of the test, else the first that agrees."""
        if self.answer is not None:
            return _BUTTONS[self.answer]
        agreeing = [value for name, value in _BUTTONS.items() if name in _ACCEPTING and (offered or 0x400) & value]
        return agreeing[0] if agreeing else int(offered or 0x400)

    def _recordMessage(self, text, parent=None, **kwargs) -> int:
        icons = {1: "information", 2: "warning", 3: "critical", 4: "question"}
        icon = icons.get(int(kwargs.get("icon", 0)), "")
        self.messages.append(Message(text, icon, kwargs.get("detailedText", "")))
        return self._button(kwargs.get("standardButtons"))

    def _static(self, name: str, args: tuple) -> int:
        """QMessageBox.question(parent, title, text, buttons) and its like."""
        self.messages.append(Message(args[2], name))
        return self._button(args[3] if len(args) > 3 else None)

    def _execute(self, native, args: tuple) -> int | None:
        wrapper = pythonqt.wrap(native)
        self.shown.append(wrapper)
        if wrapper.inherits("QMenu"):
            return None
        if wrapper.inherits("QMessageBox"):
            self.messages.append(Message(wrapper.text, "", wrapper.detailedText))
            return self._button(int(wrapper.standardButtons))
        return 1 if self.answer is None or self.answer in _ACCEPTING else 0

    def _fileName(self, name: str, args: tuple) -> str:
        self.fileDialogs.append((name, *args[1:]))
        return str(self.fileNames.pop(0)) if self.fileNames else ""

    def _openUrl(self, _, args: tuple) -> bool:
        self.openedUrls.append(args[0].toString())
        return True
