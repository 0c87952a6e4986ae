"""The child process: `python -m mirrba.experiment.run_training FOLDER` trains the network of FOLDER/job.json.

It leaves checkpoint.pt and, last, result.json, as run_method does.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import devices, resources
from ..images import read_volume
from . import run_method
from .checkpoint import write_checkpoint
from .learning import example_of, network_of
from .learning import train as fit
from .training import CHECKPOINT_FILE, Training, read_training


def run(training: Training, folder: Path) -> dict[str, Any]:
    """Train, write the checkpoint and return what is to be told of the training."""
    settings = training.method.config
    device = devices.choose(training.settings.device)
    mixed = devices.prefers_bfloat16(device)
    started = time.monotonic()
    examples = [example_of(read_volume(fixed), read_volume(moving), settings)[0] for fixed, moving in training.volumes]
    torch.manual_seed(training.settings.seed)
    network = network_of(settings, mixed).to(device)
    with devices.current(device):
        history = fit(network, examples, training.settings.seed, _tell)
    seconds = time.monotonic() - started
    peak = resources.peak_memory_mb()
    write_checkpoint(network, folder / CHECKPOINT_FILE)
    return {
        "device": devices.label_of(device),
        "bfloat16": mixed,
        "losses": [_course(losses) for losses in history],
        "seconds": round(seconds, 3),
        "peak_memory_mb": peak,
        "parameters": dict(settings),
        **run_method.surroundings(training.method, training.settings),
    }


def _course(losses: Sequence[float]) -> list[float]:
    """The mean loss of the first and of the last tenth of a stage."""
    few = max(1, len(losses) // 10)
    return [round(statistics.fmean(part), 5) for part in (losses[:few], losses[-few:]) if part]


def _tell(stage: int, step: int, loss: float) -> None:
    """Into the log."""
    print(f"stage {stage + 1}, step {step}: loss {loss:.5f}", flush=True)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    return run_method.child(folder, lambda: run(read_training(folder), folder))


if __name__ == "__main__":
    run_method.leave(main(sys.argv[1:]))
