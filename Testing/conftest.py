"""Fixtures shared by all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory) -> Path:
    """A phantom pair's files at 12 mm: small enough to be registered in seconds. Not to be changed."""
    from mirrba.phantom import write_pairs

    folder = tmp_path_factory.mktemp("pair")
    write_pairs(folder, 1, 12.0, 3)
    return folder


@pytest.fixture
def headless():
    """A fresh MRML scene with Slicer's logics around it."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from headless import HeadlessSlicer

    application = HeadlessSlicer()
    yield application
    application.close()


@pytest.fixture
def application():
    """Headless Slicer with an empty scene of its own."""
    pytest.importorskip("slicer", reason="needs the slicer extra")
    from headless import HeadlessSlicer

    headless = HeadlessSlicer()
    yield headless
    headless.close()
