"""The Slicer side of MIRRBA: slicer and vtk, never torch."""

from .backgroundJob import BackgroundJob, JobState
from .errors import InputError, RegistrationCancelled, RegistrationError
from .logic import MIRRBARegistrationLogic
from .registrationJob import RegistrationJob

__all__ = [
    "BackgroundJob",
    "InputError",
    "JobState",
    "MIRRBARegistrationLogic",
    "RegistrationCancelled",
    "RegistrationError",
    "RegistrationJob",
]
