"""A folder of pairs: what is read, and what is told of one that is wrong."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba.experiment.cohort import CohortError, check_cohort, read_cohort, read_roles
from mirrba.phantom import write_pairs
from mirrba.segments import Segment, Segmentation, read_segmentation


@pytest.fixture
def cohort(pair_folder, tmp_path) -> Path:
    for name in ("pair-001", "pair-002"):
        shutil.copytree(pair_folder, tmp_path / name)
    return tmp_path


def problems(cohort: Path) -> list[str]:
    return check_cohort(cohort)[1]


def test_what_the_phantom_command_writes_is_a_cohort(tmp_path):
    write_pairs(tmp_path, 2, 16.0, 3)
    cohort = read_cohort(tmp_path)
    assert [(pair.name, pair.centre) for pair in cohort.pairs] == [("pair-001", "A"), ("pair-002", "B")]
    pair = cohort.pairs[1]
    assert (pair.truth.name, pair.landmarks.name) == ("true_transform.h5", "landmarks.csv")
    for image, segmentation in zip(pair.volumes(), pair.segmentations(), strict=True):
        assert segmentation.geometry.size == image.GetSize()
        assert {"brain", "bladder"} <= {s.name for s in segmentation.segments if s.role == "organ"}
        assert sum(s.role == "lesion" for s in segmentation.segments) >= 4


def test_truth_and_centre_may_be_missing(cohort):
    for name in ("true_transform.h5", "landmarks.csv", "lesions.json", "phantom.json"):
        (cohort / "pair-002" / name).unlink()
    second = read_cohort(cohort).pairs[1]
    assert second.truth is second.landmarks is second.centre is None


def test_names_in_the_manner_of_bids_are_the_same_cohort(cohort, tmp_path):
    plain = read_cohort(cohort).pairs[0]
    place = tmp_path / "bids" / "sub-01"
    place.mkdir(parents=True)
    for side, image, segmentation in (
        ("fixed", plain.fixed, plain.fixed_segmentation),
        ("moving", plain.moving, plain.moving_segmentation),
    ):
        shutil.copy(image, place / f"sub-01_desc-{side}_pet.nii.gz")
        write_label_map(read_segmentation(segmentation), place / f"sub-01_desc-{side}_dseg.nii.gz")
    shutil.copy(plain.truth, place / "sub-01_from-fixed_to-moving_xfm.h5")
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tsite\nsub-01\tNantes\n")
    pair = read_cohort(tmp_path / "bids").pairs[0]
    assert (pair.name, pair.centre) == ("sub-01", "Nantes")
    assert pair.truth is not None
    for ours, theirs in zip(pair.segmentations(), plain.segmentations(), strict=True):
        assert [(s.name, s.role) for s in ours.segments] == [(s.name, s.role) for s in theirs.segments]
        for a, b in zip(ours.segments, theirs.segments, strict=True):
            np.testing.assert_array_equal(a.mask, b.mask)


def write_label_map(segmentation: Segmentation, path: Path) -> None:
    """A label map and its table, as BIDS has them."""
    labels = np.zeros(segmentation.geometry.shape, np.uint8)
    with path.with_name(path.name.replace(".nii.gz", ".tsv")).open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["index", "name", "role"])
        for index, segment in enumerate(segmentation.segments, 1):
            labels[segment.mask] = index
            table.writerow([index, segment.name, "" if segment.role == "organ" else "lesion"])
    sitk.WriteImage(segmentation.geometry.image(labels), str(path))


def test_a_gallbladder_is_no_bladder_and_other_organs_are_left_out(cohort, tmp_path):
    path = cohort / "pair-001" / "fixed_segmentation.seg.nrrd"
    segmentation = read_segmentation(path)
    mask = segmentation.segments[0].mask
    names = {"brain": "Brain", "bladder": "Urinary bladder"}
    renamed = [Segment(names.get(s.name, s.name), s.mask, s.role) for s in segmentation.segments]
    more = [Segment(name, mask, "organ") for name in ("Gallbladder", "gall bladder", "liver")]
    Segmentation((*renamed, *more), segmentation.geometry).write(tmp_path / "more.seg.nrrd")
    read = read_roles(tmp_path / "more.seg.nrrd")
    assert [s.name for s in read.segments] == [s.name for s in segmentation.segments]


def test_every_problem_of_every_pair_is_in_one_list(cohort):
    first, second = cohort / "pair-001", cohort / "pair-002"
    (first / "moving.nii.gz").unlink()
    shutil.copy(first / "fixed.nii.gz", first / "other_fixed.nii.gz")
    (second / "moving.nii.gz").write_bytes(b"no image")
    (second / "landmarks.csv").write_text("name,fixed_x\na,1\n")
    (second / "true_transform.h5").write_bytes(b"no transform")
    (cohort / "notes").mkdir()
    with pytest.raises(CohortError) as error:
        read_cohort(cohort)
    found = error.value.problems
    assert found == [line.removeprefix("  - ") for line in str(error.value).splitlines()[1:]]
    assert [line.split(":")[0] for line in found].count("notes") == 4
    for start, words in (
        ("pair-001: fixed.nii.gz and other_fixed.nii.gz", "both the fixed volume"),
        ("pair-001: the moving volume is missing", "name it moving.nii.gz"),
        ("pair-002: moving.nii.gz", "cannot be read"),
        ("pair-002: landmarks.csv", "lack the columns"),
        ("pair-002: true_transform.h5", "cannot be read"),
    ):
        assert any(line.startswith(start) and words in line for line in found), (start, found)
    assert str(cohort) not in "".join(found)


def test_a_volume_given_twice_is_told(cohort):
    shutil.copy(cohort / "pair-001" / "fixed.nii.gz", cohort / "pair-001" / "moving.nii.gz")
    assert any(line.startswith("pair-001: fixed.nii.gz and moving.nii.gz are the same") for line in problems(cohort))


def test_a_segmentation_without_bladder_or_beside_the_volume_is_told(cohort):
    path = cohort / "pair-001" / "fixed_segmentation.seg.nrrd"
    whole = read_segmentation(path)
    Segmentation(tuple(s for s in whole.segments if s.name != "bladder"), whole.geometry).write(path)
    far = cohort / "pair-002" / "moving_segmentation.seg.nrrd"
    other = read_segmentation(far)
    Segmentation(other.segments, other.geometry.cropped([500] * 3, [500 + n for n in other.geometry.size])).write(far)
    found = problems(cohort)
    assert "pair-001: fixed_segmentation.seg.nrrd: has no segments of the bladder; name exactly one so." in found
    assert any(line.startswith("pair-002: the brain in moving_segmentation.seg.nrrd has no voxel") for line in found)


def test_a_label_map_without_names_is_told(cohort):
    place = cohort / "pair-001"
    write_label_map(read_segmentation(place / "fixed_segmentation.seg.nrrd"), place / "fixed_dseg.nii.gz")
    (place / "fixed_segmentation.seg.nrrd").unlink()
    assert problems(cohort) == []
    (place / "fixed_dseg.tsv").unlink()
    assert [line for line in problems(cohort) if "label 1 has no name; list it in fixed_dseg.tsv" in line]
    (place / "fixed_dseg.tsv").write_text("index\tname\trole\n1\tbrain\thead\n")
    assert [line for line in problems(cohort) if "the role 'head'" in line]


def test_a_landmark_beside_the_volume_is_told(cohort):
    path = cohort / "pair-002" / "landmarks.csv"
    path.write_text(path.read_text() + "far,9000,0,0,9000,0,0\n")
    assert problems(cohort) == [
        "pair-002: landmark 'far' in landmarks.csv lies outside of the fixed volume; remove it."
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pair_id\tcentre\npair-001\tA\n", "pair-002: has no centre in pairs.tsv"),
        ("pair_id\tcentre\npair-001\tA\npair-002\tB\npair-003\tB\n", "pair-003: is in pairs.tsv, but has no folder"),
        ("pair_id\tcentre\npair-001\tA\npair-002\tB\npair-002\tA\n", "pair-002: is in pairs.tsv 2 times"),
        ("pair,centre\npair-001,A\n", "pairs.tsv: needs the columns pair_id and centre"),
        ("", "pairs.tsv: needs the columns pair_id and centre"),
    ],
)
def test_a_table_of_centres_that_does_not_fit_is_told(cohort, text, expected):
    (cohort / "pairs.tsv").write_text(text)
    assert [line for line in problems(cohort) if line.startswith(expected)], problems(cohort)


def test_a_folder_that_is_no_cohort_is_told(cohort, tmp_path):
    assert problems(tmp_path / "nowhere") == [
        f"{tmp_path / 'nowhere'}: there is no such folder; give one that holds a folder per pair."
    ]
    assert "is a single pair" in problems(cohort / "pair-001")[0]
    (tmp_path / "empty").mkdir()
    assert "make one per pair" in problems(tmp_path / "empty")[0]
