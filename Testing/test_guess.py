"""Which of two volumes is the baseline, on real MRML."""

import pytest
import slicer
from MIRRBARegistrationLib import guess
from MIRRBARegistrationLib.sampleData import makePhantomPair

STUDY_DATE = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMStudyDateAttributeName()
MODALITY = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()


def add_volume(scene, name, date=None, modality=None, class_name="vtkMRMLScalarVolumeNode"):
    node = scene.AddNewNodeByClass(class_name, name)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetSceneItemID()
    if date:
        parent = hierarchy.CreateStudyItem(parent, "study")
        hierarchy.SetItemAttribute(parent, STUDY_DATE, date)
    item = hierarchy.CreateItem(parent, node)
    if modality:
        hierarchy.SetItemAttribute(item, MODALITY, modality)
    return node


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("PET baseline", "PET follow-up"),
        ("moving", "fixed"),
        ("PET pre", "PET post"),
        ("baseline_suv", "second_suv"),
        ("scan", "scan follow up"),
        ("PET 2024-03-09", "PET 2024-09-01"),
        ("20231230_pet", "20240102_pet"),
        ("t0", "t1"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_names_tell(application, earlier, later, swapped):
    nodes = {name: add_volume(application.scene, name) for name in ((later, earlier) if swapped else (earlier, later))}
    assert guess.guessPair(application.scene) == (nodes[later], nodes[earlier])


def test_the_study_date_counts_more_than_the_name(application):
    misnamed = add_volume(application.scene, "baseline", "20250601")
    first = add_volume(application.scene, "follow-up", "20250101")
    assert guess.guessPair(application.scene) == (misnamed, first)


@pytest.mark.parametrize("names", [("a", "b"), ("baseline 1", "baseline 2"), ("pre and post", "x")])
def test_no_guess_where_names_leave_doubt(application, names):
    for name in names:
        add_volume(application.scene, name)
    assert guess.guessPair(application.scene) is None


def test_no_guess_among_three(application):
    for name in ("baseline", "follow-up", "end of treatment"):
        add_volume(application.scene, name)
    assert guess.guessPair(application.scene) is None


def test_other_modalities_label_maps_hidden_volumes_and_results_do_not_count(application):
    baseline = add_volume(application.scene, "PET baseline", modality="PT")
    follow_up = add_volume(application.scene, "PET follow-up", modality="PT")
    add_volume(application.scene, "CT baseline", modality="CT")
    add_volume(application.scene, "label", class_name="vtkMRMLLabelMapVolumeNode")
    add_volume(application.scene, "hidden").SetHideFromEditors(True)
    add_volume(application.scene, "earlier result", modality="PT").SetAttribute(guess.OUTPUT_ATTRIBUTE, "1")
    assert guess.guessPair(application.scene) == (follow_up, baseline)


def test_the_sample_pair_is_guessed_with_its_segmentations(application):
    pair = makePhantomPair(12.0)
    assert guess.guessPair(application.scene) == (pair.followUpVolume, pair.baselineVolume)
    segmentations = [pair.followUpSegmentation, pair.baselineSegmentation]
    assert guess.segmentationOf(pair.baselineVolume, segmentations) is pair.baselineSegmentation
    assert guess.segmentationOf(pair.followUpVolume, segmentations) is pair.followUpSegmentation


def test_two_segmentations_of_one_volume_leave_doubt(application):
    pair = makePhantomPair(12.0)
    pair.followUpSegmentation.SetReferenceImageGeometryParameterFromVolumeNode(pair.baselineVolume)
    segmentations = [pair.followUpSegmentation, pair.baselineSegmentation]
    assert guess.segmentationOf(pair.baselineVolume, segmentations) is None
