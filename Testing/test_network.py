"""The pyramid: its size, its start, its pieces."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import fields
from mirrba.deformable import DeformableConv3d
from mirrba.network import CHANNELS, HEAD_START, NOISE, Conv, FreeVelocity, Level, Moving, Pyramid, by_slices, filled
from mirrba.presets import PRESETS, resolve
from mirrba.pyramid import level_shapes, levels_of

SHAPE = (16, 16, 32)


def parameters(**changes) -> int:
    return sum(p.numel() for p in Pyramid(resolve("mirrba", **changes), mixed=False).parameters())


@pytest.mark.parametrize(("depth", "count"), [(1, 306_404), (2, 615_076), (3, 923_748), (4, 1_232_420)])
def test_the_network_has_lapirns_number_of_parameters(depth, count):
    assert parameters(depth=depth, pair_input=True) == count
    assert parameters(depth=depth) == count - 756 * depth
    assert parameters(depth=depth, pair_input=True, down="max") == count - 21_168 * depth
    assert parameters(depth=depth, pair_input=True, up="linear") == count - 6_272 * depth


def run(model, images, moving, level):
    state = None
    for k in range(level + 1):
        state = model.step(k, state, moving, images[k])
    return state


@pytest.mark.parametrize("preset", [name for name, preset in PRESETS.items() if preset.config.architecture])
def test_every_level_of_a_fresh_network_starts_as_no_change(preset):
    config = resolve(preset)
    torch.manual_seed(0)
    levels = levels_of(torch.rand(1, 1, *SHAPE), config.depth)
    model = Pyramid(config, mixed=False)
    with torch.no_grad():
        for level in range(config.depth):
            state = run(model, levels, Moving(levels), level)
            assert fields.shape_of(state.velocity) == fields.shape_of(levels[level])
            assert fields.to_voxels(state.velocity).abs().max() < 0.01


SIZES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, inputs=st.integers(1, 5), stride=st.sampled_from([1, 2]), seed=st.integers(0, 10_000))
def test_a_convolution_by_slices_is_the_convolution(size, inputs, stride, seed):
    torch.manual_seed(seed)
    image, weight = torch.randn(1, inputs, *size).double(), torch.randn(4, inputs, 3, 3, 3).double()
    found = []
    for convolve in (by_slices, lambda image, weight, stride: F.conv3d(image, weight, stride=stride, padding=1)):
        leaves = [image.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = convolve(*leaves, stride)
        found.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize(("side", "slices"), [(27, True), (28, False)])
def test_pytorch_is_left_what_it_hands_to_onednn(side, slices):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        Conv(CHANNELS, CHANNELS)(torch.rand(1, CHANNELS, side, side, side)).sum().backward()
    used = {event.key for event in profiler.key_averages()}
    assert ("aten::conv2d" in used) == slices
    assert "aten::mkldnn_convolution" in used
    assert not any("slow_conv" in name for name in used), "what this is for"


@pytest.mark.parametrize("changes", [{}, {"down": "max"}, {"up": "linear"}, {"residual": False}, {"pair_input": True}])
def test_channels_that_a_gpu_needs_filled_up_change_nothing(changes):
    torch.manual_seed(0)
    inputs = 5 if changes.get("pair_input") else 4
    level = Level(inputs, resolve("mirrba", **changes), deformable=False).double()
    torch.nn.init.normal_(level.head[-1].weight, std=0.1)
    image, embedding = (torch.rand(1, n, *size).double() for n, size in ((inputs, (8, 12, 4)), (CHANNELS, (4, 6, 2))))
    found = []
    for inputs_of_run in ((image, embedding), (filled(image, 1), filled(embedding, 1))):
        velocity, above = level(*inputs_of_run)
        loss = velocity.square().sum() + above[:, :CHANNELS].sum()
        found.append([velocity, above, *torch.autograd.grad(loss, list(level.parameters()))])
    plain, full = found
    assert full[1].shape[1] % 16 == 0
    assert not full[1][:, CHANNELS:].any()
    full[1] = full[1][:, :CHANNELS]
    for a, b in zip(full, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_an_identity_field_reproduces_the_fixed_image_at_every_level():
    image = torch.rand(1, 1, *SHAPE)
    levels = levels_of(image, 3)
    for k, level in enumerate(levels):
        assert torch.allclose(level, F.avg_pool3d(image, 2 ** (2 - k)), atol=1e-6)
        still = fields.zeros(fields.shape_of(level), image.device)
        assert torch.allclose(Moving(levels).warp(k, still), level, atol=1e-6)


def test_a_displacement_means_the_same_shift_at_every_level():
    ramp = fields.unit_grid(SHAPE, torch.device("cpu"))[:, :1]  # intensity = unit x
    for k, level in enumerate(levels_of(ramp, 3)):
        shift = fields.zeros(fields.shape_of(level), ramp.device)
        shift[:, 0] = 0.125
        moved = Moving(levels_of(ramp, 3)).warp(k, shift)
        inner = (..., slice(1, -2))
        assert torch.allclose((moved - level)[inner], torch.tensor(0.125), atol=1e-5)


def test_the_moving_image_is_seen_through_the_start_field():
    levels = levels_of(torch.rand(1, 1, *SHAPE), 2)
    start = fields.resize(0.1 * torch.randn(1, 3, 4, 4, 4), SHAPE)
    still = fields.zeros(SHAPE, start.device)
    assert torch.allclose(Moving(levels, start).warp(1, still), fields.warp(levels[1], start), atol=1e-5)


def rubbish_in_free_memory():
    """What the allocator hands out next holds NaN, as long as nobody writes to it."""
    for count in (2_000, 21_168, 42_336, 200_000):
        torch.full((count,), float("nan"))


@pytest.mark.parametrize("slices", [2, 4, 6, 8])
def test_a_gradient_in_bfloat16_is_that_of_float32_on_the_smallest_grids(slices):
    images = [torch.rand(1, 1, slices, 4, 6, generator=torch.Generator().manual_seed(1)) for _ in range(2)]

    def gradients(mixed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = Pyramid(resolve("mirrba", depth=1), mixed).to(memory_format=torch.channels_last_3d)
        rubbish_in_free_memory()
        velocity = model.step(0, None, Moving([images[0]]), images[1]).velocity
        (velocity / HEAD_START).square().mean().backward()
        return [parameter.grad.flatten() for parameter in model.parameters()]

    expected = gradients(mixed=False)
    for _ in range(10):
        for found, true in zip(gradients(mixed=True), expected, strict=True):
            assert F.cosine_similarity(found, true, dim=0) > 0.99
            assert found.norm() == pytest.approx(true.norm().item(), rel=0.05)


def test_without_residual_connections_the_blocks_forget_their_input():
    torch.manual_seed(0)
    with_rb = Pyramid(resolve("mirrba-depth-1"), mixed=False)
    torch.manual_seed(0)
    without = Pyramid(resolve("mirrba-depth-1", residual=False), mixed=False)
    features = torch.randn(1, 28, 4, 4, 4)
    block, bare = with_rb.levels[0].blocks[0], without.levels[0].blocks[0]
    assert torch.allclose(block(features) - bare(features), features, atol=1e-6)


def test_only_the_finest_level_is_deformable():
    model = Pyramid(resolve("mirrba-def-conv"), mixed=False)
    counts = [sum(isinstance(m, DeformableConv3d) for m in level.modules()) for level in model.levels]
    assert counts[:2] == [0, 0]
    assert counts[2] == 2 + 10 + 1


def test_the_free_velocity_starts_as_noise_of_a_thousandth_and_adds_up():
    shapes = level_shapes((32, 32, 32), 3)
    torch.manual_seed(0)
    model = FreeVelocity(shapes)
    images = [torch.rand(1, 1, *shape) for shape in shapes]
    state = run(model, images, Moving(images), 2)
    assert model.levels[2].std().item() == pytest.approx(NOISE, rel=0.05)
    expected = fields.resize(fields.resize(model.levels[0], shapes[1]) + model.levels[1], shapes[2]) + model.levels[2]
    assert torch.allclose(state.velocity, expected, atol=1e-7)


def test_a_deformable_convolution_starts_as_the_plain_one():
    torch.manual_seed(0)
    layer = DeformableConv3d(3, 5)
    image = torch.randn(1, 3, 5, 6, 7)
    assert torch.allclose(layer(image), F.conv3d(image, layer.weight, padding=1), atol=1e-5)


def test_a_deformable_convolution_follows_constant_offsets():
    layer = DeformableConv3d(1, 1)
    image = torch.rand(1, 1, 6, 6, 8)
    layer.offsets = torch.nn.Conv3d(1, 81, 3, padding=1)
    torch.nn.init.zeros_(layer.offsets.weight)
    with torch.no_grad():
        layer.offsets.bias.zero_()[0::3] = 1.0  # every tap one voxel along x
    expected = F.conv3d(image, layer.weight, padding=1)[..., 2:]
    assert torch.allclose(layer(image)[..., 1:-1], expected, atol=1e-5)


def test_the_gradients_of_a_deformable_convolution_pass_gradcheck():
    torch.manual_seed(0)
    layer = DeformableConv3d(2, 2)
    torch.nn.init.normal_(layer.offsets.weight, std=0.05)
    layer = layer.double()
    image = torch.rand(1, 2, 3, 4, 3, dtype=torch.double, requires_grad=True)

    def forward(image, weight, offsets):
        return torch.func.functional_call(layer, {"weight": weight, "offsets.weight": offsets}, (image,))

    weights = [layer.weight.detach().requires_grad_(), layer.offsets.weight.detach().requires_grad_()]
    assert torch.autograd.gradcheck(forward, (image, *weights), atol=1e-4, fast_mode=True)
