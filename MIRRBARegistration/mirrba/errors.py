"""The errors a user may meet. Each message is one sentence that says what is wrong and what to do."""

from __future__ import annotations


class MirrbaError(Exception):
    """Something went wrong that no other class here names; `kind` and `exit_code` travel to the caller."""

    kind = "internal"
    exit_code = 1


class InputError(MirrbaError):
    """The user gave something that cannot be registered."""

    kind = "input"
    exit_code = 2


class Cancelled(MirrbaError):
    """The user, or the parent process by its end, asked the run to stop."""

    kind = "cancelled"
    exit_code = 3


class OutOfMemory(MirrbaError):
    """The device or the host has too little memory for this grid."""

    kind = "memory"
    exit_code = 4
