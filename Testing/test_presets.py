"""Settings: every preset there, every bad value refused with a sentence."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrba import schedule
from mirrba.errors import InputError
from mirrba.presets import PRESETS, Config, resolve

PAPERS = [
    "mirrba", "mirrba-depth-1", "mirrba-depth-2", "mirrba-depth-4", "mirrba-level-1", "mirrba-level-2", "mirrba-max",
    "mirrba-up", "mirrba-def-conv", "mirrba-wo-rb", "mirrba-wo-regu", "mirrba-wo-archi", "mirrba-depth-4-max-up",
]  # fmt: skip


def test_every_preset_of_the_paper_and_ours_exists():
    assert set(PRESETS) == {*PAPERS, "default", "fast"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_resolves_to_itself(name):
    assert resolve(name) == PRESETS[name].config
    assert resolve(name).preset == name


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_presets_keep_the_papers_values(name):
    config = resolve(name)
    assert not config.pair_input
    assert (config.init, config.start) == ("none", ())
    if name != "mirrba-wo-regu":
        assert (config.smooth, config.diffeo) == (0.1, 1.0)


def test_on_a_gpu_the_papers_schedule_rate_and_grid_are_used():
    assert schedule.iterations_for(resolve("mirrba"), "cuda") == (1000, 1000, 2000)
    assert schedule.learning_rate_for(resolve("mirrba"), (1000, 1000, 2000)) == 1e-4
    assert schedule.iterations_for(resolve("mirrba-depth-4"), "cuda") == (1000, 1000, 1000, 2000)
    assert schedule.spacing_for(resolve("mirrba"), "cuda", lambda spacing: round((800 / spacing) ** 3), 1.0) == 4.0


def test_on_a_cpu_a_networks_grid_is_coarser_but_never_finer_than_the_image():
    def voxels_at(spacing):
        return round(480 * 300 * 900 / spacing**3)

    spacing = schedule.spacing_for(resolve("mirrba"), "cpu", voxels_at, 2.0)
    assert voxels_at(spacing) <= schedule.CPU_VOXELS < voxels_at(spacing - schedule.ROUNDING)
    assert schedule.spacing_for(resolve("mirrba"), "cpu", lambda spacing: 10, 5.0) == 5.0


def test_the_descent_alone_works_on_a_finer_grid_while_the_voxels_suffice():
    assert schedule.spacing_for(resolve("default"), "cpu", lambda spacing: 10, 8.0) == 6.0
    assert schedule.spacing_for(resolve("default"), "cpu", lambda spacing: round((600 / spacing) ** 3), 5.0) == 4.5
    assert schedule.spacing_for(resolve("fast"), "cpu", lambda spacing: round((600 / spacing) ** 3), 5.0) == 6.25
    assert schedule.spacing_for(resolve("default", stop_level=None), "cpu", lambda spacing: 10, 8.0) == 8.0


def test_a_descent_after_the_finest_network_does_not_make_its_grid_finer():
    network = schedule.voxel_limit(resolve("mirrba"), "cpu")
    assert schedule.voxel_limit(resolve("mirrba", finish="50"), "cpu") == network
    assert schedule.voxel_limit(resolve("mirrba", stop_level=2, finish="50"), "cpu") == schedule.CPU_VOXELS_DESCENT


def test_a_schedule_that_is_short_takes_longer_steps():
    config = resolve("mirrba")
    stopped = resolve("mirrba", stop_level=1, iterations="50,50,2000")
    assert schedule.learning_rate_for(stopped, stopped.iterations) == 1e-3
    assert schedule.learning_rate_for(config, schedule.iterations_for(config, "cpu")) == 1e-3
    assert schedule.learning_rate_for(resolve("mirrba", learning_rate="3e-4"), (1000, 1000, 2000)) == 3e-4


def test_on_a_fine_grid_the_window_has_as_many_millimetres():
    default = resolve("default")
    assert schedule.window_for(default, 6.0) == schedule.window_for(default, 24.0) == default.window == 7
    for spacing in (5.25, 4.5, 3.0, 2.25):
        ours = schedule.window_for(default, spacing)
        assert ours % 2 == 1
        assert 7 * 6.0 - 2 * spacing < ours * spacing <= 7 * 6.0
    assert schedule.window_for(default, 0.5) == schedule.WIDEST
    assert schedule.window_for(resolve("fast", window="15"), 8.0) == 15


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fast_has_two_fifths_of_the_voxels_of_default(device):
    """In quarters of a millimetre; a body of 400 × 400 × 1500 mm, of voxels finer than either may have."""
    grids = []
    for preset in ("default", "fast"):
        spacing = schedule.spacing_for(resolve(preset), device, lambda s: round(400 * 400 * 1500 / s**3), 1.5)
        grids.append(400 * 400 * 1500 / spacing**3)
    assert grids[1] == pytest.approx(0.4 * grids[0], rel=0.15)
    assert schedule.voxel_limit(resolve("fast"), device) == 0.4 * schedule.voxel_limit(resolve("default"), device)


@pytest.mark.parametrize("preset", PAPERS)
def test_every_preset_has_a_schedule_of_its_depth_on_a_cpu(preset):
    config = resolve(preset)
    assert len(schedule.iterations_for(config, "cpu")) == config.depth


def test_texts_from_a_command_line_become_their_types():
    config = resolve("mirrba", iterations="10,20,30", spacing="4.5", seed="7", residual="no", stop_level="2")
    assert config.iterations == (10, 20, 30)
    assert (config.spacing, config.seed, config.residual, config.stop_level) == (4.5, 7, False, 2)
    assert resolve("mirrba-level-1", stop_level="none").stop_level is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("depth", 0), ("depth", 5), ("depth", "deep"), ("depth", 2.5), ("depth", True), ("stop_level", 9),
        ("down", "avg"), ("up", "nearest"), ("spacing", 0), ("spacing", "fine"), ("spacing", float("nan")),
        ("spacing", -3), ("iterations", "10"), ("iterations", "1,2,-3"), ("iterations", "1,2,x"),
        ("learning_rate", 0), ("smooth", -1), ("diffeo", float("nan")), ("freeze", 2), ("seed", -1),
        ("residual", "perhaps"), ("init", 3), ("start", "1,1,1,1,1"), ("window", 8), ("window", "7,9"),
        ("voxel_share", 0), ("voxel_share", 0.05),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_a_sentence(setting, value):
    with pytest.raises(InputError, match=setting):
        resolve("mirrba", **{setting: value})


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="choose one of: default, fast"):
        resolve("best")
    with pytest.raises(InputError, match="no setting 'lambda'"):
        resolve("mirrba", **{"lambda": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("iterations", "1,1,1"), ("learning_rate", 1e-3), ("smooth", 5), ("diffeo", 0), ("freeze", 0), ("depth", 2),
     ("architecture", False), ("pair_input", True), ("deformable", True), ("residual", False), ("down", "max")],
)  # fmt: skip
def test_settings_without_effect_are_refused(name, value):
    with pytest.raises(InputError, match=f"Setting '{name}' is the network's"):
        resolve("fast", **{name: value})
    resolve("fast", **{name: getattr(resolve("fast"), name)})
    assert resolve("fast", stop_level=None, **{name: value}).preset == "fast"


def test_a_setting_without_effect_is_refused_before_its_value():
    with pytest.raises(InputError, match="Setting 'iterations' is the network's"):
        resolve("fast", iterations="5")


def test_a_start_without_anything_to_do_is_refused():
    with pytest.raises(InputError, match="nothing to optimise"):
        resolve("fast", start="0,0")


def test_nothing_to_optimise_is_refused():
    with pytest.raises(InputError, match="nothing to optimise"):
        resolve("mirrba", stop_level=0)


FIELDS = [name for name in Config.__dataclass_fields__ if name != "preset"]
JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers() | st.text())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines stall
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_settings_resolve_or_raise_an_input_error(changes):
    try:
        config = resolve("mirrba", **changes)
    except InputError:
        return
    assert isinstance(config, Config)
