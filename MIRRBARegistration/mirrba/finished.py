"""What the finished stages of a run have found, so that it can go on after the last of them: after memory ran out,
and, where a folder is given, after the process has ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .progress import Progress
from .writing import whole

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

log = logging.getLogger("mirrba")

KEY_FILE = "key"
LOSSES, DEPARTURES = "losses", "departures"


class FinishedStages:
    """`folder` is the run's own and holds the file KEY_FILE and one file a stage, each whole or not there.

    `key` stands for the inputs and settings. `resume`: go on from what the folder holds; without it, what it holds
    stays until this run has finished a stage. Raises InputError where the folder belongs to another key.
    """

    def __init__(self, folder: Path | None = None, key: str = "", resume: bool = False) -> None:
        self._folder, self._key, self._resume = folder, key, resume
        self._found: dict[str, Tensors] = {}
        self._plan = ""
        self._is_ours = False
        self.resumed: list[str] = []
        """The stages that were read from the folder."""
        if folder is not None and resume and folder.exists():
            if read_key(folder) != key:
                raise InputError(
                    f"{folder.parent}: was interrupted with other volumes or settings, so it cannot be resumed; give "
                    "the same ones again, or leave out --resume to start anew."
                )
            self._is_ours = True

    def of(self, plan: str) -> None:
        """Only what was found with this plan (device, grid, iterations) counts from here on."""
        if plan != self._plan:
            self._plan, self._found, self.resumed = plan, {}, []

    def recall(self, stage: str, progress: Progress) -> Tensors | None:
        """What the stage has found, on the CPU, and `progress` past it; None where it has not been finished."""
        if stage not in self._found and self._resume and self._is_ours:
            read = _read(self._path(stage))
            if read is not None:
                self._found[stage] = read
                self.resumed.append(stage)
        if stage not in self._found:
            return None
        found = dict(self._found[stage])
        progress.skip(stage, found.pop(LOSSES).tolist())
        for sentence in json.loads(bytes(found.pop(DEPARTURES).tolist())):
            progress.depart(sentence)
        return found

    def keep(self, stage: str, found: Tensors, losses: list[float], departures: list[str]) -> None:
        """The stage is finished; `departures` of the run so far."""
        import torch

        kept = {name: tensor.detach().cpu().clone() for name, tensor in found.items()}
        kept[LOSSES] = torch.tensor(losses, dtype=torch.float64)
        kept[DEPARTURES] = torch.tensor(list(json.dumps(departures).encode()), dtype=torch.uint8)
        self._found[stage] = kept
        if self._folder is None:
            return
        try:
            self._make_ours(self._folder)
            _write(self._found[stage], self._path(stage))
        except (OSError, RuntimeError):  # the latter is torch's
            log.warning(
                "What '%s' has found could not be kept in %s (is the disk full?); the registration goes on, but if it "
                "is interrupted, --resume will run this stage again.",
                stage,
                self._folder,
            )

    def forget(self) -> None:
        """The run is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _make_ours(self, folder: Path) -> None:
        if self._is_ours:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        (folder / KEY_FILE).write_text(self._key, encoding="ascii")
        self._is_ours = True

    def _path(self, stage: str) -> Path:
        assert self._folder is not None
        plan = hashlib.sha256(self._plan.encode()).hexdigest()[:8]
        return self._folder / f"{re.sub('[^a-z0-9]+', '-', stage)}-{plan}.pt"


def _read(path: Path) -> Tensors | None:
    if not path.is_file():
        return None
    import torch

    try:
        found: Tensors = torch.load(path, map_location="cpu", weights_only=True)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in found.values()):
            raise ValueError("not finite")
        json.loads(bytes(found[DEPARTURES].tolist()))
        found[LOSSES].tolist()
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        log.warning("%s: cannot be used (%s), so its stage is run again.", path, type(error).__name__)
        return None
    return found


def read_key(folder: Path) -> str | None:
    try:
        return (folder / KEY_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None


def _write(found: Tensors, path: Path) -> None:
    """Whole or not at all, and there after a power cut."""
    import torch

    with whole(path) as aside, aside.open("wb") as file:
        torch.save(found, file)
        file.flush()
        os.fsync(file.fileno())
