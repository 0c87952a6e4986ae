"""The tests that Slicer runs: self-test button, ctest; outside Slicer the same run on headless MRML.

A tiny phantom is registered on the CPU with the fast preset: less than two minutes.
"""

from __future__ import annotations

import importlib.util
import time
import unittest

import slicer

from .backgroundJob import JobState
from .errors import InputError, RegistrationCancelled
from .logic import MIRRBARegistrationLogic
from .sampleData import makePhantomPair

SPACING_MM = 12.0
START_SECONDS = 120.0
"""By then a child has said something, on the slowest machine."""
SETTINGS = {"preset": "fast", "device": "cpu"}


class RegistrationSelfTest:
    """To be mixed into a unittest.TestCase. Needs slicer.mrmlScene, empty, and the child process; no widgets."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if importlib.util.find_spec("torch") is None:  # looked for, never loaded in this process
            raise unittest.SkipTest("PyTorch is not installed; the panel's notice says how to get it.")

    def test_lesionsFollowTheRegistration(self) -> None:
        pair = makePhantomPair(SPACING_MM)
        logic = MIRRBARegistrationLogic()
        job = logic.startRegistration(
            pair.followUpVolume,
            pair.baselineVolume,
            pair.baselineSegmentation,
            pair.followUpSegmentation,
            **SETTINGS,
        )
        job.wait(onIdle=_keepAlive)
        self.assertIsNone(job.error, job.logText)
        self.assertGreater(job.metrics["dice_organs"], 0.85)
        self.assertGreater(job.metrics["dice_lesions"], 0.4)
        self.assertEqual(job.metrics["folding_fraction"], 0)
        for node in (job.outputs.transform, job.outputs.volume, job.outputs.segmentation):
            self.assertIs(node.GetScene(), slicer.mrmlScene)
        self.assertEqual(
            job.outputs.volume.GetImageData().GetDimensions(), pair.followUpVolume.GetImageData().GetDimensions()
        )

    def test_aCancelledRegistrationLeavesTheSceneAlone(self) -> None:
        pair = makePhantomPair(SPACING_MM)
        count = slicer.mrmlScene.GetNumberOfNodes()
        job = MIRRBARegistrationLogic().startRegistration(pair.followUpVolume, pair.baselineVolume, **SETTINGS)
        end = time.monotonic() + START_SECONDS
        while job.poll() is JobState.STARTING and time.monotonic() < end:
            _keepAlive()
            time.sleep(0.02)
        job.cancel()
        job.wait(onIdle=_keepAlive)
        self.assertIsInstance(job.error, RegistrationCancelled)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)

    def test_aVolumeIsNotRegisteredToItself(self) -> None:
        pair = makePhantomPair(SPACING_MM)
        with self.assertRaises(InputError):
            MIRRBARegistrationLogic().startRegistration(pair.baselineVolume, pair.baselineVolume, **SETTINGS)


def _keepAlive() -> None:
    application = getattr(slicer, "app", None)
    if application:
        application.processEvents()
