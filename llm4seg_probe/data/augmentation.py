"""Augmentation by address: MONAI's transforms, each draw made from a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.monai_transforms import listed, moved
from llm4seg_probe.errors import ConfigError

KEYS = ("image", "mask")


class Augmentation:
    """Moves an image and its mask alike, and changes the image's intensities."""

    def __init__(self, transform: Any) -> None:
        self._transform = transform

    @classmethod
    def of(cls, config: DataConfig) -> Augmentation | None:
        """The augmentation that the configuration names; None for ``none``.

        Raises ConfigError for quarter turns of images that are not square, for noise on images
        whose intensities are no multiples of their SD, and for a listed transform that does not
        do.
        """
        if not isinstance(config.augmentation, str):
            channels = (config.channels, len(config.classes))
            return cls(listed(config.augmentation, channels, config.image_size))
        build = AUGMENTATIONS[config.augmentation]
        return None if build is None else cls(build(config))

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Augmented copies of (C, ...) and (K, ...); equal seeds give equal results."""
        image, mask = moved(self._transform, image, mask, seed)
        return image.contiguous(), mask.contiguous()


def reference(config: DataConfig) -> Any:
    """As published: quarter turns, then flips, each in half of the draws, in the axial plane.

    A turn draws 0 to 3 quarters, so that it changes 3 in 8 images; a flip is left-right,
    up-down or both.
    """
    from monai.transforms import Compose, OneOf, RandFlipd, RandRotate90d

    size = config.image_size
    rows, columns = len(size) - 2, len(size) - 1
    if size[-1] != size[-2]:
        raise ConfigError(
            f"data.augmentation is 'reference', which turns images by 90 degrees, but "
            f"data.image_size is {list(size)}: make it square, or choose 'mild'"
        )
    flips = [RandFlipd(KEYS, 0.5, axis) for axis in (rows, columns, (rows, columns))]
    turn = RandRotate90d(KEYS, prob=0.375, max_k=3, spatial_axes=(rows, columns))
    return Compose([turn, OneOf(flips)])


def mild(config: DataConfig) -> Any:
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

    size, turn = config.image_size, math.radians(15)
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


def nnunet_like(config: DataConfig) -> Any:
    """Much of nnU-Net's augmentation, with its probabilities and ranges (nnU-Net v2).

    Turns by any angle in plane (30 degrees about each axis of a volume), zooms of 0.7 to 1.4,
    noise of a SD up to 0.32, blur, brightness, contrast, low resolution, gamma on the image and on
    its negative, and mirroring along every axis. Noise is added to intensities as the network
    sees them, which ``modality`` and ``imagenet`` bring to the order of 1.
    """
    from monai.transforms import Compose, RandFlipd

    if config.normalisation == "reference":
        raise ConfigError(
            "data.augmentation is 'nnunet-like', whose noise is for intensities of the order of 1, "
            "but data.normalisation is 'reference', which leaves about 0.01: choose 'mild', or "
            "another normalisation"
        )
    axes = range(len(config.image_size))
    flips = [RandFlipd(KEYS, 0.5, axis) for axis in axes]
    return Compose([*_large_moves(len(axes)), *_intensity_changes(len(axes)), *flips])


def _large_moves(axes: int) -> list[Any]:
    from monai.transforms import RandRotated, RandZoomd

    if axes == 2:
        turns = {"range_x": math.pi}
    else:
        turns = dict.fromkeys(("range_x", "range_y", "range_z"), math.radians(30))
    linear = "bilinear" if axes == 2 else "trilinear"
    return [
        RandRotated(KEYS, prob=0.2, mode=("bilinear", "nearest"), padding_mode="border", **turns),
        RandZoomd(KEYS, prob=0.2, min_zoom=0.7, max_zoom=1.4, mode=(linear, "nearest-exact")),
    ]


def _intensity_changes(axes: int) -> list[Any]:
    from monai.transforms import (
        RandAdjustContrastd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandScaleIntensityFixedMeand,
        RandSimulateLowResolutiond,
    )

    image, sigma = KEYS[:1], (0.5, 1.0)
    linear = "bilinear" if axes == 2 else "trilinear"
    gamma: dict[str, Any] = {"gamma": (0.7, 1.5), "retain_stats": True}
    return [
        RandGaussianNoised(image, prob=0.1, std=math.sqrt(0.1)),
        RandGaussianSmoothd(image, prob=0.2, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
        RandScaleIntensityd(image, factors=0.25, prob=0.15),
        RandScaleIntensityFixedMeand(image, factors=0.25, preserve_range=True, prob=0.15),
        RandSimulateLowResolutiond(image, prob=0.25, upsample_mode=linear, zoom_range=(0.5, 1.0)),
        RandAdjustContrastd(image, prob=0.1, invert_image=True, **gamma),
        RandAdjustContrastd(image, prob=0.3, **gamma),
    ]


AUGMENTATIONS: dict[str, Callable[[DataConfig], Any] | None] = {
    "none": None,
    "reference": reference,
    "mild": mild,
    "nnunet-like": nnunet_like,
}
