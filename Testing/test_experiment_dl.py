"""The networks that are trained: their form, their folds, their checkpoints, and a whole cross-validation."""

import dataclasses
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import fields
from mirrba.errors import Cancelled, InputError, MirrbaError
from mirrba.experiment import cluster, learning, process, tables
from mirrba.experiment.backends import dl
from mirrba.experiment.backends.intensities import prepared
from mirrba.experiment.checkpoint import read_checkpoint, write_checkpoint
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.displacement import as_transform
from mirrba.experiment.folds import folds
from mirrba.experiment.learning import Example, example_of, network_of, train
from mirrba.experiment.methods import METHODS, Method, find
from mirrba.experiment.run_pair import run_pair
from mirrba.experiment.scoreboard import Scoreboard
from mirrba.experiment.store import Store, key_of
from mirrba.experiment.study import Study, run_study
from mirrba.experiment.task import Settings, Task
from mirrba.experiment.training import cross_validation, read_training, write_training
from mirrba.experiment.training import train as trained
from mirrba.experiment.voxelmorph import UNet
from mirrba.phantom import write_pairs

ONE = Settings(threads=1, device="cpu")
TRAINED = [method for method in METHODS.values() if method.trained]
each = pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> tuple[Pair, ...]:
    folder = tmp_path_factory.mktemp("cohort")
    write_pairs(folder, 2, 12.0, 3)
    return read_cohort(folder).pairs


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def network(method: Method, **changes) -> learning.Network:
    torch.manual_seed(0)
    return network_of(method.in_brief().changed(**changes).config, mixed=False)


def example(method: Method, pair: Pair) -> Example:
    return example_of(*pair.volumes(), method.in_brief().config)[0]


def named(count: int, centres: list[str | None]) -> list[Pair]:
    some = Path("x")
    return [Pair(f"pair-{n:03d}", some, some, some, some, centre=centres[n]) for n in range(count)]


# ----- the networks


def test_voxelmorph_has_the_published_number_of_parameters_and_one_vector_for_each_voxel():
    unet = UNet()
    assert sum(parameter.numel() for parameter in unet.parameters()) == 327_331
    assert unet(torch.rand(1, 2, 32, 16, 48)).shape == (1, 3, 32, 16, 48)


def test_lapirn_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in network(find("dl-lapirn")).parameters()) == 923_748


@each
def test_an_untrained_network_registers_nothing(method, pairs):
    """Less than a thousandth of a voxel."""
    seen = example(method, pairs[0])
    with torch.no_grad():
        displacement = network(method).displacement(seen)
    assert fields.shape_of(displacement) == fields.shape_of(seen.fixed)
    assert float(fields.to_voxels(displacement).abs().max()) < 1e-3


@each
def test_training_lowers_the_loss_on_what_it_was_trained_on(method, pairs):
    net, seen = network(method, learning_rate=1e-3), example(method, pairs[0])
    last = net.depth - 1
    with torch.no_grad():
        before = float(net.loss(last, seen, frozen=True))
    told = []
    history = train(net, [seen], 0, lambda *step: told.append(step))
    assert [len(losses) for losses in history] == list(method.in_brief().config["iterations"])
    assert [loss for _, _, loss in told] == [loss for losses in history for loss in losses]
    with torch.no_grad():
        assert float(net.loss(last, seen, frozen=True)) < before - 1e-3


def test_every_pair_is_seen_once_before_any_is_seen_again(pairs):
    method = find("dl-voxelmorph")
    seen = example(method, pairs[0])
    used = []

    class Watched(learning.VoxelMorph):
        def loss(self, stage: int, example: Example, frozen: bool) -> torch.Tensor:
            used.append(float(example.weight.flatten()[0]))
            return sum(parameter.sum() for parameter in self.parameters_of(stage))

    examples = [dataclasses.replace(seen, weight=torch.full((1, 1, 1, 1, 1), float(n))) for n in range(4)]
    train(Watched(learning.config_of(method.changed(iterations=[12]).config), False), examples, 0)
    rounds = [used[k : k + 4] for k in (0, 4, 8)]
    assert all(sorted(numbers) == [0, 1, 2, 3] for numbers in rounds)
    assert rounds[0] != rounds[1] or rounds[1] != rounds[2]


def test_lower_levels_stay_while_they_are_frozen(pairs):
    method = find("dl-lapirn")
    net, seen = network(method), example(method, pairs[0])
    with torch.no_grad():  # a head of almost zero gives the levels below almost no gradient
        for level in net.pyramid.levels:
            level.head[-1].weight.normal_(std=0.01)
    lower = net.parameters_of(1)
    net.loss(2, seen, frozen=True).backward()
    assert all(parameter.grad is None for parameter in lower)
    net.loss(2, seen, frozen=False).backward()
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in lower)


def test_a_training_that_diverges_says_so(pairs):
    method = find("dl-voxelmorph")
    net, seen = network(method), example(method, pairs[0])
    with pytest.raises(MirrbaError, match=r"diverged in stage 1 at step 1 .* use a smaller learning_rate"):
        train(net, [dataclasses.replace(seen, moving=seen.moving * torch.nan)], 0)


