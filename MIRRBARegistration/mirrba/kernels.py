"""Whether this device runs the Triton kernels of a module, or plain PyTorch computes."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import torch

from .errors import is_out_of_memory

log = logging.getLogger("mirrba")

DESCENT = ("fused", "fused_fields")
NETWORK = (*DESCENT, "fused_gradients")


@lru_cache
def working(name: str, device: torch.device) -> ModuleType | None:
    """The module, where its kernels work on this device: a GPU with Triton. Tried once."""
    if device.type != "cuda":
        return None
    try:
        module = import_module(f".{name}", __package__)
    except ImportError:  # Triton comes with PyTorch for CUDA on Linux only
        return None
    return module if agree(module, device) else None


def agree(module: ModuleType, device: torch.device) -> bool:
    """Whether the kernels compile on this device and give there what plain PyTorch gives."""
    try:
        found, expected = module.trial(device)
    except Exception as error:  # whatever a compiler may raise: the plain way is there
        if is_out_of_memory(error):
            raise
        log.info("The Triton kernels do not work on %s (%s); plain PyTorch computes.", device, error)
        return False
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(found, expected, strict=True))
