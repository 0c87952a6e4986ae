"""The phantom says what is true: these tests ask it in other ways than it computes itself."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba.phantom import Pair, make_pair, write_pair, write_pairs
from mirrba.phantom import files as phantom_files
from mirrba.phantom.anatomy import Anatomy, Part, Texture, Tissue, make_anatomy
from mirrba.phantom.lesions import FATES, make_lesions
from mirrba.phantom.motion import Motion, random_motion
from mirrba.phantom.scanner import SCANNERS, Grid, Scene, expose, scan
from mirrba.phantom.shapes import Capsule, Ellipsoid
from mirrba.segments import Segmentation, read_segmentation

SEEDS = st.integers(0, 2**32 - 1)
FILES = {
    "fixed.nii.gz",
    "moving.nii.gz",
    "fixed_segmentation.seg.nrrd",
    "moving_segmentation.seg.nrrd",
    "true_transform.h5",
    "landmarks.csv",
    "lesions.json",
    "phantom.json",
}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(spacing=6.0, seed=0)


@pytest.fixture(scope="module")
def folder(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("phantom")
    write_pair(pair, place)
    return place


@pytest.fixture(scope="module")
def small_pairs() -> list[Pair]:
    return [make_pair(spacing=10.0, seed=seed) for seed in range(10)]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def as_image(array: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([grid.spacing] * 3)
    image.SetOrigin(grid.origin)
    return image


def on_fixed(mask: np.ndarray, pair: Pair, transform: sitk.Transform | None = None) -> np.ndarray:
    """A moving mask resampled by ITK onto the fixed grid."""
    moving = as_image(mask.astype(np.float32), pair.moving.grid)
    fixed = as_image(pair.fixed.image, pair.fixed.grid)
    warped = sitk.Resample(moving, fixed, transform or sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(warped) > 0.5


def persisting(pair: Pair) -> list[str]:
    return [lesion.name for lesion in pair.lesions if lesion.fate in ("shrink", "stay", "grow")]


def jacobian_determinants(pair: Pair, points: np.ndarray) -> np.ndarray:
    h = 0.5
    columns = [(pair.true_transform(points + h * e) - pair.true_transform(points - h * e)) / (2 * h) for e in np.eye(3)]
    return np.linalg.det(np.stack(columns, axis=-1))


def segmentations(folder: Path) -> tuple[Segmentation, Segmentation]:
    fixed, moving = (folder / f"{side}_segmentation.seg.nrrd" for side in ("fixed", "moving"))
    return read_segmentation(fixed), read_segmentation(moving)


# ----- one seed, one patient


def test_the_same_seed_gives_the_same_bits() -> None:
    one, other = make_pair(spacing=12.0, seed=4), make_pair(spacing=12.0, seed=4)
    for a, b in ((one.fixed, other.fixed), (one.moving, other.moving)):
        assert a.grid == b.grid
        assert a.image.tobytes() == b.image.tobytes()
        assert list(a.masks) == list(b.masks)
        assert all(a.masks[name].tobytes() == b.masks[name].tobytes() for name in a.masks)
    assert one.landmarks.fixed.tobytes() == other.landmarks.fixed.tobytes()
    assert one.landmarks.moving.tobytes() == other.landmarks.moving.tobytes()


def test_different_seeds_differ_in_patient_motion_and_lesions(small_pairs: list[Pair]) -> None:
    probe = np.array([[0.0, 0.0, 100.0], [0.0, 0.0, 800.0]])
    for a, b in itertools.combinations(small_pairs, 2):
        kidneys = [p.landmarks.moving[p.landmarks.names.index("left kidney centre")] for p in (a, b)]
        assert np.linalg.norm(kidneys[0] - kidneys[1]) > 0.5
        assert np.linalg.norm(a.true_transform(probe) - b.true_transform(probe), axis=1).max() > 1.0
        assert [x.fate for x in a.lesions] != [x.fate for x in b.lesions]


def test_the_scanner_changes_neither_patient_nor_motion() -> None:
    sharp, blurred = make_pair(16.0, 3, fwhm=4.0, noise=0.0), make_pair(16.0, 3, fwhm=9.0, noise=0.2)
    assert sharp.fixed.grid == blurred.fixed.grid
    np.testing.assert_array_equal(sharp.fixed.masks["bladder"], blurred.fixed.masks["bladder"])
    np.testing.assert_array_equal(sharp.landmarks.moving, blurred.landmarks.moving)
    assert not np.array_equal(sharp.fixed.image, blurred.fixed.image)


def test_the_grids_of_the_two_examinations_differ_and_cover_the_body_to_the_thighs(small_pairs: list[Pair]) -> None:
    assert all(p.fixed.grid != p.moving.grid for p in small_pairs)
    for p, side in itertools.product(small_pairs, ("fixed", "moving")):
        grid = getattr(p, side).grid
        extent = np.array(grid.shape[::-1]) * grid.spacing
        assert (np.abs(extent - [530, 320, 930]) < 20).all()
        # Nothing of brain or bladder is cut off: none of it on the outermost voxels.
        for organ in ("brain", "bladder"):
            inner = np.zeros(grid.shape, dtype=bool)
            inner[1:-1, 1:-1, 1:-1] = True
            assert not (getattr(p, side).masks[organ] & ~inner).any()


# ----- the anatomy


def surface(solid: Ellipsoid | Capsule) -> np.ndarray:
    """Points on (for a capsule: on the round ends of, or within) the surface of a solid, [n, 3]."""
    directions = np.random.default_rng(0).normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if isinstance(solid, Ellipsoid):
        return solid.centre + (directions * solid.radii) @ solid.axes.T
    ends = zip((solid.start, solid.end), solid.radii, strict=True)
    return np.concatenate([end + radius * directions for end, radius in ends])


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_every_organ_lies_inside_the_body(seed: int) -> None:
    anatomy = make_anatomy(np.random.default_rng(seed))
    for part in anatomy.parts:
        if part.tissue.name in ("fat", "muscle"):  # the body itself
            continue
        points = surface(part.solid)
        # The bones of the limbs go on beyond the field of view, as the limbs do.
        seen = (points[:, 2] > 0.0) & (points[:, 2] < 915.0)
        assert anatomy.body.contains(points[seen]).all(), part.tissue.name


def anatomy_of(pair: Pair) -> Anatomy:
    return make_anatomy(np.random.default_rng(np.random.SeedSequence(pair.seed).spawn(1)[0]))


def tissues_at(pair: Pair, points: np.ndarray) -> np.ndarray:
    """The name of the tissue, or of the lesion at either time, at anatomical points [n, 3]."""
    names = np.full(len(points), "air", dtype="<U40")
    solids = [(part.tissue.name, part.solid) for part in anatomy_of(pair).parts]
    solids += [(x.name, s) for x in pair.lesions for s in (x.at_baseline(), x.at_followup()) if s is not None]
    for name, solid in solids:
        names[solid.contains(points)] = name
    return names


def some_voxels(grid: Grid, count: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Random voxels: their array indices and their centres [n, 3]."""
    rng = np.random.default_rng(0)
    z, y, x = (rng.integers(0, n, count) for n in grid.shape)
    return (z, y, x), np.array(grid.origin) + grid.spacing * np.stack([x, y, z], axis=1)


