"""Cross-validation: which pairs are registered by a network that has not seen them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..errors import InputError
from .cohort import Pair

FOLDS = 5  # as in the paper (section 4.3)


def folds(pairs: Sequence[Pair], seed: int) -> list[list[Pair]]:
    """Every pair in one of five folds, or of as many as there are pairs; the order of `pairs` does not matter.

    No two folds differ by more than one pair, neither in all nor in those of a centre. Raises InputError for less than
    two pairs.
    """
    if len(pairs) < 2:
        raise InputError("Networks that are trained learn from the other pairs of a cohort; give at least two pairs.")
    chance = random.Random(seed)
    ordered = sorted(pairs, key=lambda pair: pair.name)
    chance.shuffle(ordered)
    ordered.sort(key=lambda pair: pair.centre or "")
    count = min(FOLDS, len(ordered))
    return [ordered[number::count] for number in range(count)]
