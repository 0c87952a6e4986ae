"""One run of one method on one pair: what the child process is given, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError
from ..writing import write_json
from .methods import Method

if TYPE_CHECKING:
    import SimpleITK as sitk

Made = TypeVar("Made")

SCHEMA = 1
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
DISPLACEMENT_FILE = "displacement.nrrd"
LOG_FILE = "log.txt"
LEVEL_FILE = "level-{}.nrrd"
"""The field after one of elastix' resolutions, beside that after the last."""


@dataclass(frozen=True)
class Settings:
    """What is the same for every method of a study. All but the time limit is part of a result's key."""

    threads: int = 2
    seed: int = 0
    device: str = "auto"
    """For the methods that can use a GPU: auto, cpu, cuda, cuda:N, mps."""
    timeout_s: float | None = None


@dataclass(frozen=True)
class Task:
    method: Method
    fixed: Path
    moving: Path
    settings: Settings = Settings()
    files: Mapping[str, Path] = field(default_factory=dict)
    """What else the method reads: "start" (a displacement field), "checkpoint" (a trained network), …"""


@dataclass(frozen=True)
class Registered:
    """What a backend found."""

    displacement: sitk.Image
    """T(x) − x in mm, LPS, at every voxel of the fixed image; T maps fixed to moving points."""
    seconds: float
    """The registration alone: neither imports nor files nor the sampling of the field."""
    parameters: Mapping[str, Any]
    """Exactly what the package was called with, as JSON."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Anything else worth keeping, as JSON."""


def write_task(task: Task, folder: Path) -> None:
    content = {
        "schema": SCHEMA,
        "method": asdict(task.method),
        "fixed": str(task.fixed.absolute()),
        "moving": str(task.moving.absolute()),
        "settings": asdict(task.settings),
        "files": {name: str(path.absolute()) for name, path in task.files.items()},
    }
    write_json(folder / JOB_FILE, content)


def read_task(folder: Path) -> Task:
    """Raises InputError for a folder without a job of this schema."""
    return read_job(
        folder,
        lambda content: Task(
            Method.from_json(content["method"]),
            Path(content["fixed"]),
            Path(content["moving"]),
            Settings(**content["settings"]),
            {name: Path(file) for name, file in content["files"].items()},
        ),
    )


def read_job(folder: Path, made: Callable[[Any], Made]) -> Made:
    """What `made` makes of FOLDER/job.json. Raises InputError for one that is not of this schema."""
    path = folder / JOB_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError("another schema")
        return made(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no job of this version of mirrba ({error}).") from None