def test_uptake_is_that_of_fdg(pair: Pair) -> None:
    image, masks = pair.moving.image, pair.moving.masks
    assert image.dtype == np.float32
    assert image.min() >= 0.0
    assert 5.0 < image[masks["brain"]].mean() < 10.0
    assert 6.0 < np.median(image[masks["bladder"]]) < 21.0
    voxels, centres = some_voxels(pair.moving.grid, 40_000)
    names = tissues_at(pair, centres)
    for tissue, low, high in (("liver", 1.8, 2.7), ("lungs", 0.25, 0.6), ("muscle", 0.4, 1.1), ("spleen", 1.4, 2.2)):
        values = image[voxels][names == tissue]
        assert len(values) > 30
        assert low < np.median(values) < high, tissue
    assert np.median(image[voxels][names == "air"]) < 0.1


def test_uptake_changes_between_the_examinations(small_pairs: list[Pair]) -> None:
    ratios = [
        np.median(p.fixed.image[p.fixed.masks["bladder"]]) / np.median(p.moving.image[p.moving.masks["bladder"]])
        for p in small_pairs
    ]
    assert max(ratios) > 1.2
    assert min(ratios) < 0.85


def test_texture_moves_with_the_tissue(pair: Pair, folder: Path) -> None:
    """Warped by the truth, the moving image resembles the fixed one also inside muscle, where SUV is level."""
    truth = sitk.ReadTransform(str(folder / "true_transform.h5"))
    fixed = sitk.ReadImage(str(folder / "fixed.nii.gz"))
    warped = sitk.Resample(sitk.ReadImage(str(folder / "moving.nii.gz")), fixed, truth)
    voxels, centres = some_voxels(pair.fixed.grid, 60_000)
    # Deep in muscle: other tissue is more than a voxel away.
    around = [centres, *(centres + 8.0 * e for e in (*np.eye(3), *-np.eye(3)))]
    deep = np.all([tissues_at(pair, pair.true_transform(points)) == "muscle" for points in around], axis=0)
    assert deep.sum() > 1000
    a, b = (sitk.GetArrayFromImage(image)[voxels][deep] for image in (warped, fixed))
    assert np.corrcoef(a, b)[0, 1] > 0.5


