"""Which kernels a registration on a GPU has compiled while the volumes are aligned. No GPU is needed."""

from pathlib import Path

import pytest
import torch
from mirrba import deformation, direct, kernels
from mirrba.finished import FinishedStages
from mirrba.presets import resolve
from mirrba.progress import Progress


@pytest.mark.parametrize(("preset", "names"), [("default", kernels.DESCENT), ("mirrba", kernels.NETWORK)])
def test_what_a_preset_needs_is_compiled_ahead_unless_memory_is_short(monkeypatch, preset, names):
    asked = []
    monkeypatch.setattr(kernels, "working", lambda name, device: asked.append(name))
    config = resolve(preset, device="cpu")
    assert deformation.ready(config) == torch.device("cpu")
    assert set(asked) == set(names)

    def full(name, device):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(kernels, "working", full)
    assert deformation.ready(config) == torch.device("cpu")


def test_all_modules_of_kernels_are_known():
    modules = {path.stem for path in Path(kernels.__file__).parent.glob("fused*.py")}
    assert modules == set(kernels.NETWORK) > set(kernels.DESCENT)


def test_a_descent_meets_no_smoothing_that_was_not_compiled_ahead(monkeypatch):
    def sigmas(run) -> set[float]:
        found: set[float] = set()
        smooth = direct.smooth
        with monkeypatch.context() as patch:
            patch.setattr(direct, "smooth", lambda field, sigma: found.add(sigma) or smooth(field, sigma))
            run()
        return found

    shape = (16, 16, 16)
    fixed, moving, weight = torch.rand(3, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    progress, field = Progress(direct.stages("start", (2, 2), shape)), torch.zeros(1, 3, *shape)
    arguments = ("start", fixed, moving, weight, (2, 2), 7, progress, FinishedStages(), field)
    assert sigmas(lambda: direct.descend(*arguments)) == sigmas(lambda: direct.compile_ahead(torch.device("cpu")))
