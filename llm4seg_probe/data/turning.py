"""Between the order in which voxels are stored and that in which they are displayed.

Directions of a file's own three axes are three letters, those that its indices grow towards: the
first axis of ``RAS`` runs to the patient's right. The display is stored ``LPS``, last axis first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

AS_STORED = "LPS"
"""Directions of a file that is displayed in the order in which it is stored."""


def displayed(stored: np.ndarray, axes: str) -> np.ndarray:
    """Pixels (C, D, H, W) in display order of voxels (x, y, z, C) whose axes run as said."""
    turn = ornt_transform(axcodes2ornt(axes), axcodes2ornt(AS_STORED))
    return np.ascontiguousarray(np.asarray(apply_orientation(stored, turn)).transpose(3, 2, 1, 0))


def as_stored(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Voxels (x, y, z, C) of pixels (C, D, H, W) in display order: :func:`displayed` undone."""
    turn = ornt_transform(axcodes2ornt(AS_STORED), axcodes2ornt(axes))
    return np.asarray(apply_orientation(pixels.transpose(3, 2, 1, 0), turn))


def lengths_displayed(lengths: Sequence[float], axes: str) -> tuple[float, ...]:
    """Lengths along (D, H, W) in display order, of those along a file's own three axes."""
    order = [int(place) for place in axcodes2ornt(axes)[:, 0]]
    own = dict(zip(order, lengths, strict=True))
    return own[2], own[1], own[0]


def lengths_as_stored(lengths: Sequence[float], axes: str) -> tuple[float, ...]:
    """Lengths along a file's own axes: :func:`lengths_displayed` undone."""
    return tuple(lengths[2 - int(place)] for place in axcodes2ornt(axes)[:, 0])
