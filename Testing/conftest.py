"""Fixtures shared by all tests."""

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mirrba.resources import share_cores

share_cores()  # before torch is imported: on a machine that does other work, too, tests take a third of the time

if (
    shutil.which("nvidia-smi") is None and not Path("/dev/nvidiactl").exists()
):  # asked by Triton when it is imported: its interpreter needs no GPU
    os.environ["TRITON_INTERPRET"] = "1"

if importlib.util.find_spec("slicer") is None:  # the extra "slicer" is not installed
    collect_ignore = [
        "test_nodes.py",
        "test_background_job.py",
        "test_logic.py",
        "test_overlay.py",
        "test_sample_data.py",
        "test_in_slicer.py",
        "test_guess.py",
        "test_derived_volumes.py",
        "test_results.py",
        "test_panel_inputs.py",
        "test_panel_run.py",
        "test_panel_safety.py",
        "test_panel_leftovers.py",
        "test_panel_review.py",
        "test_panel_propagation.py",
        "test_panel_settings.py",
        "test_bad_nodes.py",
    ]


def pytest_configure() -> None:
    """`make test &` in a script hands down that Ctrl-C is ignored; the children of the tests would ignore it, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
def jobFolders(tmp_path, monkeypatch) -> Path:
    """Where the temporary folders of jobs and of sample data are made in this test."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@functools.cache
def qtStarts() -> bool:
    """Tried in another process: Qt ends the one in which it finds no display plugin."""
    script = "from PySide6.QtWidgets import QApplication; QApplication([])"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True).returncode == 0


@pytest.fixture
def slicerApplication():
    """The stand-in for the Slicer application; an exception in a slot fails the test."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    if not qtStarts():
        pytest.skip("PySide6 is not installed, or lacks a system library (docs/developer.md names them)")
    import standin

    with standin.SlicerApplication() as application:
        yield application
        application.raiseErrors()


@pytest.fixture
def user(slicerApplication, pair_folder, monkeypatch):
    """Somebody in front of the panel, with an empty scene."""
    from panel_user import AnsweredQuery, User

    monkeypatch.setattr("MIRRBARegistrationLib.deviceQuery.DeviceQuery", AnsweredQuery)
    return User(slicerApplication, pair_folder)


@pytest.fixture
def reviewer(user):
    """Somebody who has registered the sample pair."""
    user.loadsAPair()
    user.registers()
    return user
