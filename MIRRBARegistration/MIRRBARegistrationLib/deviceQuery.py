"""Asks the engine, in a process of its own, which devices can compute: this process never loads torch."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass

from .backgroundJob import defaultPythonExecutable, workerEnvironment


@dataclass(frozen=True)
class Device:
    """`name` is what the engine's setting `device` takes; free memory in MiB, None where the system does not tell."""

    name: str
    label: str
    freeMb: int | None


class DeviceQuery:
    """Takes some seconds: poll it until `isOver`."""

    def __init__(self) -> None:
        self.devices: list[Device] = []
        """The best first; empty if the engine could not tell."""
        self.isOver = False
        try:
            self._process = subprocess.Popen(
                [defaultPythonExecutable(), "-m", "mirrba", "devices", "--json"],
                env=workerEnvironment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        except OSError:
            self.isOver = True  # a registration will say that the engine cannot be started

    def poll(self) -> bool:
        """Whether the answer is there."""
        if not self.isOver and self._process.poll() is not None:
            self.isOver = True
            with self._process.stdout as answer, contextlib.suppress(ValueError, KeyError, TypeError):
                self.devices = [
                    Device(device["name"], device["label"], device.get("free_mb"))
                    for device in json.loads(answer.read())
                ]
        return self.isOver

    def close(self) -> None:
        """Leave nothing running."""
        if not self.isOver:
            self.isOver = True
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
