"""Normalise, resize and resample images on their way into a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.collection import RawImage, is_label
from llm4seg_probe.errors import DataError

LINEAR = {2: "bilinear", 3: "trilinear"}
"""torch's name of linear interpolation, by the number of axes."""
NEAREST = "nearest-exact"


def resized(pixels: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Pixels (C, *grid) on a grid of that size; the same tensor where it has it already."""
    if tuple(pixels.shape[1:]) == tuple(size):
        return pixels
    return interpolate(pixels[None], tuple(size), mode=mode)[0]


def size_at(
    size: Sequence[int], spacing: Sequence[float] | None, wanted: Sequence[float]
) -> tuple[int, ...]:
    """Pixels per axis of an image of ``size`` pixels once they are ``wanted`` millimetres apart.

    Rounded, so that the distance comes out as near as a whole number of pixels allows; at least
    one. Raises DataError where ``spacing``, the distance now, is not known or has other axes.

    >>> size_at((100, 200), (0.5, 0.5), (1.0, 2.0))
    (50, 50)
    """
    if spacing is None:
        raise DataError(
            f"data.spacing is {list(wanted)}, but the file does not say how many millimetres "
            "apart its pixels are: write it as spacing_y and spacing_x (and spacing_z) in "
            "samples.csv, or set data.spacing to null"
        )
    if len(spacing) != len(size):
        raise DataError(
            f"the spacing {list(spacing)} has {len(spacing)} numbers for {len(size)} axes"
        )
    return tuple(
        max(1, round(length * step / new))
        for length, step, new in zip(size, spacing, wanted, strict=True)
    )


MR_RANGE = (0.5, 99.5)
"""Percentiles of an MR image that become 0 and 255 (``imagenet`` and ``reference``)."""
Window = tuple[float, float]
"""Hounsfield units that become -1 and 1 (``modality``), or 0 and 255 (``imagenet``)."""
SLICES_HINT = ", or name its slices in a table with a column slice (samples.csv, or any CSV file)"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601)."""


class Preprocess:
    """What stands between an image on disk and the network; deterministic, and picklable."""

    def __init__(self, data_config: DataConfig) -> None:
        self.config = data_config

    def __call__(self, raw: RawImage) -> Tensor:
        """Image (C, *size) as float32: channels, intensities, spacing, then linear resizing.

        The size is image_size; where patches are cut, it is that of the whole image at its
        spacing. Raises DataError for a volume where image_size has two numbers (or the reverse),
        for a number of channels other than 1 and 3, for intensities of an unknown modality, and
        where a spacing is wanted and that of the image is not known.
        """
        self._check_axes(raw)
        pixels = to_channels(torch.from_numpy(raw.image), self.config.channels)
        known = raw.modality != "unknown" or self.config.modality is None
        modality = raw.modality if known else str(self.config.modality)
        normalise = NORMALISATIONS[self.config.normalisation]
        pixels = normalise(pixels, modality, self.config.ct_window)
        return self._placed(pixels, raw, LINEAR[len(self.config.image_size)])

    def mask(self, raw: RawImage) -> Tensor:
        """Mask (K, *size) as float32, 0 or 1: the nearest pixels, on the grid of the image.

        Labels of the whole image stay one pixel.
        """
        self._check_axes(raw)
        if is_label(raw.mask.shape, raw.image.shape):
            return torch.from_numpy(raw.mask.astype(np.float32))
        return self._placed(torch.from_numpy(raw.mask.astype(np.float32)), raw, NEAREST)

    def _placed(self, pixels: Tensor, raw: RawImage, mode: str) -> Tensor:
        if self.config.spacing is not None:
            size = size_at(pixels.shape[1:], raw.spacing, self.config.spacing)
            pixels = resized(pixels, size, mode)
        if self.config.sampling == "whole":
            pixels = resized(pixels, self.config.image_size, mode)
        return pixels.contiguous()

    def _check_axes(self, raw: RawImage) -> None:
        found, wanted = raw.image.ndim - 1, len(self.config.image_size)
        if found != wanted:
            raise DataError(
                f"the image has {found} axes {list(raw.image.shape[1:])}, but data.image_size "
                f"is {list(self.config.image_size)}: give {found} numbers"
                f"{f' before training{SLICES_HINT}' if found == 3 else ''}"
            )


def to_channels(pixels: Tensor, channels: int) -> Tensor:
    """Grey (1, ...) to three equal channels, or colour (3, ...) to luminance, where asked."""
    found = pixels.shape[0]
    if found == channels:
        return pixels
    if found == 1 and channels == 3:
        return pixels.expand(channels, *pixels.shape[1:])
    if found == 3 and channels == 1:
        return torch.einsum("c,c...->...", torch.tensor(LUMINANCE), pixels)[None]
    raise DataError(
        f"the image has {found} channel{'s' * (found > 1)}, data.channels is {channels}: train "
        f"with data.channels={found}, or give images of {_taken_by(channels)}"
    )


def _taken_by(channels: int) -> str:
    return "1 channel or 3" if channels in (1, 3) else f"{channels} channels"


def by_modality(pixels: Tensor, modality: str, window: Window) -> Tensor:
    """CT: the window to [-1, 1], clipped. MR: mean 0, SD 1 of each channel. Photographs: of all.

    The sequences of an MR have scales that are not comparable; colours share one. What is
    constant becomes zero.
    """
    if modality == "ct":
        low, high = window
        return ((pixels - low) / (high - low) * 2 - 1).clamp(-1, 1)
    _known(modality)
    if modality == "mr":
        return torch.stack([_standardised(channel) for channel in pixels])
    return _standardised(pixels)


def _standardised(pixels: Tensor) -> Tensor:
    """Mean 0 and SD 1 over all pixels; zero where all are the same."""
    centred = pixels - pixels.mean()
    deviation = centred.square().mean().sqrt()
    return centred / deviation if deviation > 0 else torch.zeros_like(pixels)


def imagenet(pixels: Tensor, modality: str, window: Window) -> Tensor:
    """ImageNet's channel statistics, applied to intensities of 0 to 255 in RGB order.

    A one-channel image takes the mean of the three channels' statistics.
    """
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_SD)
    if pixels.shape[0] == 1:
        mean, deviation = mean.mean()[None], deviation.mean()[None]
    shape = (-1, *[1] * (pixels.ndim - 1))
    return (to_255(pixels, modality, window) / 255 - mean.view(shape)) / deviation.view(shape)


def reference(pixels: Tensor, modality: str, window: Window) -> Tensor:
    """As published: channels in BGR order against RGB statistics, then divided by 255 once more."""
    return imagenet(pixels.flip(0), modality, window) / 255


def to_255(pixels: Tensor, modality: str, window: Window) -> Tensor:
    """Intensities on a scale of 0 to 255: CT by its window, MR by percentiles, 8-bit as it is."""
    if modality == "photo":
        return pixels
    if modality == "ct":
        low, high = window
    else:
        _known(modality)
        low, high = (float(np.percentile(pixels.numpy(), share)) for share in MR_RANGE)
    return ((pixels - low) / max(high - low, 1e-6)).clamp(0, 1) * 255


def prepared_by_nnunet(pixels: Tensor, modality: str, window: Window) -> Tensor:
    """Pixels as nnU-Net has prepared them. Raises DataError for others."""
    if modality != "nnunet":
        raise DataError(
            "this network sees images that nnU-Net has prepared: predict with nnUNetv2_predict, "
            "and give probes a data set of nnUNet_preprocessed or nnUNet_raw as --data"
        )
    return pixels


NORMALISATIONS: dict[str, Callable[[Tensor, str, Window], Tensor]] = {
    "modality": by_modality,
    "imagenet": imagenet,
    "reference": reference,
    "nnunet": prepared_by_nnunet,
}


def _known(modality: str) -> None:
    if modality == "unknown":
        raise DataError(
            "the modality is not stated. Write it as 'modality' (ct, mr or photo) in "
            "dataset.json or in a column of samples.csv, or set data.modality"
        )
