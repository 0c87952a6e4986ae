"""The table node of a result: what it holds, refers to, and keeps through saving."""

import csv
import math

import pytest
import slicer
import vtk
from headless import HeadlessSlicer
from MIRRBARegistrationLib import MIRRBARegistrationLogic
from MIRRBARegistrationLib.results import RESULT_ATTRIBUTE, Result, addResult
from MIRRBARegistrationLib.sampleData import makePhantomPair


@pytest.fixture(scope="module")
def headless():
    application = HeadlessSlicer()
    yield application
    application.close()


@pytest.fixture(scope="module")
def job(headless):
    """A registration that is done; not to be changed."""
    pair = makePhantomPair(12.0)
    job = MIRRBARegistrationLogic().startRegistration(
        pair.followUpVolume,
        pair.baselineVolume,
        pair.baselineSegmentation,
        pair.followUpSegmentation,
        preset="fast",
        device="cpu",
        settings={"start": [5]},
    )
    job.wait()
    assert job.error is None, job.logText
    return job


@pytest.fixture(scope="module")
def result(job):
    return Result(addResult(job))


def test_a_result_refers_to_all_that_belongs_to_it(job, result):
    assert result.fixedVolume is job.inputs.fixedVolume
    assert result.movingVolume is job.inputs.movingVolume
    assert result.movingSegmentation is job.inputs.movingSegmentation
    assert result.transform is job.outputs.transform
    assert result.volume is job.outputs.volume
    assert result.segmentation is job.outputs.segmentation


def test_every_segment_has_a_row_with_its_scores(job, result):
    rows = {result.text(row, "Segment"): row for row in range(result.rowCount)}
    assert set(rows) == {segment["name"] for segment in job.metrics["segments"]}
    brain = next(segment for segment in job.metrics["segments"] if segment["name"] == "brain")
    assert result.text(rows["brain"], "Dice") == f"{brain['dice']:.2f}"
    assert result.text(rows["brain"], "Baseline ml") == f"{brain['moving_ml']:.1f}"
    assert float(result.text(rows["brain"], "Follow-up SUVmax")) > 1


def test_a_rows_position_is_inside_its_segment(job, result):
    """The brain is convex: its centre lies in it. The truth is read from the warped label map itself."""
    brain = next(row for row in range(result.rowCount) if result.text(row, "Segment") == "brain")
    segmentation = job.outputs.segmentation.GetSegmentation()
    segmentID = segmentation.GetSegmentIdBySegmentName("brain")
    labelmap = segmentation.GetSegment(segmentID).GetRepresentation("Binary labelmap")
    worldToImage = vtk.vtkMatrix4x4()
    labelmap.GetWorldToImageMatrix(worldToImage)
    ijk = [round(value) for value in worldToImage.MultiplyPoint([*result.position(brain), 1.0])[:3]]
    assert labelmap.GetScalarComponentAsDouble(*ijk, 0) == segmentation.GetSegment(segmentID).GetLabelValue()


def test_a_vanished_segment_still_has_a_place_and_an_empty_dice(job, result):
    vanished = [row for row in range(result.rowCount) if result.text(row, "Fate") == "vanished"]
    assert vanished
    for row in vanished:
        assert result.text(row, "Dice") == ""
        assert result.text(row, "Baseline ml") != ""


def test_slicer_inverts_the_transform(job, result):
    """Slicer inverts by iteration, which users have seen fail on other fields. Forward is ITK's direction."""
    errors = []
    for segment in job.metrics["segments"]:
        if segment["centre_fixed_lps"] is None:
            continue
        x, y, z = segment["centre_fixed_lps"]
        moving, back = [0.0] * 3, [0.0] * 3
        result.transform.GetTransformFromParent().TransformPoint((-x, -y, z), moving)
        result.transform.GetTransformToParent().TransformPoint(moving, back)
        assert math.dist(moving, (-x, -y, z)) > 1
        errors.append(math.dist(back, (-x, -y, z)))
    assert len(errors) > 10
    assert max(errors) < 0.1


def test_the_csv_holds_every_row(job, result, tmp_path):
    result.writeCsv(tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Segment"] for row in rows] == [result.text(k, "Segment") for k in range(result.rowCount)]
    assert float(rows[0]["Dice"]) == pytest.approx(job.metrics["segments"][0]["dice"])
    assert "nan" not in (tmp_path / "table.csv").read_text()


def test_a_result_survives_saving_and_loading(headless, result, tmp_path):
    texts = [result.text(row, "Dice") for row in range(result.rowCount)]
    headless.writeBundle(tmp_path / "scene.mrb")
    other = HeadlessSlicer()
    other.readBundle(tmp_path / "scene.mrb")
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode", other.scene)
    loaded = Result(next(table for table in tables if table.GetAttribute(RESULT_ATTRIBUTE)))
    assert [loaded.text(row, "Dice") for row in range(loaded.rowCount)] == texts
    assert loaded.fixedVolume.GetName() == "Follow-up PET"
    assert loaded.segmentation is not None
    other.close()
    slicer.mrmlScene = headless.scene


def test_removed_nodes_are_missing_not_wrong(headless, job):
    table = addResult(job)
    passing = headless.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    table.SetNodeReferenceID("MIRRBA.volume", passing.GetID())
    assert Result(table).volume is passing
    headless.scene.RemoveNode(passing)
    assert Result(table).volume is None


def test_a_result_whose_node_was_filled_anew_no_longer_refers_to_it(headless, job):
    """Its scores are not those of the picture that the node holds now; the table itself stays."""
    first = addResult(job)
    second = addResult(job)
    assert [Result(first).transform, Result(first).volume, Result(first).segmentation] == [None] * 3
    assert Result(first).fixedVolume is job.inputs.fixedVolume
    assert Result(second).volume is job.outputs.volume


def test_an_earlier_result_with_nodes_of_its_own_is_left_alone(headless, job):
    first = addResult(job)
    own = headless.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    first.SetNodeReferenceID("MIRRBA.volume", own.GetID())
    addResult(job)
    assert Result(first).volume is own
