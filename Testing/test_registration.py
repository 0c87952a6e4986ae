"""register() on pairs whose deformation is known."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import SimpleITK as sitk
from hostile import body
from mirrba import Cancelled, InputError, fields, initialise, losses, metrics, progress, register, schedule
from mirrba.geometry import Geometry
from mirrba.images import Prepared
from mirrba.presets import PRESETS, resolve
from mirrba.segments import read_segmentation

FAST = resolve("fast", device="cpu")
VOXEL = 12.0  # mm, of the pair
TURN = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.25, -0.15, 0.35)


def in_another_frame(image: sitk.Image) -> sitk.Image:
    """The same image with the patient turned in space: oblique direction cosines, another origin."""
    turned = sitk.Image(image)
    turned.SetOrigin(TURN.TransformPoint(image.GetOrigin()))
    matrix = np.reshape(TURN.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))
    turned.SetDirection(matrix.ravel().tolist())
    return turned


@pytest.fixture(scope="module")
def pair(pair_folder):
    return tuple(sitk.ReadImage(str(pair_folder / f"{name}.nii.gz"), sitk.sitkFloat32) for name in ("fixed", "moving"))


@pytest.fixture(scope="module")
def result(pair):
    return register(*pair, FAST)


def test_the_provenance_tells_the_whole_initial_transform_and_nothing_is_kept_of_the_grids(result):
    told = result.provenance["initial_transform"]
    again = sitk.AffineTransform(3)
    again.SetFixedParameters(told["fixed_parameters"])
    again.SetParameters(told["parameters"])
    for point in ((0.0, 0.0, 0.0), (50.0, 60.0, -400.0)):
        assert np.allclose(again.TransformPoint(point), result._initial.TransformPoint(point))
    assert fields.unit_grid.cache_info().currsize == 0


def body_points(registration, count=300) -> np.ndarray:
    """Points (LPS mm) of the fixed body."""
    indices = np.argwhere(registration.body)
    picked = np.random.default_rng(0).choice(indices, count, replace=False)[:, ::-1]
    return np.array([registration.fixed.point(index) for index in picked])


def mapped(transform, points) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def mean_distance(a, b) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


def test_the_known_deformation_of_a_phantom_is_recovered(pair_folder, result):
    landmarks = metrics.read_landmarks(pair_folder / "landmarks.csv")
    before = metrics.landmark_error_mm(sitk.Transform(3, sitk.sitkIdentity), landmarks)
    after = metrics.landmark_error_mm(result.transform, landmarks)
    assert before > 15
    assert after < 5  # voxels are 12 mm


def test_lesions_and_organs_come_to_lie_on_each_other(pair_folder, result):
    fixed, moving = (read_segmentation(pair_folder / f"{name}_segmentation.seg.nrrd") for name in ("fixed", "moving"))
    before = metrics.evaluate(fixed, moving.onto(fixed.geometry), moving)
    after = metrics.evaluate(fixed, moving.warp(result.transform, result.fixed), moving, jacobian=result.jacobian())
    assert after["dice_organs"] > 0.8 > before["dice_organs"]
    assert after["dice_lesions"] > before["dice_lesions"] + 0.3
    assert after["folding_fraction"] == 0


def test_labels_are_warped_as_simpleitk_resamples_them(pair, result):
    labels = sitk.Cast(pair[1] > 1, sitk.sitkUInt8)
    expected = sitk.Resample(labels, pair[0], result.transform, sitk.sitkNearestNeighbor)
    assert sitk.Hash(result.warp_labels(labels)) == sitk.Hash(expected)


HOT_CENTRE, HOT_RADII = np.array([138.0, 98.0, 118.0]), np.array([40.0, 34.0, 30.0])  # mm


def with_hot_organ(uptake: float) -> sitk.Image:
    """A body of uptake 0.7 to 1.3 with an ellipsoid in it, blurred as by a scanner (7 mm FWHM)."""
    z, y, x = np.meshgrid(*(4.0 * np.arange(n) for n in (60, 50, 70)), indexing="ij")
    values = 1 + 0.3 * np.sin(x / 25) * np.sin(y / 20) * np.sin(z / 22)
    values[((x - 138) / 120) ** 2 + ((y - 98) / 80) ** 2 >= 1] = 0
    values[(z < 8) | (z > 228)] = 0
    distance = (np.stack([x, y, z], axis=-1) - HOT_CENTRE) / HOT_RADII
    values[np.linalg.norm(distance, axis=-1) < 1] = uptake
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    return sitk.DiscreteGaussian(image, 9.0)


def test_the_affine_start_neither_mirrors_nor_stretches_what_is_alike_along_an_axis(caplog):
    """Correlation does not know the scale along it, and has gone through zero."""
    pair = [Prepared.of(with_hot_organ(uptake), "body") for uptake in (12.0, 30.0)]
    start = initialise.initial_transform("affine", *pair)
    corners = np.array(list(itertools.product((0.0, 276.0), (0.0, 196.0), (8.0, 228.0))))
    assert mean_distance(mapped(start, corners), corners) < 2
    assert "stayed rigid" in caplog.text


@pytest.mark.parametrize("frame", ["straight", "oblique"])
def test_the_transform_resamples_to_the_warped_volume_after_its_file(pair, tmp_path, frame):
    fixed, moving = pair if frame == "straight" else map(in_another_frame, pair)
    registration = register(fixed, moving, resolve("fast", device="cpu", start="20,10"))
    sitk.WriteTransform(registration.transform, str(tmp_path / "transform.h5"))
    sitk.WriteImage(registration.warp(moving), str(tmp_path / "warped.nii.gz"))
    warped = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "warped.nii.gz")))
    again = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, sitk.ReadTransform(str(tmp_path / "transform.h5"))))
    assert np.abs(warped - again).max() < 1e-3 * np.ptp(warped)


def test_a_turned_pair_is_registered_as_the_straight_one(pair, result):
    turned = register(*map(in_another_frame, pair), FAST)
    points = body_points(result)
    expected = mapped(TURN, mapped(result.transform, points))
    assert mean_distance(mapped(turned.transform, mapped(TURN, points)), expected) < 2.0


def test_flipped_axes_change_nothing(pair, result):
    flipped = [sitk.Flip(image, [True, False, True]) for image in pair]
    other = register(*flipped, FAST)
    points = body_points(result)
    assert mean_distance(mapped(other.transform, points), mapped(result.transform, points)) < 2.0


def test_forward_then_inverse_returns_points_to_within_half_a_voxel(result):
    points = body_points(result)
    there_and_back = mapped(result.inverse(), mapped(result.transform, points))
    assert np.linalg.norm(there_and_back - points, axis=1).max() < 0.5 * min(result.fixed.spacing)


def test_itk_prints_nothing_of_fields_of_view_that_lie_apart(pair, capfd):
    sitk.ProcessObject.SetGlobalWarningDisplay(True)  # as it is in a new process
    away = sitk.Image(pair[1])
    away.SetOrigin([start + 3000.0 for start in away.GetOrigin()])
    register(pair[0], away, resolve("fast", device="cpu", spacing=24, start="2,2"))
    assert capfd.readouterr() == ("", "")
    assert sitk.ProcessObject.GetGlobalWarningDisplay()


def test_swapping_fixed_and_moving_gives_roughly_the_inverse(pair, result):
    swapped = register(pair[1], pair[0], FAST)
    points = body_points(result)
    assert mean_distance(mapped(swapped.transform, mapped(result.transform, points)), points) < 6.0  # half a voxel


@pytest.mark.parametrize("preset", ["default", "fast", "mirrba-depth-1"])
def test_an_identical_pair_gives_a_field_under_a_fifth_of_a_voxel(pair, preset):
    changes = {"iterations": "5"} if preset == "mirrba-depth-1" else {}
    registration = register(pair[0], pair[0], resolve(preset, device="cpu", **changes))
    points = body_points(registration)
    moved = np.linalg.norm(mapped(registration.transform, points) - points, axis=1)
    assert moved.max() < 0.2 * registration.provenance["spacing_mm"]


def test_a_known_affine_is_recovered(pair):
    fixed = pair[0]
    affine = sitk.AffineTransform(3)
    affine.SetCenter(Geometry.from_image(fixed).point([n / 2 for n in fixed.GetSize()]))
    affine.Rotate(0, 1, 0.08)
    affine.Scale((1.04, 0.97, 1.02))
    affine.SetTranslation((15.0, -8.0, 20.0))
    moving = sitk.Resample(fixed, fixed, affine.GetInverse())  # moving(affine(p)) = fixed(p)
    registration = register(fixed, moving, FAST)
    points = body_points(registration)
    inside = [moving.TransformPhysicalPointToIndex(p) for p in mapped(affine, points).tolist()]
    kept = np.array([all(0 <= i < n for i, n in zip(index, moving.GetSize(), strict=True)) for index in inside])
    assert mean_distance(points, mapped(affine, points)) > 20
    assert mean_distance(mapped(registration.transform, points[kept]), mapped(affine, points[kept])) < 3.0


def test_two_runs_give_the_same_bytes(pair):
    config = resolve("mirrba-depth-2", device="cpu", spacing=20, iterations="4,3", seed=5, init="rigid", start="3,3")
    fields = [sitk.GetArrayFromImage(_field(register(*pair, config))) for _ in range(2)]
    assert fields[0].tobytes() == fields[1].tobytes()


def test_another_seed_gives_another_field(pair):
    fields = [
        sitk.GetArrayFromImage(
            _field(register(*pair, resolve("mirrba-depth-1", device="cpu", spacing=20, iterations="5", seed=seed)))
        )
        for seed in (0, 1)
    ]
    assert fields[0].tobytes() != fields[1].tobytes()


def _field(registration) -> sitk.Image:
    grid = registration.fixed
    return sitk.TransformToDisplacementField(
        registration.transform, sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction
    )


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "mirrba-def-conv"])
def test_every_preset_runs_and_lowers_its_loss(pair, preset):
    config = resolve(preset)
    start, finish = (tuple(4 for _ in counts) for counts in (config.start, config.finish))
    changes = {"start": start, "finish": finish}
    if config.stop_level != 0:
        changes |= {"iterations": (6,) * config.depth, "learning_rate": 3e-3}
    registration = register(*pair, resolve(preset, device="cpu", spacing=18, **changes))
    stages = {entry["stage"]: entry["loss"] for entry in registration.history}
    run = config.depth if config.stop_level is None else config.stop_level
    assert len(stages) == (len(start) + len(finish)) + run
    # The coarsest level has the most to gain; the descent without network has it on the finest.
    losses = stages.get(f"level 1 of {config.depth}") or registration.history[-1]["loss"]
    assert min(losses[1:]) < losses[0]


def test_on_a_fine_grid_the_descent_has_a_window_as_wide_as_on_a_coarse_one(pair, monkeypatch):
    monkeypatch.setattr(schedule, "WINDOW_SPACING", 48.0)  # to which 24 mm are fine
    compared = []
    similarity = losses.LocalInformation
    monkeypatch.setattr(losses, "LocalInformation", lambda *of: compared.append(of[1]) or similarity(*of))
    registration = register(*pair, resolve("default", device="cpu", spacing=24, start="2,2"))
    assert compared == [13, 13]
    assert registration.provenance["window"] == 13
    assert registration.provenance["learning_rate"] is None
    assert "2+2 iterations with window 13" in registration.provenance["plan"]


def test_deformable_convolutions_run_and_lower_their_loss(pair):
    config = resolve("mirrba-def-conv", device="cpu", spacing=30, iterations="2,2,4")
    registration = register(*pair, config)
    finest = registration.history[-1]["loss"]
    assert min(finest[1:]) < finest[0]


def test_the_network_recovers_the_deformation_without_any_start(pair_folder, pair):
    config = resolve("mirrba-depth-4-max-up", device="cpu", spacing=14, iterations="150,100,60,10")
    registration = register(*pair, config)
    landmarks = metrics.read_landmarks(pair_folder / "landmarks.csv")
    before = metrics.landmark_error_mm(sitk.Transform(3, sitk.sitkIdentity), landmarks)
    assert metrics.landmark_error_mm(registration.transform, landmarks) < before / 3
    assert metrics.evaluate(jacobian=registration.jacobian())["folding_fraction"] == 0


@pytest.mark.parametrize("init", ["none", "centre", "rigid", "affine"])
def test_every_initialisation_is_part_of_the_transform(pair, init):
    registration = register(*pair, resolve("fast", device="cpu", init=init, start="30,20"))
    points = body_points(registration)
    back = mapped(registration.inverse(), mapped(registration.transform, points))
    assert np.abs(back - points).max() < 0.5 * 12


@pytest.mark.parametrize("slices", [8, 20])
def test_a_thin_slab_is_brought_onto_the_whole_body_without_voxels_as_thin(slices):
    """3 mm each, so 24 and 60 mm; the body's own are 14 mm, so it is told along z to a part of one."""
    whole, thickness = body(seed=1), 3.0 * slices
    spacing, shrink = initialise.scales(thickness)
    assert spacing >= initialise.FINEST
    assert thickness / (spacing * shrink[0]) >= initialise.FEWEST
    grid = Geometry((60, 40, slices), (5.6, 5.6, 3.0), (0.0, 0.0, 330.0), tuple(np.eye(3).ravel()))
    slab = grid.resample(body(seed=2), sitk.TranslationTransform(3, (9.0, -6.0, 5.0)))
    found = initialise.initial_transform("rigid", Prepared.of(slab, "slab"), Prepared.of(whole, "body"))
    middle = (160.0, 110.0, 330.0 + thickness / 2)
    np.testing.assert_allclose(np.subtract(found.TransformPoint(middle), middle), (9.0, -6.0, 5.0), atol=3.0)


