"""What Slicer's ctest runs (MIRRBARegistration/Testing/Python), on headless MRML; and without torch."""

import importlib.util
import subprocess
import sys
import unittest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / "MIRRBARegistration" / "Testing" / "Python" / "MIRRBARegistrationPhantomTest.py"

specification = importlib.util.spec_from_file_location(FILE.stem, FILE)
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)


class TestInHeadlessSlicer(module.MIRRBARegistrationPhantomTest):
    @pytest.fixture(autouse=True)
    def headless(self, application):
        """The scene that Slicer has from the start."""


def test_it_is_skipped_with_a_sentence_where_torch_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(unittest.SkipTest, match="PyTorch is not installed"):
        module.MIRRBARegistrationPhantomTest.setUpClass()


def test_torch_is_looked_for_but_not_loaded():
    code = (
        f"import sys; sys.path[:0] = [{str(FILE.parent)!r}, {str(ROOT / 'MIRRBARegistration')!r}]; import {FILE.stem}; "
        f"{FILE.stem}.MIRRBARegistrationPhantomTest.setUpClass(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
