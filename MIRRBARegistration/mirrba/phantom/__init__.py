"""A longitudinal whole-body FDG PET pair with exact truth: deformation, segments, lesions that change.

    pair = make_pair(spacing=6.0, seed=0)
    pair.fixed.image, pair.moving.image     # SUV [z, y, x]
    pair.true_transform(points)             # fixed → moving, mm, LPS
    write_pair(pair, "folder")

Making a pair needs numpy and scipy; only writing one imports SimpleITK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .pair import Pair, make_pair

if TYPE_CHECKING:
    from .files import check_asked, write_pair, write_pairs

__all__ = ["Pair", "check_asked", "make_pair", "write_pair", "write_pairs"]


def __getattr__(name: str) -> Any:
    if name in ("check_asked", "write_pair", "write_pairs"):
        from . import files

        return getattr(files, name)
    raise AttributeError(f"module 'mirrba.phantom' has no attribute {name!r}")
