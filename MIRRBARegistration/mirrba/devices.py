"""Which device computes, what it is called, and how much memory it has."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from . import resources
from .errors import InputError

log = logging.getLogger("mirrba")


@dataclass(frozen=True)
class Device:
    """`name` is what `--device` takes; memory in MiB, None where the system does not tell."""

    name: str
    label: str
    total_mb: int | None
    free_mb: int | None


def available() -> list[Device]:
    """Every device that can run a registration, the best first."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [device for k in range(count) if (device := _cuda(k)) is not None]
    if torch.backends.mps.is_available() and _runs(torch.device("mps")):
        found.append(Device("mps", "Apple GPU", None, None))
    total, free = _host_memory()
    found.append(Device("cpu", f"CPU, {torch.get_num_threads()} threads", total, free))
    return found


def choose(name: str) -> torch.device:
    """`auto` takes the first of `available()`. Raises InputError for a device that is not there."""
    devices = available()
    if name == "auto":
        return torch.device(devices[0].name)
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in [device.name for device in devices]:
        there = ", ".join(device.name for device in devices)
        raise InputError(f"Device '{name}' is not available on this machine; choose auto or one of: {there}.")
    return torch.device(wanted)


@contextmanager
def current(device: torch.device) -> Iterator[None]:
    """Within it, Triton and CUDA streams use this GPU: both take the current one, whatever a tensor lies on.

    And products of float32 are in float32, whatever the process has allowed: sums over windows are such products.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def label_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether convolutions run faster in bfloat16: told by the hardware, not timed, so that runs repeat exactly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(supported and supported())
    return False


@lru_cache
def supports_bfloat16(device: torch.device) -> bool:
    """Whether a convolution in bfloat16 runs at all, forwards and backwards: tried, because some can only say so."""
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            weight = torch.rand(1, 1, 3, 3, 3, device=device, requires_grad=True)
            F.conv3d(torch.rand(1, 1, 4, 4, 4, device=device), weight).sum().backward()
    except RuntimeError:
        return False
    return True


def bfloat16_is_sound(slices: int) -> bool:
    """Whether a network may run in bfloat16 whose coarsest layer has so many slices.

    On a CPU, oneDNN's gradient for the weights of a 3×3×3 convolution over two slices reads memory that was never
    written (torch 2.13): random numbers, now and then not finite. So small a layer costs nothing in float32.
    """
    return slices > 2


def peak_memory_mb(device: torch.device) -> float | None:
    """The most memory this process has held, MiB: for CUDA what PyTorch took of the device, else the resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    return resources.peak_memory_mb()


def _cuda(index: int) -> Device | None:
    """None for a GPU that refuses: another process may have it for itself."""
    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        log.warning("cuda:%d does not answer (%s); it is left out.", index, str(error).strip().splitlines()[0])
        return None
    return Device(f"cuda:{index}", torch.cuda.get_device_name(index), total // 2**20, free // 2**20)


def _runs(device: torch.device) -> bool:
    """Whether the device has the operators a registration needs (MPS has lacked 3-D sampling)."""
    try:
        image = torch.rand(1, 1, 4, 4, 4, device=device, requires_grad=True)
        grid = torch.zeros(1, 4, 4, 4, 3, device=device)
        out = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
        F.conv3d(out, torch.rand(1, 1, 3, 3, 3, device=device)).sum().backward()
    except (NotImplementedError, RuntimeError):
        return False
    return True


def _host_memory() -> tuple[int | None, int | None]:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_PHYS_PAGES") * page // 2**20, os.sysconf("SC_AVPHYS_PAGES") * page // 2**20
    except (AttributeError, ValueError, OSError):
        return None, None
