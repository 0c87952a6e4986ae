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


class Diverged(MirrbaError):
    """The optimisation has left the finite numbers, or ended far from its best."""


# What PyTorch, oneDNN, cuDNN and ITK say in a RuntimeError, and the system where a library is loaded, each in its own
# words.
_NO_MEMORY = (
    "out of memory",
    "allocate memory",
    "alloc_failed",
    "bad_alloc",
    "memory allocation",
    "create a memory",
    "create a primitive",
    "map segment from shared object",
    "unable to find an engine",  # cuDNN, where none of its ways gets its workspace
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host has refused memory."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError | OSError) and any(words in said for words in _NO_MEMORY)
    )


def explained(error: BaseException) -> MirrbaError:
    """Any exception as one of ours: one sentence, never a traceback."""
    if isinstance(error, MirrbaError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled("The run was cancelled; nothing was written.")
    if is_out_of_memory(error):
        return OutOfMemory("This machine has too little memory for the volumes; close other programs or crop them.")
    if isinstance(error, OSError):
        place = f" {error.filename}" if error.filename else ""
        return MirrbaError(f"A file could not be used: {error.strerror or error}{place}; check the disk and rights.")
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return MirrbaError(f"Unexpected {type(error).__name__} ({first}); please report it with the log.")