# ----- the motion


def test_the_jacobian_determinant_is_positive_with_margin(small_pairs: list[Pair]) -> None:
    for p in small_pairs:
        determinants = jacobian_determinants(p, p.fixed.grid.centres()[::2, ::2, ::2])
        assert determinants.min() > 0.25
        assert determinants.max() < 3.0


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_any_motion_is_a_diffeomorphism_that_inverts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    motion = random_motion(make_anatomy(rng), rng)
    points = rng.uniform([-265, -160, 0], [265, 160, 930], size=(3000, 3))
    assert np.linalg.det(motion.jacobian(points)).min() > 0.25
    np.testing.assert_allclose(motion.inverse(motion(points)), points, atol=1e-6)


def test_the_jacobian_matches_itk_on_the_written_field(pair: Pair, folder: Path) -> None:
    transform = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(folder / "true_transform.h5")))
    field = transform.GetDisplacementField()
    itk = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))[2:-2, 2:-2, 2:-2]
    ours = np.linalg.det(pair.motion.jacobian(pair.fixed.grid.centres()[2:-2, 2:-2, 2:-2]))
    assert np.abs(itk - ours).max() < 0.02


def test_the_written_field_agrees_with_the_analytic_transform(pair: Pair, folder: Path) -> None:
    transform = sitk.ReadTransform(str(folder / "true_transform.h5"))
    grid = pair.fixed.grid
    rng = np.random.default_rng(0)
    indices = np.stack([rng.integers(0, n, 500) for n in grid.shape[::-1]], axis=1)
    centres = np.array(grid.origin) + grid.spacing * indices
    between = centres[(indices < np.array(grid.shape[::-1]) - 1).all(axis=1)] + grid.spacing * rng.uniform(0, 1)
    for points, tolerance in ((centres, 1e-6), (between, 0.15)):
        theirs = np.array([transform.TransformPoint(p) for p in points.tolist()])
        assert np.abs(theirs - pair.true_transform(points)).max() < tolerance


def test_the_breath_the_bladder_and_the_weight_do_change(small_pairs: list[Pair]) -> None:
    ratios = [p.fixed.masks["bladder"].sum() / p.moving.masks["bladder"].sum() for p in small_pairs]
    assert max(ratios) > 1.2
    assert min(ratios) < 0.85
    # The brain keeps its volume: rigid motion at heart, however the neck bends.
    brains = [p.fixed.masks["brain"].sum() / p.moving.masks["brain"].sum() for p in small_pairs]
    np.testing.assert_allclose(brains, 1.0, atol=0.04)


# ----- the truth of the segments


def test_the_true_transform_takes_the_moving_organs_to_the_fixed_ones(pair: Pair, folder: Path) -> None:
    truth = sitk.ReadTransform(str(folder / "true_transform.h5"))
    for organ in ("brain", "bladder"):
        assert dice(on_fixed(pair.moving.masks[organ], pair, truth), pair.fixed.masks[organ]) > 0.95


def test_the_true_transform_takes_staying_lesions_to_themselves(pair: Pair, folder: Path) -> None:
    truth = sitk.ReadTransform(str(folder / "true_transform.h5"))
    staying = [lesion.name for lesion in pair.lesions if lesion.fate == "stay"]
    scores = [dice(on_fixed(pair.moving.masks[n], pair, truth), pair.fixed.masks[n]) for n in staying]
    assert len(scores) >= 1
    assert min(scores) > 0.8
    assert np.mean(scores) > 0.88


