"""The Triton kernels of LNCC, by Triton's own interpreter on the CPU. On a GPU: test_cuda.py."""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import kernels, losses

if find_spec("triton") is None:
    pytest.skip("Triton is not installed: it comes with PyTorch for CUDA on Linux", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") != "1":  # conftest.py
    pytest.skip("on a GPU test_cuda.py tests the compiled kernels", allow_module_level=True)
from mirrba import fused

SHAPES = st.tuples(*[st.integers(1, 14)] * 3)


def volumes(shape, seed: int, offset: float = 0.0) -> torch.Tensor:
    """Fixed, warped and weight."""
    made = torch.rand(3, 1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    made[:2] += offset
    return made


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, window=st.sampled_from([3, 5, 7, 9]), seed=st.integers(0, 99), channels=st.sampled_from([1, 3]))
def test_box_sums_are_those_of_float64(shape, window, seed, channels):
    image = torch.rand(1, channels, *shape, generator=torch.Generator().manual_seed(seed))
    expected = losses.box_sum(image.double(), window)
    torch.testing.assert_close(fused.box_sum(image, window).double(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    similarity=st.sampled_from([losses.LocalNCC, losses.LocalInformation]),
    shape=SHAPES,
    window=st.sampled_from([3, 5, 7, 9]),
    seed=st.integers(0, 99),
    offset=st.sampled_from([0.0, 1.0]),
)
def test_loss_and_gradient_are_those_of_float64(similarity, shape, window, seed, offset):
    """As in test_losses.py, with the same tolerance as plain float32 has there."""
    fixed, warped, weight = volumes(shape, seed, offset)
    exact = similarity(fixed.double(), window, weight.double())
    wanted = warped.double().requires_grad_(True)
    exact(wanted).backward()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "way_on", lambda device: losses.Way(fused.terms, fused.box_sum))
        found = warped.clone().requires_grad_(True)
        value = similarity(fixed, window, weight)(found)
        value.backward()
    assert value.item() == pytest.approx(exact(wanted).item(), rel=1e-3, abs=1e-5)
    largest = float(wanted.grad.abs().max())
    assert float((found.grad.double() - wanted.grad).abs().max()) < 1e-2 * largest + 1e-6


def test_the_kernels_pass_the_check_that_decides_whether_they_are_used():
    assert kernels.agree(fused, torch.device("cpu"))


def test_kernels_that_are_wrong_or_do_not_compile_are_not_used(monkeypatch):
    device = torch.device("cpu")
    monkeypatch.setattr(fused, "box_sum", lambda image, window: losses.box_sum(image, window) * 1.01)
    assert not kernels.agree(fused, device)

    def does_not_compile(ncc, warped):
        raise RuntimeError("PassManager::run failed")

    monkeypatch.setattr(fused, "terms", does_not_compile)
    assert not kernels.agree(fused, device)


def test_wide_counting_changes_no_bit(monkeypatch):
    fixed, warped, weight = volumes((5, 7, 6), seed=0)
    found = []
    for counted in (2**30, 1):
        monkeypatch.setattr(fused, "COUNTED", counted)
        found.append([fused.box_sum(warped, 5), *fused.terms(losses.LocalInformation(fixed, 5, weight), warped)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("similarity", [losses.LocalNCC, losses.LocalInformation])
def test_what_is_not_a_number_stays_so(similarity):
    """Else a field that has left the numbers would look like a good one."""
    fixed, warped, weight = volumes((5, 5, 5), seed=0)
    warped[..., 2, 2, 2] = torch.nan
    assert fused.terms(similarity(fixed, 3, weight), warped)[0].isnan()


def test_a_gpu_that_is_full_is_not_taken_for_one_without_triton(monkeypatch):
    def full(ncc, warped):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(fused, "terms", full)
    with pytest.raises(torch.OutOfMemoryError):
        kernels.agree(fused, torch.device("cpu"))


@pytest.mark.parametrize("name", kernels.NETWORK)
def test_no_kernel_unpacks_tuples_in_tuples(name):
    """Triton 3.6, of the PyTorch 2.11 that ran on a GPU, refuses them; later ones, which compile here, do not."""
    tree = ast.parse((Path(kernels.__file__).parent / f"{name}.py").read_text())
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            assert not any(isinstance(part, ast.Tuple) for part in getattr(target, "elts", ())), f"line {node.lineno}"


def test_the_kernels_compile_for_an_h100(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, str(Path(__file__).parent / "compile_kernels.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 8 + 14
    for name, ptx in found.items():
        assert ".target sm_90" in ptx
        assert name.endswith("True") or "div.s64" not in ptx, f"{name} divides in 64 bits, which is slow"