def test_settings_are_checked():
    method = find("dl-lapirn")
    for changes, expected in (
        ({"network": "magic"}, "no network 'magic'"),
        ({"iterations": [1]}, "3 numbers"),
        ({"spacing": None}, "'spacing'"),
        ({"smooth": -1}, "'smooth'"),
    ):
        with pytest.raises(InputError, match=expected):
            network_of(method.changed(**changes).config, mixed=False)
    with pytest.raises(InputError, match="no setting 'speed'"):
        method.changed(speed=2)


# ----- folds

cohorts = st.lists(st.sampled_from(["A", "B", "C", None]), min_size=2, max_size=40)


@settings(deadline=None)
@given(centres=cohorts, seed=st.integers(0, 2**32))
def test_folds_part_the_cohort_and_are_balanced(centres, seed):
    cohort = named(len(centres), centres)
    parts = folds(cohort, seed)
    assert len(parts) == min(5, len(cohort))
    assert Counter(pair.name for part in parts for pair in part) == Counter(pair.name for pair in cohort)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for centre in set(centres):
        counts = [sum(pair.centre == centre for pair in part) for part in parts]
        assert max(counts) - min(counts) <= 1
    assert folds(cohort[::-1], seed) == parts


@settings(deadline=None)
@given(centres=cohorts, seed=st.integers(0, 100))
def test_no_network_has_seen_the_pair_that_it_registers(centres, seed):
    cohort = named(len(centres), centres)
    found = cross_validation(cohort, find("dl-lapirn"), dataclasses.replace(ONE, seed=seed))
    assert set(found) == {pair.name for pair in cohort}
    for name, training in found.items():
        assert name not in training.names
        assert training.names
    assert {name for training in found.values() for name in training.names} == set(found)


def test_another_seed_gives_other_folds():
    cohort = named(20, ["A"] * 20)
    assert folds(cohort, 0) != folds(cohort, 1)


def test_one_pair_cannot_be_divided(pairs, store):
    with pytest.raises(InputError, match="at least two pairs"):
        folds(named(1, ["A"]), 0)
    with pytest.raises(InputError, match="at least two pairs"):
        cluster.stored(pairs[:1], TRAINED, ONE, store)


# ----- checkpoints