def test_a_given_transform_is_the_start(pair, pair_folder):
    """The truth as start: whatever is left to find must be small, and the file's field is in the result."""
    path = str(pair_folder / "true_transform.h5")
    registration = register(*pair, resolve("fast", device="cpu", init=path, start="5"))
    landmarks = metrics.read_landmarks(pair_folder / "landmarks.csv")
    assert metrics.landmark_error_mm(registration.transform, landmarks) < 3.0
    points = body_points(registration)
    back = mapped(registration.inverse(), mapped(registration.transform, points))
    assert np.linalg.norm(back - points, axis=1).max() < 0.5 * 12


def test_scanner_frames_far_apart_are_registered_and_a_second_run_can_start_from_the_first(pair, result, tmp_path):
    """Nothing overlaps as scanned. The second run's start is a composite of affine and field; its inverse too."""
    fixed, moving = pair
    far = sitk.Image(moving)
    far.SetOrigin(np.add(moving.GetOrigin(), (0.0, 100.0, 2500.0)).tolist())
    first = register(fixed, far, FAST)
    points = body_points(result)
    expected = mapped(result.transform, points) + np.array([0.0, 100.0, 2500.0])
    assert mean_distance(mapped(first.transform, points), expected) < 3.0
    sitk.WriteTransform(first.transform, str(tmp_path / "first.h5"))
    second = register(fixed, far, resolve("fast", device="cpu", init=str(tmp_path / "first.h5"), start="5,5"))
    back = mapped(second.inverse(), mapped(second.transform, points))
    assert np.linalg.norm(back - points, axis=1).max() < 0.5 * 12


