"""slicer.packaging: what would be installed is recorded; nothing is. Names and parameters of packaging.py in Slicer."""

from __future__ import annotations

import importlib.metadata
import types
from pathlib import Path

import slicer.util
from packaging.requirements import Requirement


class Packaging:
    """`missing` names packages that count as not installed, until they are asked for; these are in `installed`."""

    def __init__(self) -> None:
        self.installed: list[Requirement] = []
        self.missing: set[str] = set()

    def makeModule(self) -> types.ModuleType:
        module = types.ModuleType("slicer.packaging")
        module.load_requirements = load_requirements
        module.pip_check = self.pip_check
        module.pip_ensure = self.pip_ensure
        return module

    def pip_check(self, req) -> bool:
        return all(self._isInstalled(requirement) for requirement in _requirements(req))

    def pip_ensure(
        self,
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ) -> list[str] | None:
        missing = [r for r in _requirements(requirements) if not self.pip_check(r)]
        if not missing or (skip_in_testing and slicer.app.testingEnabled()):
            return None
        question = f"{len(missing)} Python packages need to be installed."
        if prompt_install and not slicer.util.confirmOkCancelDisplay(question, requester):
            raise RuntimeError("User declined package installation")
        self.installed.extend(missing)
        self.missing -= {r.name for r in missing}
        return None

    def _isInstalled(self, requirement: Requirement) -> bool:
        if requirement.name in self.missing:
            return False
        if requirement.marker is not None and not requirement.marker.evaluate():
            return True
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        return requirement.specifier.contains(version, prereleases=True)


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a file. A comment behind one is an error, as in Slicer."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def _requirements(reqs) -> list[Requirement]:
    """From a str with spaces between them, one Requirement, or a list of either."""
    reqs = reqs.split() if isinstance(reqs, str) else reqs
    reqs = reqs if isinstance(reqs, list) else [reqs]
    return [Requirement(r) if isinstance(r, str) else r for r in reqs]
