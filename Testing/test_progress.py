"""Progress by a clock of our own: when a preview is due, and what is asked and computed meanwhile."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import progress as module
from mirrba.progress import Progress, Stage

STAGES = [Stage("level 1 of 1", 10, 1.0)]
seconds = st.floats(0, 10)


class Clock:
    """Stands for the time module."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@given(st.lists(st.tuples(seconds, seconds), max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_previews_are_never_closer_than_the_interval_and_come_as_soon_as_due(steps):
    """Each step: the run goes on for some seconds, then offers; showing takes some seconds too."""
    clock = Clock()
    began, ended, computed, pauses = [], [], [], iter([pause for _, pause in steps])

    def show(displacement):
        began.append(clock.now)
        displacement()
        clock.now += next(pauses)
        ended.append(clock.now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", clock)
        progress = Progress(STAGES, on_preview=show)
        for wait, _ in steps:
            clock.now += wait
            is_due = not ended or clock.now - ended[-1] >= module.PREVIEW_INTERVAL
            before = len(began)
            progress.preview(lambda: computed.append(1))
            assert (len(began) > before) == is_due
    assert all(start - end >= module.PREVIEW_INTERVAL for start, end in zip(began[1:], ended, strict=False))
    assert len(computed) == len(began)


def test_nothing_is_computed_where_nobody_looks():
    Progress(STAGES).preview(lambda: pytest.fail("computed for nobody"))


def test_once_kept_always_kept():
    answers = iter([False, True, False])
    progress = Progress(STAGES, should_keep=lambda: next(answers))
    assert [progress.kept() for _ in range(3)] == [False, True, True]
    assert progress.stopped_early
    assert not Progress(STAGES).kept()
