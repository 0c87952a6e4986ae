"""What the scripts in benchmarks/ measure does run: they are started by hand, so a broken one would be noticed late."""

import importlib
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from mirrba.experiment.cohort import read_cohort
from mirrba.phantom import write_pairs

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in set(SCRIPTS) & set(sys.modules):
        del sys.modules[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_pairs(folder, 2, 16.0, 0)
    return folder


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_can_be_started(script, name):
    script(name)


@pytest.mark.parametrize("preset", ["mirrba", "mirrba-depth-1", "mirrba-depth-4", "default"])
def test_the_cost_of_an_iteration_is_measured_for_every_kind_of_preset(script, preset):
    found = script("cost").measure(preset, 16, "cpu", 2)
    assert found["seconds_per_iteration"]
    assert all(seconds > 0 for seconds in found["seconds_per_iteration"].values())


def test_a_child_that_fails_otherwise_than_for_want_of_memory_ends_the_script(script):
    with pytest.raises(SystemExit, match="There is no preset 'none-such'"):
        script("cost").in_own_process("none-such", 16, "cpu", 1)


@pytest.mark.parametrize("part", ["network", "descent"])
def test_operations_are_told_apart_as_they_are_and_plain(script, part):
    operations = script("operations")
    work = partial(getattr(operations, part), *torch.rand(2, 1, 1, 16, 16, 16))
    ours = operations.by_operation(work, False)["percent"]
    with operations.plainly():
        plain = operations.by_operation(work, False)["percent"]
    assert "aten::convolution_backward" in plain
    assert ("aten::convolution_backward" in ours) == (part == "network")
    found = operations.roofline(work, {"flop_per_s": 1e9, "bytes_per_s": 1e9}, torch.device("cpu"))
    assert found["gigabytes"] > 0
    assert (found["gigaflop"] > 0) == (part == "network")


def test_lncc_is_compared_with_float64(script):
    found = script("lncc").compare(12, 5, "cpu", 1)
    assert max(found["ours_error"], found["convolution_error"]) < 1e-4


def test_what_is_asked_of_a_gpu_runs_on_a_cpu(script, made, monkeypatch):
    device = script("device")
    monkeypatch.setattr(device.schedule, "PAPER_ITERATIONS", 1)
    monkeypatch.setattr(device.schedule, "PAPER_FINEST", 1)
    assert set(device.whole_schedule(16, "cpu")["levels"]) == {f"level {k} of 3" for k in (1, 2, 3)}
    assert device.registered("fast", made, "cpu")["dice_organs"] > 0.5


def test_every_variant_of_the_ablation_registers(script, made, monkeypatch):
    ablation = script("ablation")
    pair = read_cohort(made).pairs[0]
    for variant, (preset, settings, replaced) in ablation.VARIANTS.items():
        few = {name: (1,) * len(counts) for name, counts in settings.items() if name in ("start", "finish")}
        if preset.startswith("mirrba"):
            few["iterations"] = (1, 1, 1, 1)
        elif not few:
            few["start"] = (1, 1, 1, 1)
        if "init" not in settings:
            few["init"] = "none"
        monkeypatch.setitem(ablation.VARIANTS, variant, (preset, {**settings, "spacing": 32.0, **few}, replaced))
        assert ablation.scores_of(pair, variant)["tre_mm"] > 0
