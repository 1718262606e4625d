"""Known noise at five strengths, drawn by address, on images as they are stored."""

from __future__ import annotations

import torch
from torch import Tensor

from llm4seg_probe.probes.robustness.corruptions import CORRUPTIONS, Corruption

STRENGTHS = (1, 2, 3, 4, 5)


def with_noise(
    image: Tensor, kind: str, strength: int, *, value_range: tuple[float, float], seed: int
) -> Tensor:
    """The image with noise of a strength of 1 to 5; equal seeds give equal noise.

    image: (C, H, W) or (C, D, H, W), float32, in its own units. ``value_range``: the intensities
    between which the picture lies, by which noise is measured.
    """
    row = NOISES[kind]
    found = row.apply(image, row.parameters[strength - 1], value_range, seed)
    return found.to(image.dtype).contiguous()


def _rician(image: Tensor, share: float, value_range: tuple[float, float], seed: int) -> Tensor:
    from monai.transforms import RandRicianNoise

    deviation = share * (value_range[1] - value_range[0])
    noise = RandRicianNoise(prob=1.0, std=deviation, sample_std=False)
    noise.set_random_state(seed=seed % 2**32)
    # A magnitude has a lowest value, and what lies below it would be folded upwards.
    found = noise((image - value_range[0]).clamp(min=0)) + value_range[0]
    return torch.as_tensor(found).as_subclass(Tensor)


NOISES: dict[str, Corruption] = {
    "gaussian": CORRUPTIONS["noise"],
    "rician": Corruption(
        "Rician noise, that of a magnitude image of MR (MONAI's RandRicianNoise)",
        "SD / range",
        CORRUPTIONS["noise"].parameters,
        _rician,
    ),
}
"""Kinds of noise, with the SDs of their strengths as shares of the range of intensities."""
