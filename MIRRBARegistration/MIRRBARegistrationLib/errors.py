"""What the Slicer side raises. Each message is one sentence that says what is wrong and what to do."""

from __future__ import annotations


class RegistrationError(Exception):
    """A registration that could not start, or failed.

    `message` is one sentence, `details` may add lines to it. `kind` is the engine's: input, cancelled, memory or
    internal. `log` is all that the child process wrote.
    """

    def __init__(self, message: str, kind: str = "internal", details: str = "") -> None:
        super().__init__(f"{message}\n{details}" if details else message)
        self.message = message
        self.details = details
        self.kind = kind
        self.log = ""


class InputError(RegistrationError):
    """The nodes or settings that the caller chose cannot be registered."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="input")


class RegistrationCancelled(RegistrationError):
    """The user stopped the run; nothing in the scene has changed."""

    def __init__(self) -> None:
        super().__init__("The registration was cancelled.", kind="cancelled")
