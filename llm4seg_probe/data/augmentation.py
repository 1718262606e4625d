"""Augmentation by address: MONAI's transforms, each draw made from a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from llm4seg_probe.config import DataConfig
from llm4seg_probe.errors import ConfigError

KEYS = ("image", "mask")


class Augmentation:
    """Moves an image and its mask alike, and changes the image's intensities."""

    def __init__(self, transform: Any) -> None:
        self._transform = transform

    @classmethod
    def of(cls, config: DataConfig) -> Augmentation | None:
        """The augmentation that the configuration names; None for ``none``.

        Raises ConfigError for quarter turns of images that are not square.
        """
        build = AUGMENTATIONS[config.augmentation]
        return None if build is None else cls(build(config.image_size))

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Augmented copies of (C, ...) and (K, ...); equal seeds give equal results."""
        from monai.data import get_track_meta, set_track_meta

        tracked = get_track_meta()
        set_track_meta(False)
        try:
            self._transform.set_random_state(seed=seed % 2**32)
            moved = self._transform({"image": image, "mask": mask})
        finally:
            set_track_meta(tracked)
        return moved["image"].contiguous(), moved["mask"].contiguous()


def reference(size: tuple[int, ...]) -> Any:
    """As published: quarter turns, then flips, each in half of the draws, in the axial plane.

    A turn draws 0 to 3 quarters, so that it changes 3 in 8 images; a flip is left-right,
    up-down or both.
    """
    from monai.transforms import Compose, OneOf, RandFlipd, RandRotate90d

    rows, columns = len(size) - 2, len(size) - 1
    if size[-1] != size[-2]:
        raise ConfigError(
            f"data.augmentation is 'reference', which turns images by 90 degrees, but "
            f"data.image_size is {list(size)}: make it square, or choose 'mild'"
        )
    flips = [RandFlipd(KEYS, 0.5, axis) for axis in (rows, columns, (rows, columns))]
    turn = RandRotate90d(KEYS, prob=0.375, max_k=3, spatial_axes=(rows, columns))
    return Compose([turn, OneOf(flips)])


def mild(size: tuple[int, ...]) -> Any:
    """Flips left-right, small moves in plane, and small changes of intensity.

    Turns up to 15 degrees, shifts up to 5 %, scales up to 10 %; intensities are multiplied by 0.9
    to 1.1 and bent by a gamma of 0.8 to 1.25 within their range, whatever that is.
    """
    from monai.transforms import (
        Compose,
        RandAdjustContrastd,
        RandAffined,
        RandFlipd,
        RandScaleIntensityd,
    )

    turn = math.radians(15)
    in_plane = (turn,) if len(size) == 2 else (turn, 0.0, 0.0)
    move = RandAffined(
        KEYS,
        prob=0.8,
        rotate_range=in_plane,
        translate_range=tuple(0.05 * length for length in size),
        scale_range=(0.1,) * len(size),
        mode=("bilinear", "nearest"),
        padding_mode="border",
    )
    return Compose(
        [
            RandFlipd(KEYS, 0.5, len(size) - 1),
            move,
            RandScaleIntensityd(KEYS[:1], 0.1, prob=0.5),
            RandAdjustContrastd(KEYS[:1], prob=0.5, gamma=(0.8, 1.25)),
        ]
    )


AUGMENTATIONS: dict[str, Callable[[tuple[int, ...]], Any] | None] = {
    "none": None,
    "reference": reference,
    "mild": mild,
}
