"""Augment training images, each draw addressed by seed, epoch and index."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llm4seg_probe.config import DataConfig, Transform
from llm4seg_probe.data.collection import is_label
from llm4seg_probe.errors import ConfigError, first_line, unknown
from llm4seg_probe.reading.bounds import refuse_deep_values, refuse_more

_OTHER_CODE = ("RandCuCIMd", "RandLambdad", "RandTorchIOd", "RandTorchVisiond")
"""Transforms that run what their arguments name, from other libraries."""
_INTERPOLATED = ("bilinear", "area")
_TRIALS = 4
_FOR_MASKS = ("bilinear", "nearest")
"""Interpolation of images and of masks, where the configuration leaves it to us."""


def moved(transform: Any, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """What one of MONAI's dictionary transforms makes of both, drawn from a seed."""
    from monai.data import get_track_meta, set_track_meta

    tracked = get_track_meta()
    set_track_meta(False)
    try:
        transform.set_random_state(seed=seed % 2**32)
        found = transform({"image": image, "mask": mask})
    finally:
        set_track_meta(tracked)
    return found["image"], found["mask"]


def transform_classes() -> dict[str, type]:
    """MONAI's transforms that a configuration may name: ``Rand…d``, and nothing else."""
    import monai.transforms

    return {
        name: found
        for name, found in vars(monai.transforms).items()
        if name.startswith("Rand")
        and name.endswith("d")
        and name not in _OTHER_CODE
        and isinstance(found, type)
        and issubclass(found, monai.transforms.MapTransform)
    }


def listed(transforms: Sequence[Transform], channels: tuple[int, int], size: Sequence[int]) -> Any:
    """The transforms one after the other, each tried on a ramp and a mask with a block.

    ``channels`` of image and mask, ``size`` of both. Where a transform interpolates, masks take
    the nearest pixel unless its options say otherwise. Raises ConfigError, which names the place
    in the list, for a name that is none, options that it does not take, and one that changes the
    size of an image, or a mask to other values than 0 and 1.
    """
    from monai.transforms import Compose

    classes = transform_classes()
    made = []
    for place, transform in enumerate(transforms):
        where = f"data.augmentation.{place}"
        if transform.name not in classes:
            raise ConfigError(f"{where}: {unknown('transform', transform.name, classes)}")
        chosen = classes[transform.name]
        _refuse_large(transform.options, where)
        options = _options(transform, chosen)
        try:
            made.append(chosen(**options))
            always = {"prob": 1.0} if "prob" in inspect.signature(chosen).parameters else {}
            _try(chosen(**options | always), channels, size)
        except ConfigError as error:
            raise ConfigError(f"{where}: {transform.name} {error}") from error
        except Exception as error:  # of whatever kind: the code is not ours
            reason = first_line(error)
            raise ConfigError(
                f"{where}: {transform.name} with options {transform.options} fails on an image of "
                f"{list(size)}: {reason}"
            ) from error
    return Compose(made)


def _refuse_large(options: Any, where: str) -> None:
    """Raise ConfigError for a number that would decide about memory or time, however deep."""
    refuse_deep_values(options, where, ConfigError)
    inner = options.values() if isinstance(options, dict) else options
    for value in inner:
        if isinstance(value, dict | list | tuple):
            refuse_more("option", len(value), f"{where}: {len(value):,} options", ConfigError)
            _refuse_large(value, where)
        elif isinstance(value, int | float):
            refuse_more("option", abs(value), f"{where}: an option is {value:g}", ConfigError)


def _options(transform: Transform, chosen: type) -> dict[str, Any]:
    keys = ("image", "mask") if transform.on == "both" else ("image",)
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in transform.options.items()
    }
    mode = inspect.signature(chosen).parameters.get("mode")
    if len(keys) == 2 and mode is not None and str(mode.default) in _INTERPOLATED:
        options.setdefault("mode", _FOR_MASKS)
    return {"keys": keys, **options}


def _try(transform: Any, channels: tuple[int, int], size: Sequence[int]) -> None:
    image, mask = (torch.zeros(count, *size) for count in channels)
    image += torch.linspace(0, 1, size[-1])
    mask[(slice(None), *(slice(side // 4, side // 2) for side in size))] = 1
    for seed in range(_TRIALS):
        for name, before, after in zip(
            ("image", "mask"), (image, mask), moved(transform, image, mask, seed), strict=True
        ):
            if not isinstance(after, Tensor) or after.shape != before.shape:
                shape = list(after.shape) if isinstance(after, Tensor) else type(after).__name__
                raise ConfigError(f"makes {shape} of the {name} {list(before.shape)}")
        if not set(torch.unique(after).tolist()) <= {0.0, 1.0}:
            raise ConfigError(
                "changes masks to values between 0 and 1: set on: image if it changes "
                "intensities, or the option mode: [bilinear, nearest]"
            )


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
        """Augmented copies of (C, ...) and (K, ...); equal seeds give equal results.

        Labels of the whole image stay as they are.
        """
        if is_label(mask.shape, image.shape):
            image, _ = moved(self._transform, image, torch.zeros_like(image[:1]), seed)
            return image.contiguous(), mask
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
