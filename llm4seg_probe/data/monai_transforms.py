"""MONAI's random dictionary transforms: one draw from a seed, and lists from a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llm4seg_probe.config import Transform
from llm4seg_probe.errors import ConfigError, unknown

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
        options = _options(transform, chosen)
        try:
            made.append(chosen(**options))
            always = {"prob": 1.0} if "prob" in inspect.signature(chosen).parameters else {}
            _try(chosen(**options | always), channels, size)
        except ConfigError as error:
            raise ConfigError(f"{where}: {transform.name} {error}") from error
        except Exception as error:  # of whatever kind: the code is not ours
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"{where}: {transform.name} with options {transform.options} fails on an image of "
                f"{list(size)}: {reason}"
            ) from error
    return Compose(made)


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
