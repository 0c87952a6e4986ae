"""The whole way through Slicer on a small made pair, on the CPU: run by ctest in Slicer, and by pytest without it.

The overlap is counted with Slicer's own segmentation code, not with the engine's scores.
"""

import unittest

import slicer
import vtk
from MIRRBARegistrationLib.backgroundJob import JobState
from MIRRBARegistrationLib.logic import MIRRBARegistrationLogic
from MIRRBARegistrationLib.sampleData import makePhantomPair
from MIRRBARegistrationLib.selfTest import SETTINGS, SPACING_MM, RegistrationSelfTest
from vtk.util.numpy_support import vtk_to_numpy


class MIRRBARegistrationPhantomTest(RegistrationSelfTest, unittest.TestCase):
    """With the tests of the module's own self test; skipped as a whole where torch is not installed."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def test_theBaselinesSegmentsCoverTheFollowUpsAfterwards(self) -> None:
        pair = makePhantomPair(SPACING_MM)
        wanted = voxelSets(pair.followUpSegmentation, pair.followUpVolume)
        before = voxelSets(pair.baselineSegmentation, pair.followUpVolume)
        job = MIRRBARegistrationLogic().startRegistration(
            pair.followUpVolume, pair.baselineVolume, pair.baselineSegmentation, **SETTINGS
        )
        self.assertIs(job.wait(), JobState.DONE, job.error)
        self.assertFalse(job.jobFolder.exists())
        after = voxelSets(job.outputs.segmentation, pair.followUpVolume)
        self.assertEqual(set(after), set(before))
        self.assertGreater(meanDice(wanted, after, "lesion"), meanDice(wanted, before, "lesion") + 0.2)
        self.assertGreater(meanDice(wanted, after, ""), 0.5)


def voxelSets(segmentation, referenceVolume) -> dict:
    """For each segment's name, the numbers of the reference volume's voxels in it."""
    reference = slicer.vtkOrientedImageData()
    reference.ShallowCopy(referenceVolume.GetImageData())
    ijkToRas = vtk.vtkMatrix4x4()
    referenceVolume.GetIJKToRASMatrix(ijkToRas)
    reference.SetGeometryFromImageToWorldMatrix(ijkToRas)
    sets = {}
    for segmentID in segmentation.GetSegmentation().GetSegmentIDs():
        mask, onReference = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        segmentation.GetBinaryLabelmapRepresentation(segmentID, mask)
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(mask, reference, onReference)
        inside = vtk_to_numpy(onReference.GetPointData().GetScalars()) > 0
        sets[segmentation.GetSegmentation().GetSegment(segmentID).GetName()] = set(inside.nonzero()[0].tolist())
    return sets


def meanDice(first: dict, second: dict, word: str) -> float:
    """Over the segments that both have and whose names begin with the word."""
    names = [name for name in first.keys() & second.keys() if name.startswith(word)]
    dices = [2 * len(first[name] & second[name]) / max(1, len(first[name]) + len(second[name])) for name in names]
    return sum(dices) / len(dices)