def test_weights_come_back(tmp_path):
    method = find("dl-voxelmorph")
    first = network(method)
    write_checkpoint(first, tmp_path / "c.pt")
    second = network_of(method.config, mixed=False)
    read_checkpoint(second, tmp_path / "c.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_is_none_is_refused_with_a_sentence(tmp_path):
    net, path = network(find("dl-voxelmorph")), tmp_path / "c.pt"

    def refused(expected: str) -> None:
        with pytest.raises(InputError, match=expected):
            read_checkpoint(net, path)

    refused("there is no such checkpoint")
    torch.save({"schema": 1, "network": "VoxelMorph", "weights": Trap(tmp_path / "sprung")}, path)
    refused("holds more than weights")
    assert not (tmp_path / "sprung").exists()
    write_checkpoint(net, path)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused("is damaged or no checkpoint")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no weights")
    refused("is damaged or no checkpoint")
    torch.save([1, 2], path)
    refused("another network")
    write_checkpoint(network(find("dl-lapirn")), path)
    refused("another network")


def test_the_stored_field_is_that_of_the_network(pairs, tmp_path):
    """A network that has learned this very pair registers it: the volumes resemble each other more than before."""
    method = find("dl-lapirn").in_brief().changed(iterations=[30, 10, 5])
    net = network_of(method.config, mixed=False)
    train(net, [example(method, pairs[0])], 0)
    write_checkpoint(net, tmp_path / "c.pt")
    fixed, moving = (prepared(volume, "normalised") for volume in pairs[0].volumes())
    task = Task(method, pairs[0].fixed, pairs[0].moving, ONE, {"checkpoint": tmp_path / "c.pt"})
    found = dl.register(*pairs[0].volumes(), tmp_path, task)
    warped = sitk.Resample(moving, fixed, as_transform(found.displacement))
    target = sitk.GetArrayFromImage(fixed).ravel()
    before = np.corrcoef(sitk.GetArrayFromImage(sitk.Resample(moving, fixed)).ravel(), target)[0, 1]
    after = np.corrcoef(sitk.GetArrayFromImage(warped).ravel(), target)[0, 1]
    assert 1 - after < 0.5 * (1 - before)
    assert found.seconds > 0
    json.dumps([dict(found.parameters), dict(found.more)])


# ----- a training in the store


def test_a_training_comes_back_from_its_file(pairs, tmp_path):
    training = next(iter(cross_validation(pairs, find("dl-lapirn"), ONE).values()))
    write_training(training, tmp_path)
    assert read_training(tmp_path) == training
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(InputError, match="is no job of this version"):
        read_training(tmp_path)


def test_the_key_is_what_the_network_is_made_from(pairs, tmp_path):
    method = find("dl-lapirn").in_brief()
    first, second = (cross_validation(pairs, method, ONE)[pair.name] for pair in pairs)
    copied = [dataclasses.replace(p, fixed=Path(shutil.copy(p.fixed, tmp_path / f"{p.name}.nii.gz"))) for p in pairs]
    assert cross_validation(copied, method, ONE)[pairs[0].name].key == first.key
    others = [
        second.key,
        dataclasses.replace(first, method=method.changed(learning_rate=0.5)).key,
        dataclasses.replace(first, method=dataclasses.replace(method, revision=2)).key,
        *(
            dataclasses.replace(first, settings=dataclasses.replace(ONE, **changed)).key
            for changed in ({"seed": 1}, {"device": "cuda"}, {"threads": 2})
        ),
    ]
    assert len({first.key, *others}) == len(others) + 1
    assert dataclasses.replace(first, settings=dataclasses.replace(ONE, timeout_s=9.0)).key == first.key
    keys = [key_of(pairs[0], method, ONE, training=key) for key in (None, first.key, second.key)]
    assert len(set(keys)) == 3


def test_a_cancelled_training_stores_nothing(pairs, store):
    training = cross_validation(pairs, find("dl-voxelmorph").in_brief(), ONE)[pairs[0].name]
    with pytest.raises(Cancelled):
        trained(training, store, should_stop=lambda: True)
    assert list(store.records()) == []
    assert list(store.folder.glob("*/.*")) == []


def test_a_failed_training_is_a_failure_of_the_pair_and_is_not_repeated_for_each(pairs, store, monkeypatch):
    method = find("dl-voxelmorph").in_brief().changed(network="magic")
    training = cross_validation(pairs, method, ONE)[pairs[0].name]
    record = run_pair(pairs[0], method, ONE, store, training=training)
    assert record.message == (
        "DL VoxelMorph has no network for this pair: Training of DL VoxelMorph failed: There is no network 'magic'; "
        "choose one of: lapirn, voxelmorph."
    )
    monkeypatch.setattr(process, "run_child", None)
    again = run_pair(pairs[0], method, ONE, store, training=training, retry_failed=True)
    assert (again.status, again.message) == ("failed", record.message)


def test_without_a_network_there_is_a_sentence(pairs, store):
    record = run_pair(pairs[0], find("dl-lapirn").in_brief(), ONE, store)
    assert "needs the network that was trained for it" in record.message


def test_one_pair_alone_leaves_the_trained_out_unless_they_are_named(pairs, tmp_path):
    pytest.importorskip("distributed", reason="the extra cohort is not installed")
    pytest.importorskip("matplotlib", reason="the extra cohort is not installed")
    shutil.copytree(pairs[0].fixed.parent, tmp_path / "cohort" / "pair-001")
    asked = Study(tmp_path / "cohort", tmp_path / "out", device="cpu", report_only=True)
    told = []
    failed = run_study(asked, told.append)
    assert {record.method for record in failed} == set(METHODS) - {m.name for m in TRAINED} - {"syncc-full"}
    assert "no other pairs to learn from" in told[0]["message"]
    with pytest.raises(InputError, match="at least two pairs"):
        run_study(dataclasses.replace(asked, methods=["dl-lapirn"]), told.append)


def files(store: Store) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/*")}


def test_cross_validation_from_end_to_end(pairs, store):
    """On Dask: two folds each, a network that cannot be had beside them, a rerun that makes nothing."""
    pytest.importorskip("distributed", reason="the extra cohort is not installed")
    broken = dataclasses.replace(find("dl-lapirn").in_brief().changed(network="magic"), name="broken", title="Broken")
    methods = [*(method.in_brief() for method in TRAINED), broken]
    told: list[cluster.Progress] = []
    records = cluster.run_cohort(pairs, methods, ONE, store, workers=1, tell=told.append)
    assert [(r.pair, r.method) for r in records] == [(p.name, m.name) for p in pairs for m in methods]
    assert [progress.done for progress in told] == list(range(1, 13))
    for record in records:
        assert record.done == (record.method != "broken"), record.message
        if record.done:
            others = [pair.name for pair in pairs if pair.name != record.pair]
            assert record.info["training"]["pairs"] == others
            assert record.info["seconds"] > 0
            assert record.info["train_seconds"] > 0
            assert (
                store.folder / f"{record.method}-training" / record.info["training"]["key"] / "checkpoint.pt"
            ).is_file()
        else:
            assert "has no network for this pair" in record.message
    keys = {record.info["training"]["key"] for record in records if record.done}
    assert len(keys) == 4
    before = files(store)
    assert cluster.run_cohort(pairs, methods, ONE, store, workers=1) == records
    assert files(store) == before
    assert cluster.stored(pairs, methods, ONE, store) == records
    board = Scoreboard(records)
    assert board.train_minutes("broken") is None
    (first,) = [table for table in tables.tables(board) if table.name == "Table 1"]
    minutes = board.train_minutes("dl-lapirn")
    assert f"DL LapIRN {minutes:.1f} min" in tables.markdown(first)
    assert f"DL LapIRN {minutes:.1f} min" in tables.latex(first)