def test_identity_scores_are_those_of_unregistered_patients(small_pairs: list[Pair]) -> None:
    """Means over ten patients: organ Dice about .63, lesion Dice about .1, landmarks about 30 mm apart."""
    organs, lesions, distances = [], [], []
    for p in small_pairs:
        score = {n: dice(on_fixed(m, p), p.fixed.masks[n]) for n, m in p.moving.masks.items() if n in p.fixed.masks}
        organs.append(np.mean([score["brain"], score["bladder"]]))
        lesions.append(np.mean([score[name] for name in persisting(p)]))
        distances.append(np.linalg.norm(p.landmarks.moving - p.landmarks.fixed, axis=1).mean())
    assert 0.5 < np.mean(organs) < 0.7
    assert 0.03 < np.mean(lesions) < 0.2
    assert 25.0 < np.mean(distances) < 35.0


# ----- the lesions


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_any_patient_has_8_to_25_disjoint_lesions_of_every_fate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anatomy = make_anatomy(rng)
    lesions = make_lesions(anatomy, rng)
    assert 8 <= len(lesions) <= 25
    assert {lesion.fate for lesion in lesions} == set(FATES)
    directions = rng.normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    balls = directions * rng.uniform(size=(2000, 1)) ** (1 / 3)
    solids = [s for lesion in lesions for s in (lesion.at_baseline(), lesion.at_followup()) if s is not None]
    for solid in solids:
        points = solid.centre + balls * 1.3 * solid.radii.max()
        points = points[solid.contains(points)]
        assert anatomy.body.contains(points).all()
        assert not any(organ.contains(points).any() for organ in anatomy.organs.values())
        others = [other for other in solids if not np.array_equal(other.centre, solid.centre)]
        assert not any(other.contains(points).any() for other in others)


def test_each_fate_does_what_it_says(pair: Pair) -> None:
    seen = set()
    for lesion in pair.lesions:
        before = pair.moving.masks.get(lesion.name)
        after = pair.fixed.masks.get(lesion.name)
        if lesion.fate == "vanish":
            assert before is not None
            assert before.any()
            assert after is None
        elif lesion.fate == "appear":
            assert before is None
            assert after is not None
            assert after.any()
        else:
            assert before is not None
            assert after is not None
            at = pair.motion.inverse(lesion.centre[None])
            growth = after.sum() / before.sum() * np.linalg.det(pair.motion.jacobian(at))[0]
            low, high = {"shrink": (0.1, 0.75), "stay": (0.8, 1.25), "grow": (1.4, 10.0)}[lesion.fate]
            assert low < growth < high, (lesion.name, lesion.fate, growth)
        seen.add(lesion.fate)
    assert seen == set(FATES)


def test_lesions_are_seen_where_and_when_they_are(pair: Pair) -> None:
    for lesion in pair.lesions:
        place = pair.motion.inverse(lesion.centre[None])[0]
        for exam, point, suv, there in (
            (pair.moving, lesion.centre, lesion.baseline_suv, lesion.fate != "appear"),
            (pair.fixed, place, lesion.followup_suv, lesion.fate != "vanish"),
        ):
            index = np.rint((point - exam.grid.origin) / exam.grid.spacing).astype(int)
            value = exam.image[tuple(index[::-1])]
            assert 4.0 <= suv <= 15.0
            if there:
                # A radius of 6 mm leaves about half of the uptake at this resolution and voxel size.
                assert 0.4 * suv < value < 1.4 * suv
                assert exam.masks[lesion.name][tuple(index[::-1])]


def test_a_vanished_lesion_leaves_healthy_tissue(pair: Pair) -> None:
    """Other lesions may be near, and organs hot: most of the vanished lose most of their uptake."""
    kept = []
    for lesion in pair.lesions:
        if lesion.fate == "vanish":
            place = pair.motion.inverse(lesion.centre[None])[0]
            index = np.rint((place - pair.fixed.grid.origin) / pair.fixed.grid.spacing).astype(int)
            kept.append(pair.fixed.image[tuple(index[::-1])] / lesion.baseline_suv)
    assert np.median(kept) < 0.5


def test_masks_of_one_examination_do_not_overlap(small_pairs: list[Pair], pair: Pair) -> None:
    for p, side in itertools.product([pair, *small_pairs], ("fixed", "moving")):
        assert np.sum(list(getattr(p, side).masks.values()), axis=0).max() == 1


# ----- the landmarks


