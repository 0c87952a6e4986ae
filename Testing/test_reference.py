"""The paper's presets end where a plain optimisation of the same network ends.

The plain one has nothing that makes ours fast or lean: LNCC by convolution and autograd in float64, images in PyTorch's
own memory layout, every level run anew with its graph at each iteration, the frozen ones too.
"""

import pytest
import torch
import torch.nn.functional as F
from mirrba import fields, losses, schedule
from mirrba.finished import FinishedStages
from mirrba.network import FreeVelocity, Moving, Pyramid
from mirrba.optimize import optimize, stages
from mirrba.presets import resolve
from mirrba.progress import Progress
from test_losses import reference_lncc

SIDE = 32
PRESETS = {"mirrba": (10, 10, 10), "mirrba-depth-4-max-up": (8, 8, 8, 8), "mirrba-wo-archi": (10, 10, 10)}


def blobs(shift: float) -> torch.Tensor:
    """Smooth blobs in [0, 1], moved by `shift` voxels along each axis."""
    generator = torch.Generator().manual_seed(5)
    z, y, x = torch.meshgrid(*[torch.arange(float(SIDE))] * 3, indexing="ij")
    image = torch.zeros(SIDE, SIDE, SIDE)
    for _ in range(25):
        a, b, c = (SIDE * torch.rand(3, generator=generator) + shift).tolist()
        image += torch.exp(-((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / 18)
    return (image / image.max())[None, None]


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    weight = torch.zeros(1, 1, SIDE, SIDE, SIDE)
    weight[..., 2:-2, 2:-2, 2:-2] = 1
    return blobs(0.0), blobs(1.5), weight


def pyramid(image: torch.Tensor, count: int) -> list[torch.Tensor]:
    return [F.avg_pool3d(image, 2**k) for k in reversed(range(count))]


def plain_similarity(fixed, warped, weight, level: int) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for scale in range(level + 1):
        images = [F.avg_pool3d(image, 2**scale) for image in (fixed, warped)]
        window = 2 * (level + 1 - scale) + 1
        total = total + 0.5**scale * reference_lncc(*images, window, F.avg_pool3d(weight, 2**scale))
    return total


def plain(pair, config, iterations) -> torch.Tensor:
    """Velocity integrated on the finest grid."""
    torch.manual_seed(config.seed)
    images, movings, weights = (pyramid(image, config.depth) for image in pair)
    if config.architecture:
        model = Pyramid(config, mixed=False)
    else:
        model = FreeVelocity([fields.shape_of(image) for image in images])
    moving = Moving(movings)
    for level in range(config.depth):
        optimizer = torch.optim.Adam(
            [p for k in range(level + 1) for p in model.parameters_of(k)], lr=schedule.SHORT_RATE
        )
        for iteration in range(iterations[level]):
            state = None
            for k in range(level + 1):
                state = model.step(k, state, moving, images[k])
            displacement = fields.integrate(state.velocity)
            lncc = plain_similarity(images[level], moving.warp(level, displacement), weights[level], level)
            smooth, diffeo = losses.smoothness(state.velocity), losses.folding(displacement)
            optimizer.zero_grad()
            (lncc + config.smooth * smooth + config.diffeo * diffeo).backward()
            if level and iteration < round(config.freeze * iterations[level]):
                for k in range(level):
                    for parameter in model.parameters_of(k):
                        parameter.grad = None  # frozen
            optimizer.step()
    with torch.no_grad():
        state = None
        for k in range(config.depth):
            state = model.step(k, state, moving, images[k])
        return fields.integrate(state.velocity)


def ours(pair, config, iterations, **how: bool) -> torch.Tensor:
    progress = Progress(stages(config, iterations, (SIDE, SIDE, SIDE)))
    return optimize(*pair, config, iterations, progress, FinishedStages(), **how).detach()


def far_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The mean distance of two displacements over the mean length of the first."""
    return float((one - other).norm(dim=1).mean() / one.norm(dim=1).mean())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_paper_s_presets_end_where_a_plain_optimisation_ends(pair, preset):
    config = resolve(preset, device="cpu", freeze=0.2)
    expected, found = plain(pair, config, PRESETS[preset]), ours(pair, config, PRESETS[preset])
    assert float(fields.to_voxels(expected).norm(dim=1).mean()) > 0.3  # voxels: it has moved
    assert far_apart(expected, found) < 0.005


def test_bfloat16_ends_near_it_and_recomputing_at_it(pair):
    config, iterations = resolve("mirrba", device="cpu"), PRESETS["mirrba"]
    exact = ours(pair, config, iterations)
    assert torch.equal(ours(pair, config, iterations, recompute=True), exact)
    assert 0 < far_apart(exact, ours(pair, config, iterations, mixed=True)) < 0.1
