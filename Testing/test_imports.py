"""The border between engine and Slicer, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "MIRRBARegistration"
ENGINE = sorted((MODULE / "mirrba").rglob("*.py"))
SLICER_SIDE = sorted([*(MODULE / "MIRRBARegistrationLib").rglob("*.py"), *MODULE.glob("*.py")])
NUMERICAL_CORE = ["fields", "losses", "deformable", "network", "pyramid", "optimize", "direct", "presets", "schedule"]


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.name)
def test_the_engine_never_imports_the_slicer_side(path):
    assert not imported(path) & {"slicer", "vtk", "vtkmodules", "qt", "ctk", "PySide6", "MIRRBARegistrationLib"}


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_the_slicer_side_never_imports_torch(path):
    assert "torch" not in imported(path)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; sys.path.insert(0, {str(MODULE)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_mirrba_loads_neither_torch_nor_simpleitk():
    assert not loaded_by("import mirrba, mirrba.cli, mirrba.worker") & {"torch", "SimpleITK", "numpy", "scipy"}


def test_what_comes_before_the_deformation_does_without_torch():
    assert "torch" not in loaded_by("import mirrba.registration, mirrba.segments, mirrba.measures, mirrba.overlay")


def test_the_numerical_core_does_without_simpleitk():
    statement = "; ".join(f"import mirrba.{name}" for name in NUMERICAL_CORE)
    assert "SimpleITK" not in loaded_by(statement)


def test_reading_nodes_does_not_load_torch():
    pytest.importorskip("slicer")
    assert "torch" not in loaded_by("import MIRRBARegistrationLib")
