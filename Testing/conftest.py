"""Fixtures shared by all tests."""

import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("slicer") is None:  # the extra "slicer" is not installed
    collect_ignore = [
        "test_nodes.py",
        "test_background_job.py",
        "test_logic.py",
        "test_overlay.py",
        "test_sample_data.py",
        "test_in_slicer.py",
    ]


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory) -> Path:
    """A phantom pair's files at 12 mm: small enough to be registered in seconds. Not to be changed."""
    from mirrba.phantom import write_pairs

    folder = tmp_path_factory.mktemp("pair")
    write_pairs(folder, 1, 12.0, 3)
    return folder


@pytest.fixture
def application():
    """Headless Slicer with an empty scene of its own."""
    from headless import HeadlessSlicer

    headless = HeadlessSlicer()
    yield headless
    headless.close()


@pytest.fixture
def slicerApplication():
    """The stand-in for the Slicer application; an exception in a slot fails the test."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    reason = "PySide6 is not installed, or lacks a system library (docs/developer.md names them)"
    pytest.importorskip("PySide6.QtWidgets", reason=reason, exc_type=ImportError)
    import standin

    with standin.SlicerApplication() as application:
        yield application
        application.raiseErrors()