def test_landmarks_correspond_exactly_and_lie_in_the_fixed_image(small_pairs: list[Pair]) -> None:
    for p in small_pairs:
        marks = p.landmarks
        assert len(set(marks.names)) == len(marks.names) == len(marks.fixed) == len(marks.moving)
        assert len(marks.names) >= 30
        np.testing.assert_array_equal(p.true_transform(marks.fixed), marks.moving)
        first = np.array(p.fixed.grid.origin)
        last = first + p.fixed.grid.spacing * (np.array(p.fixed.grid.shape[::-1]) - 1)
        assert ((marks.fixed > first) & (marks.fixed < last)).all()
        assert set(persisting(p)) <= set(marks.names)


def test_landmarks_are_at_the_organs(small_pairs: list[Pair]) -> None:
    for p in small_pairs:
        marks = dict(zip(p.landmarks.names, p.landmarks.fixed, strict=True))
        for organ in ("brain", "bladder"):
            voxels = p.fixed.grid.centres()[p.fixed.masks[organ]]
            assert np.linalg.norm(voxels.mean(axis=0) - marks[f"{organ} centre"]) < 12.0
            assert (voxels.min(axis=0) - 15.0 < marks[f"{organ} left"]).all()
            assert (marks[f"{organ} left"] < voxels.max(axis=0) + 15.0).all()


# ----- the scanner


def empty_texture() -> Texture:
    return Texture(np.zeros((1, 3)), np.full(1, np.pi / 2))


def ball(radius: float, suv: float) -> Scene:
    solid = Ellipsoid(np.array([1.3, -0.7, 2.1]), np.full(3, radius))
    return Scene([Part(Tissue("ball", suv, 0.0), solid)], empty_texture())


def test_partial_volume_keeps_the_total_activity() -> None:
    grid = Grid((21, 23, 25), 5.0, (-60.0, -55.0, -50.0))
    activity = expose(ball(20.0, 3.0), grid, Motion(()))
    assert activity.sum() * 5.0**3 == pytest.approx(3.0 * 4 / 3 * np.pi * 20.0**3, rel=0.02)
    assert len(np.unique(activity)) == 9  # two samples per axis: nought to eight eighths


def test_bricks_cover_each_voxel_once_with_its_own_points() -> None:
    grid = Grid((9, 17, 8), 3.0, (1.0, 2.0, 3.0))
    image = np.full((*grid.shape, 3), np.nan)
    for block, points in grid.bricks(1):
        assert np.isnan(image[block]).all()
        image[block] = points
    np.testing.assert_array_equal(image, grid.centres())


@pytest.mark.parametrize("fwhm", [5.0, 7.0])
def test_a_point_source_is_as_wide_as_the_scanner_says(fwhm: float) -> None:
    activity = np.zeros((41, 41, 41))
    activity[20, 20, 20] = 1000.0
    image = scan(activity, 1.0, fwhm, 0.0, np.random.default_rng(0))
    profile, x = image[20, 20].astype(float), np.arange(41)
    deviation = np.sqrt((profile * (x - 20) ** 2).sum() / profile.sum())
    assert 2.3548 * deviation == pytest.approx(fwhm, rel=0.05)


def noise_of(suv: float, spacing: float) -> np.ndarray:
    flat = np.full((40, 40, 40), suv)
    return scan(flat, spacing, 6.0, 0.03, np.random.default_rng(1)).astype(float) - suv


def test_noise_is_as_smooth_as_the_filter() -> None:
    noise = noise_of(4.0, 2.0)
    sigma = 0.6 * 6.0 / 2.3548
    expected = np.exp(-(2.0**2) / (4.0 * sigma**2))
    assert np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1] == pytest.approx(expected, abs=0.03)


def test_noise_grows_with_the_root_of_activity() -> None:
    low, high = noise_of(1.0, 3.0), noise_of(16.0, 3.0)
    assert abs(low.mean()) < 0.01
    assert high.std() / low.std() == pytest.approx(4.0, rel=0.05)


def test_noise_falls_with_voxel_volume_until_the_filter_takes_over() -> None:
    # Far coarser than the filter, each voxel is on its own: eight times the volume, √8 times less noise.
    assert noise_of(4.0, 20.0).std() / noise_of(4.0, 40.0).std() == pytest.approx(np.sqrt(8.0), rel=0.05)


# ----- the files


def test_the_files_are_there_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES


def test_images_are_read_back_with_their_geometry(pair: Pair, folder: Path) -> None:
    for name, exam in (("fixed", pair.fixed), ("moving", pair.moving)):
        image = sitk.ReadImage(str(folder / f"{name}.nii.gz"))
        assert image.GetPixelID() == sitk.sitkFloat32
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), exam.image)
        np.testing.assert_allclose(image.GetOrigin(), exam.grid.origin, atol=1e-3)
        np.testing.assert_allclose(image.GetSpacing(), 6.0, rtol=1e-6)
        np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-9)


