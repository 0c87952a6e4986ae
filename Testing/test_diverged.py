"""What happens when the optimisation leaves the finite numbers. No real volume was found that makes it do so, so the
losses are made to.
"""

import itertools
import math

import pytest
import SimpleITK as sitk
from mirrba import losses, register
from mirrba.errors import Diverged, explained
from mirrba.presets import resolve

NETWORK = resolve("mirrba-depth-2", device="cpu", spacing=24, iterations="3,4")
DESCENT = resolve("fast", device="cpu", spacing=24, init="none", start="8,8")


@pytest.fixture
def pair(pair_folder):
    return tuple(sitk.ReadImage(str(pair_folder / f"{name}.nii.gz"), sitk.sitkFloat32) for name in ("fixed", "moving"))


def spoil(monkeypatch, owner, name, when) -> None:
    """Multiply what `owner.name` gives by NaN at the calls, counted from 1, for which `when` says so."""
    right, calls = getattr(owner, name), itertools.count(1)

    def spoilt(*arguments):
        value = right(*arguments)
        return value * math.nan if when(next(calls)) else value

    monkeypatch.setattr(owner, name, spoilt)


def test_a_level_that_diverges_begins_again_in_smaller_steps(pair, monkeypatch):
    usual = register(*pair, NETWORK)
    spoil(monkeypatch, losses, "smoothness", lambda call: call == 5)  # the second iteration of the second level
    registration = register(*pair, NETWORK)
    assert registration.provenance["departures"] == [
        "The optimisation diverged in 'level 2 of 2'; it begins again with learning_rate=0.0001."
    ]
    first, second = (entry["loss"] for entry in registration.history)
    assert first == usual.history[0]["loss"]  # the level before is not run again
    assert len(second) == 4
    assert second[0] == usual.history[1]["loss"][0]  # from the same state
    assert second[-1] != usual.history[1]["loss"][-1]
    assert all(map(math.isfinite, second))


def test_a_level_that_loses_its_way_begins_again_in_smaller_steps(pair):
    """For real: with steps a hundred times as long."""
    wild = resolve("mirrba-depth-2", device="cpu", spacing=24, iterations="30,40", learning_rate=0.1)
    registration = register(*pair, wild)
    assert any("diverged in 'level" in sentence for sentence in registration.provenance["departures"])
    assert all(entry["loss"][-1] < entry["loss"][0] for entry in registration.history)


def test_a_level_that_loses_its_way_whatever_the_step_fails_with_a_sentence(pair, monkeypatch):
    right, calls = losses.smoothness, itertools.count(1)
    monkeypatch.setattr(losses, "smoothness", lambda velocity: right(velocity) + 100.0 * 2.0 ** next(calls))
    with pytest.raises(Diverged, match=r"^The optimisation lost its way in 'level 1 of 2' \(loss .*another preset\.$"):
        register(*pair, NETWORK)


def test_a_last_step_into_nowhere_is_seen_though_no_loss_tells_of_it(pair, monkeypatch):
    config = resolve("mirrba-wo-archi", device="cpu", spacing=24, iterations="1,1,2")
    folding = losses.folding

    def spoilt(displacement):
        if next(calls) == 4:  # the last iteration of all
            displacement.register_hook(lambda gradient: gradient * math.nan)
        return folding(displacement)

    calls = itertools.count(1)
    monkeypatch.setattr(losses, "folding", spoilt)
    registration = register(*pair, config)
    assert "diverged in 'level 3 of 3'" in registration.provenance["departures"][0]
    assert math.isfinite(float(abs(registration._displacement).sum()))


def test_one_that_diverges_whatever_the_step_fails_with_a_sentence(pair, monkeypatch):
    spoil(monkeypatch, losses, "smoothness", lambda call: True)
    with pytest.raises(
        Diverged, match=r"^The optimisation diverged in 'level 1 of 2' .*smaller steps too; .*\.$"
    ) as caught:
        register(*pair, NETWORK)
    assert explained(caught.value).exit_code == 1


def test_the_descent_goes_back_to_its_best_place(pair, monkeypatch):
    usual = register(*pair, DESCENT)
    spoil(monkeypatch, losses.LocalNCC, "__call__", lambda call: call == 4)
    registration = register(*pair, DESCENT)
    (sentence,) = registration.provenance["departures"]
    assert "went back to its best place" in sentence
    first = registration.history[0]["loss"]
    assert first[:3] == usual.history[0]["loss"][:3]
    assert min(first[3:]) < min(first[:3])  # and from there on downhill


def test_a_descent_without_any_finite_place_fails_with_a_sentence(pair, monkeypatch):
    spoil(monkeypatch, losses.LocalNCC, "__call__", lambda call: True)
    with pytest.raises(Diverged, match="'start 1 of 2'"):
        register(*pair, DESCENT)
