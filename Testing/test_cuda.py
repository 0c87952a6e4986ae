"""A GPU finds what the CPU finds. Runs where there is one (`make gpu`)."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from mirrba import direct, fields, graphs, kernels, losses, register
from mirrba.finished import FinishedStages
from mirrba.images import Prepared
from mirrba.optimize import optimize, stages
from mirrba.presets import resolve
from mirrba.progress import Progress

if not torch.cuda.is_available():
    pytest.skip("this machine has no CUDA device", allow_module_level=True)


def test_the_triton_kernels_compile_and_are_used():
    pytest.importorskip("triton", reason="Triton is not installed: it comes with PyTorch for CUDA on Linux")
    from mirrba import fused

    assert losses.way_on(torch.device("cuda")).terms is fused.terms


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *[("fused_fields", name) for name in ("warp", "compose", "smooth")],
        *[("fused_gradients", name) for name in ("warp", "compose", "smoothness", "folding")],
    ],
)
def test_the_kernels_on_fields_are_used(monkeypatch, module, name):
    pytest.importorskip("triton", reason="Triton is not installed: it comes with PyTorch for CUDA on Linux")
    field = torch.rand(1, 3, 8, 8, 8, device="cuda").requires_grad_(module == "fused_gradients")
    fused = kernels.working(module, field.device)
    assert fused is not None
    used = []
    right = getattr(fused, name)
    monkeypatch.setattr(fused, name, lambda *arguments: used.append(name) or right(*arguments))
    plain = {
        "warp": lambda: fields.warp(field[:, :1], field),
        "compose": lambda: fields.compose(field, field),
        "smoothness": lambda: losses.smoothness(field),
        "folding": lambda: losses.folding(field),
        "smooth": lambda: direct.smooth(field, 1.0),
    }
    plain[name]()
    assert used == [name]


@pytest.mark.parametrize("similarity", [losses.LocalNCC, losses.LocalInformation])
@pytest.mark.parametrize("window", [3, 7, 11, 25])
def test_the_similarities_and_their_gradients_are_those_of_the_cpu(similarity, window):
    generator = torch.Generator().manual_seed(0)
    fixed, warped = (torch.rand(1, 1, 33, 20, 41, generator=generator) for _ in range(2))
    found = {}
    for device in ("cpu", "cuda"):
        point = warped.to(device).requires_grad_(True)
        value = similarity(fixed.to(device), window)(point)
        (gradient,) = torch.autograd.grad(value, point)
        found[device] = value.item(), gradient.cpu()
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], abs=1e-5)
    assert (found["cuda"][1] - found["cpu"][1]).abs().max() < 1e-3 * found["cpu"][1].abs().max()


@pytest.mark.parametrize(("preset", "freeze"), [("mirrba", 0.0), ("mirrba", 1.0), ("mirrba-wo-archi", 0.0)])
def test_graphs_are_replayed_and_end_where_the_steps_one_by_one_end(monkeypatch, preset, freeze):
    """By the losses: rounding, which on a GPU differs from run to run, moves the field by a tenth. On an H100, equal
    runs differed by up to 0.002; where lower levels are freed on the way, by 0.007.
    """
    config, shape = resolve(preset, freeze=freeze), (48, 32, 64)
    iterations = (20,) * config.depth
    generator = torch.Generator().manual_seed(0)
    fixed = fields.resize(torch.rand(1, 1, 6, 4, 8, generator=generator), shape).cuda()
    moving = fixed.roll(2, dims=4)
    replays = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.append(1) or replay(graph))
    losses_of = []
    for replayed in (graphs.Replayed, lambda step, optimizer: step):
        monkeypatch.setattr(graphs, "Replayed", replayed)
        progress = Progress(stages(config, iterations, shape))
        optimize(fixed, moving, torch.ones_like(fixed), config, iterations, progress, FinishedStages())
        losses_of.append([stage["loss"] for stage in progress.history])
    assert len(replays) > 0.7 * sum(iterations), "the records were not kept"
    recorded, one_by_one = losses_of
    assert one_by_one[0][0] - one_by_one[0][-1] > 0.01, "nothing was learned that a wrong record could miss"
    for a, b in zip(recorded, one_by_one, strict=True):
        assert a[-1] == pytest.approx(b[-1], abs=5e-3)


@pytest.mark.parametrize(
    ("preset", "changes", "voxels"),
    [
        ("fast", {"spacing": 12}, 0.2),
        # bfloat16 on the GPU, and another order of summation: the same place, not the same digits
        ("mirrba", {"spacing": 16, "iterations": (60, 40, 20)}, 0.5),
    ],
)
def test_a_registration_ends_where_that_of_the_cpu_ends(pair_folder, preset, changes, voxels):
    fixed, moving = (sitk.ReadImage(str(pair_folder / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    body = sitk.GetArrayFromImage(Prepared.of(sitk.Cast(fixed, sitk.sitkFloat32), "fixed").body) > 0
    points = [
        fixed.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]])
        for index in np.random.default_rng(0).permutation(np.argwhere(body))[:300]
    ]
    ends = []
    for device in ("cpu", "cuda"):
        found = register(fixed, moving, resolve(preset, device=device, init="affine", **changes)).transform
        ends.append(np.array([found.TransformPoint(point) for point in points]))
    assert np.linalg.norm(ends[0] - ends[1], axis=1).mean() < voxels * changes["spacing"]
