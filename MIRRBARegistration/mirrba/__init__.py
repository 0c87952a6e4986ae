"""MIRRBA: registration of follow-up to baseline whole-body PET, regularised by architecture.

Method: Fourcade et al., Phys. Med. Biol. 2022, doi:10.1088/1361-6560/ac7e17.

Importing this package imports neither torch nor SimpleITK; the first use of `register` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import Cancelled, InputError, MirrbaError, OutOfMemory
from .presets import PRESETS, Config

if TYPE_CHECKING:
    from .registration import Registration, register

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "Cancelled",
    "Config",
    "InputError",
    "MirrbaError",
    "OutOfMemory",
    "Registration",
    "register",
]


def __getattr__(name: str) -> Any:
    if name in ("register", "Registration"):
        from . import registration

        return getattr(registration, name)
    raise AttributeError(f"module 'mirrba' has no attribute {name!r}")
