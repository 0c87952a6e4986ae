"""A trained network in a file: its weights alone, which are read without running anything that a file may hold."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

from ..errors import InputError
from ..writing import whole
from .learning import Network

SCHEMA = 1


def write_checkpoint(network: Network, path: Path) -> None:
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    with whole(path) as aside:
        torch.save({"schema": SCHEMA, "network": type(network).__name__, "weights": weights}, aside)


def read_checkpoint(network: Network, path: Path) -> None:
    """Load a file's weights into the network. Raises InputError for one that holds anything else."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint; train the network again.")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no archive")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than weights, so it was not loaded; train the network again.") from None
    except (RuntimeError, EOFError, ValueError, OSError):
        raise InputError(f"{path}: is damaged or no checkpoint; train the network again.") from None
    try:
        if (content["schema"], content["network"]) != (SCHEMA, type(network).__name__):
            raise ValueError("another network")
        network.load_state_dict(content["weights"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError):
        raise InputError(f"{path}: is a checkpoint of another network; train this one again.") from None