def test_fields_of_view_that_overlap_partly_are_registered_where_they_overlap(pair, pair_folder):
    fixed, moving = pair
    half = moving[:, :, : moving.GetSize()[2] * 2 // 3]
    registration = register(fixed, half, resolve("fast", device="cpu", init="none", start="60,40,20"))
    top = half.TransformIndexToPhysicalPoint((0, 0, half.GetSize()[2] - 1))[2]
    landmarks = metrics.read_landmarks(pair_folder / "landmarks.csv")
    inside = landmarks.moving[:, 2] < top - 60
    error = mean_distance(mapped(registration.transform, landmarks.fixed[inside]), landmarks.moving[inside])
    assert inside.sum() > 10
    assert error < 0.5 * mean_distance(landmarks.fixed[inside], landmarks.moving[inside])


def a_limb(low: int, high: int, seed: int) -> sitk.Image:
    """Slices `low` to `high` of a tapering limb with a few hot spots; `seed` of the noise alone."""
    z, y, x = np.indices((90, 24, 24))
    values = np.where(np.hypot(x - 11.5, y - 11.5) < 9 - 0.03 * z, 1.0, 0.02)
    spots = np.random.default_rng(5)
    for _ in range(12):
        at = spots.uniform(20, 70), spots.uniform(8, 16), spots.uniform(8, 16)
        values += 3 * np.exp(-((z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2) / 4)
    values += np.random.default_rng(seed).normal(0, 0.08, values.shape)
    image = sitk.GetImageFromArray(values[low:high].astype(np.float32))
    image.SetSpacing((6.0, 6.0, 6.0))
    image.SetOrigin((0.0, 0.0, 6.0 * low))
    return image


def test_scans_that_end_at_other_places_of_the_body_are_not_pulled_end_to_end():
    """Nothing moved, but each scan misses 72 mm at one end. With air there, the lower end was pulled by 54 mm."""
    fixed, moving = a_limb(0, 78, seed=1), a_limb(12, 90, seed=2)
    found = register(fixed, moving, resolve("default", device="cpu", init="none", start="60,60,60,30"))
    error = np.linalg.norm(sitk.GetArrayFromImage(_field(found)), axis=-1)
    for end in (slice(0, 6), slice(-6, None)):
        assert error[end][found.body[end]].mean() < 6.0


def test_becquerel_and_suv_give_the_same_result(pair, result):
    """What is registered is the same to rounding, which the descent's last steps make a twentieth of a voxel of."""
    scaled = [pair[0] * 5000.0, pair[1] * 3000.0]
    for suv, becquerel in zip(pair, scaled, strict=True):
        seen = [sitk.GetArrayFromImage(Prepared.of(image, "volume").image) for image in (suv, becquerel)]
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
    other = register(*scaled, FAST)
    points = body_points(result)
    assert mean_distance(mapped(other.transform, points), mapped(result.transform, points)) < 0.1 * VOXEL


def test_progress_rises_and_knows_its_time(pair):
    events = []
    register(*pair, resolve("fast", device="cpu"), on_progress=events.append)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert {event.stage for event in events} == {"preparing", *(f"start {k} of 4" for k in (1, 2, 3, 4))}
    assert events[-1].remaining is not None
    assert "voxels of 9 mm" in events[-1].plan  # three quarters of the image's 12


def test_a_run_stops_when_asked(pair):
    seen = []
    with pytest.raises(Cancelled):
        register(*pair, FAST, on_progress=seen.append, should_stop=lambda: len(seen) >= 2)
    assert len(seen) == 2


SHORT = resolve("fast", device="cpu", start="20,10", finish="5,5")
WITH_START = resolve("mirrba-depth-2", device="cpu", spacing=16, init="affine", start="20,10", iterations="4,3")


@pytest.fixture
def every_preview(monkeypatch):
    monkeypatch.setattr(progress, "PREVIEW_INTERVAL", 0.0)


@pytest.mark.parametrize("config", [SHORT, WITH_START])
def test_the_last_preview_is_the_result_on_the_working_grid(pair, every_preview, config):
    """Resampled twice as in the preview: through the affine start onto the grid, then by what was found.

    At 12 mm the pair is not smoothed for the working grid. A preview goes on at the border, where SimpleITK has zeros.
    """
    previews = []
    registration = register(*pair, dataclasses.replace(config, spacing=12.0), on_preview=previews.append)
    grid = Geometry.from_image(previews[-1])
    assert list(grid.size) == registration.provenance["grid"]
    assert {image.GetPixelID() for image in previews} == {sitk.sitkFloat32}
    assert {Geometry.from_image(image) for image in previews} == {grid}
    start, found = (sitk.CompositeTransform(registration.transform).GetNthTransform(n) for n in range(2))
    started = grid.resample(sitk.Cast(pair[1], sitk.sitkFloat32), start)
    expected = sitk.GetArrayFromImage(grid.resample(started, found))
    body = sitk.GetArrayFromImage(grid.resample(registration.fixed.image(registration.body.astype(np.uint8)))) > 0

    def error(image) -> float:
        return float(np.abs(sitk.GetArrayFromImage(image) - expected)[body].mean() / expected[body].mean())

    assert error(previews[-1]) < 1e-5
    assert error(previews[-1]) < 0.5 * error(previews[0])


def test_previews_change_nothing(pair, every_preview):
    fields = [
        sitk.GetArrayFromImage(_field(register(*pair, WITH_START, on_preview=on_preview)))
        for on_preview in (None, lambda image: None)
    ]
    assert fields[0].tobytes() == fields[1].tobytes()


@pytest.fixture(scope="module")
def untouched(pair):
    """Kept before the first iteration."""
    return register(*pair, SHORT, should_keep=lambda: True)


@pytest.mark.parametrize(
    ("config", "stage"),
    [
        (SHORT, "start 1 of 2"),
        (SHORT, "finish 1 of 2"),
        (WITH_START, "start 1 of 2"),
        (WITH_START, "start 2 of 2"),
        (WITH_START, "level 1 of 2"),
        (WITH_START, "level 2 of 2"),
    ],
)
def test_what_has_been_found_so_far_is_kept(pair, pair_folder, untouched, config, stage):
    events, asked = [], []

    def should_keep() -> bool:
        if events[-1].stage == stage:
            asked.append(1)
        return len(asked) > 2

    registration = register(*pair, config, on_progress=events.append, should_keep=should_keep)
    assert registration.provenance["stopped_early"] is True
    assert registration.history[-1]["stage"] == stage
    assert len(registration.history[-1]["loss"]) <= 3
    assert metrics.evaluate(jacobian=registration.jacobian())["folding_fraction"] == 0
    landmarks = metrics.read_landmarks(pair_folder / "landmarks.csv")
    before = metrics.landmark_error_mm(untouched.transform, landmarks)
    assert metrics.landmark_error_mm(registration.transform, landmarks) < before
    points = body_points(registration)
    back = mapped(registration.inverse(), mapped(registration.transform, points))
    assert np.linalg.norm(back - points, axis=1).max() < 0.5 * 12


def test_kept_before_the_first_iteration_the_initial_transform_is_the_result(pair, pair_folder, result, untouched):
    assert (result.provenance["stopped_early"], untouched.provenance["stopped_early"]) == (False, True)
    assert untouched.history == []
    points = body_points(result)
    none = register(*pair, resolve("mirrba", device="cpu", spacing=12), should_keep=lambda: True)
    np.testing.assert_allclose(mapped(none.transform, points), points, atol=1e-6)
    path = pair_folder / "true_transform.h5"
    given = register(*pair, resolve("fast", device="cpu", init=str(path)), should_keep=lambda: True)
    truth = sitk.ReadTransform(str(path))
    np.testing.assert_allclose(mapped(given.transform, points), mapped(truth, points), atol=1e-6)


def test_kernels_are_compiled_while_the_volumes_are_aligned(pair, monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr("mirrba.direct.compile_ahead", lambda device: asked.set())

    def aligned(*arguments):
        assert asked.wait(60)  # for ever, if one waited for the other
        return initialise.initial_transform(*arguments)

    monkeypatch.setattr("mirrba.registration.initial_transform", aligned)
    register(*pair, dataclasses.replace(FAST, start=(1, 1)))


def test_bad_volumes_are_refused_by_their_role(pair):
    with pytest.raises(InputError, match=r"^moving volume: has 2 dimensions"):
        register(pair[0], pair[1][:, :, 5], FAST)