def test_segmentations_hold_the_masks_by_name_and_role(pair: Pair, folder: Path) -> None:
    for segmentation, exam in zip(segmentations(folder), (pair.fixed, pair.moving), strict=True):
        assert [s.name for s in segmentation.segments][:2] == ["brain", "bladder"]
        assert {s.name for s in segmentation.segments} == set(exam.masks)
        for segment in segmentation.segments:
            np.testing.assert_array_equal(segment.mask, exam.masks[segment.name])
            assert segment.role == ("organ" if segment.name in ("brain", "bladder") else "lesion")
    fixed, moving = ({s.name for s in segmentation.segments} for segmentation in segmentations(folder))
    assert moving - fixed == {x.name for x in pair.lesions if x.fate == "vanish"}
    assert fixed - moving == {x.name for x in pair.lesions if x.fate == "appear"}


def test_landmarks_and_lesions_are_written_as_they_are(pair: Pair, folder: Path) -> None:
    with (folder / "landmarks.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["name"] for row in rows) == pair.landmarks.names
    for side in ("fixed", "moving"):
        points = np.array([[float(row[f"{side}_{axis}"]) for axis in "xyz"] for row in rows])
        np.testing.assert_array_equal(points, getattr(pair.landmarks, side))
    lesions = json.loads((folder / "lesions.json").read_text(encoding="utf-8"))
    assert [(x["name"], x["fate"]) for x in lesions] == [(x.name, x.fate) for x in pair.lesions]
    for lesion in lesions:
        assert (lesion["moving"] is None) == (lesion["fate"] == "appear")
        assert (lesion["fixed"] is None) == (lesion["fate"] == "vanish")
        if lesion["moving"] and lesion["fixed"]:
            mapped = pair.true_transform(np.array(lesion["fixed"]["centre_mm"]))
            np.testing.assert_allclose(mapped, lesion["moving"]["centre_mm"], atol=1e-6)
    parameters = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    assert parameters["seed"] == 0
    assert parameters["motion"][0]["step"] == "Reposition"


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(phantom_files, "_write_landmarks", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_pair(make_pair(16.0, 0), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_pairs_get_folders_and_seeds_of_their_own(tmp_path: Path) -> None:
    told: list[Path] = []
    folders = write_pairs(tmp_path, 2, 16.0, 5, told.append)
    assert folders == told == [tmp_path / "pair-001", tmp_path / "pair-002"]
    for place, seed in zip(folders, (5, 6), strict=True):
        assert {path.name for path in place.iterdir()} == FILES
        assert json.loads((place / "phantom.json").read_text(encoding="utf-8"))["seed"] == seed


def test_several_pairs_alternate_between_two_scanners_that_a_table_tells_apart(tmp_path: Path) -> None:
    folders = write_pairs(tmp_path, 3, 16.0, 5)
    lines = (tmp_path / "pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == ["pair_id\tcentre", "pair-001\tA", "pair-002\tB", "pair-003\tA"]
    made = [json.loads((place / "phantom.json").read_text(encoding="utf-8")) for place in folders]
    assert made[0]["spacing_mm"] == made[2]["spacing_mm"] == 16.0
    assert made[1]["spacing_mm"] > 16.0
    for setting in ("fwhm_mm", "noise"):
        assert made[0][setting] == made[2][setting] < made[1][setting]


def test_the_first_scanner_is_the_one_that_a_single_pair_has(tmp_path: Path) -> None:
    write_pairs(tmp_path / "one", 1, 16.0, 5)
    write_pairs(tmp_path / "more", 2, 16.0, 5)
    write_pairs(tmp_path / "same", 2, 16.0, 5, scanners=SCANNERS[:1])
    for name in ("fixed.nii.gz", "landmarks.csv", "phantom.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "more" / "pair-001" / name).read_bytes()
    first = make_pair(16.0, 6).fixed.image
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "same" / "pair-002" / "fixed.nii.gz")))
    np.testing.assert_array_equal(again, first)


def test_one_pair_goes_into_the_folder_itself(tmp_path: Path) -> None:
    assert write_pairs(tmp_path / "new", 1, 16.0, 0) == [tmp_path / "new"]
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES
