"""Worse images: noise, blur, contrast, JPEG and resolution at five strengths.

Images are (C, H, W) or (C, D, H, W) in their own units, corrupted in the plane of the last two
axes: a volume slice by slice, since slices lie further apart than pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

STRENGTHS = (0, 1, 2, 3, 4, 5)
"""0 leaves an image as it is, to the bit."""

Corrupt = Callable[[Tensor, float, tuple[float, float], int], Tensor]


@dataclass(frozen=True)
class Corruption:
    """One way in which images get worse.

    ``apply`` takes an image, a parameter, the range (low, high) of intensities that matter, and
    a seed. ``parameters`` are those of the strengths 1 to 5, in ``unit``.
    """

    description: str
    unit: str
    parameters: tuple[float, float, float, float, float]
    apply: Corrupt


def corrupted(
    image: Tensor, kind: str, strength: int, *, value_range: tuple[float, float], seed: int
) -> Tensor:
    """The image at a strength of 0 to 5 of one of ``CORRUPTIONS``; strength 0 is the image itself.

    image: (C, H, W) or (C, D, H, W), float32. ``value_range``: the intensities between which the
    picture lies, in the image's units: noise is measured by it, and 8-bit JPEG and the change of
    contrast are made within it, what lies beyond is clipped there. Equal seeds give equal noise.
    """
    if strength == 0:
        return image
    row = CORRUPTIONS[kind]
    planes = image.reshape(-1, *image.shape[-2:])
    if kind == "jpeg":  # the only one to which the channels of a picture belong together
        planes = image
    found = row.apply(planes, row.parameters[strength - 1], value_range, seed)
    return found.reshape(image.shape).to(image.dtype).contiguous()


def value_range(image: Tensor, modality: str, window: tuple[float, float]) -> tuple[float, float]:
    """The intensities between which a picture lies, in its own units.

    For CT the ``window`` that the normalisation looks at, for 8-bit images 0 to 255, and for others
    the image's own least to largest value.
    """
    if modality == "ct":
        return window
    if modality == "photo":
        return 0.0, 255.0
    return image.min().item(), image.max().item()


def _plain(found: Tensor) -> Tensor:
    """The tensor without the metadata that MONAI's transforms add."""
    return found.as_subclass(Tensor)


def _noise(planes: Tensor, share: float, value_range: tuple[float, float], seed: int) -> Tensor:
    from monai.transforms import RandGaussianNoise

    deviation = share * (value_range[1] - value_range[0])
    noise = RandGaussianNoise(prob=1.0, std=deviation, sample_std=False)
    noise.set_random_state(seed=seed % 2**32)
    return _plain(noise(planes))


def _blur(planes: Tensor, sigma: float, value_range: tuple[float, float], seed: int) -> Tensor:
    from monai.transforms import GaussianSmooth

    # The filter takes what lies beyond the edge for 0, which is water in a CT image of air.
    edge = math.ceil(4 * sigma) + 1
    wide = functional.pad(planes[None], (edge,) * 4, mode="replicate")[0]
    return _plain(GaussianSmooth(sigma)(wide))[:, edge:-edge, edge:-edge]


def _contrast(planes: Tensor, gamma: float, value_range: tuple[float, float], seed: int) -> Tensor:
    from monai.transforms import AdjustContrast

    return _plain(AdjustContrast(gamma)(planes.clamp(*value_range)))


def _resolution(
    planes: Tensor, factor: float, value_range: tuple[float, float], seed: int
) -> Tensor:
    from monai.transforms import RandSimulateLowResolution

    coarse = RandSimulateLowResolution(
        prob=1.0,
        downsample_mode="area",
        upsample_mode="bilinear",
        zoom_range=(1 / factor, 1 / factor),
    )
    return _plain(coarse(planes))


def _jpeg(image: Tensor, quality: float, value_range: tuple[float, float], seed: int) -> Tensor:
    low, high = value_range
    scaled = ((image - low) / max(high - low, 1e-6)).clamp(0, 1) * 255
    pixels = scaled.round().to(torch.uint8).numpy()
    if image.ndim == 4:
        slices = [_compressed(pixels[:, place], int(quality)) for place in range(pixels.shape[1])]
        found = np.stack(slices, axis=1)
    else:
        found = _compressed(pixels, int(quality))
    return torch.from_numpy(found.astype(np.float32)) / 255 * (high - low) + low


def _compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """A picture (C, H, W) of 8 bits after JPEG; three channels together as RGB, others apart."""
    if len(pixels) == 3:
        return np.moveaxis(_through_jpeg(np.moveaxis(pixels, 0, -1), quality), -1, 0)
    return np.stack([_through_jpeg(channel, quality) for channel in pixels])


def _through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, format="JPEG", quality=quality)
    with Image.open(io.BytesIO(stream.getvalue())) as stored:
        return np.asarray(stored)


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(
        "Gaussian noise (MONAI's RandGaussianNoise)",
        "SD / range",
        (0.02, 0.05, 0.1, 0.2, 0.4),
        _noise,
    ),
    "blur": Corruption(
        "Gaussian blur (MONAI's GaussianSmooth)",
        "SD in pixels",
        (0.5, 1.0, 1.5, 2.0, 3.0),
        _blur,
    ),
    "contrast": Corruption(
        "gamma within the range, which darkens (MONAI's AdjustContrast); a linear change would be "
        "undone by normalisation by mean and SD",
        "gamma",
        (1.25, 1.5, 2.0, 3.0, 4.0),
        _contrast,
    ),
    "jpeg": Corruption(
        "8 bits and JPEG (Pillow)",
        "quality",
        (50, 25, 15, 10, 5),
        _jpeg,
    ),
    "resolution": Corruption(
        "fewer pixels, and back (MONAI's RandSimulateLowResolution)",
        "times coarser",
        (2.0, 3.0, 4.0, 6.0, 8.0),
        _resolution,
    ),
}
