"""Logits of whole images: one pass of the network, or a window that slides over a larger image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.patches import padded, unpadded
from llm4seg_probe.data.preprocess import LINEAR, resized
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.models.devices import device_of
from llm4seg_probe.training.compute import memory_format


def logits_of(network: nn.Module, images: Tensor, config: Config) -> Tensor:
    """Logits (B, K, *grid) of images (B, C, *grid), on the network's device, in its present mode.

    Where ``data.sampling`` is ``whole``, the network sees each image at once. With ``patches`` a
    window of image_size slides over it: windows share ``evaluation.overlap`` of their side, and
    count with a Gaussian weight that falls from their middle (MONAI's sliding_window_inference).
    An image smaller than the window is padded as in training, and the padding cut off.
    """
    images = images.to(device_of(network, images.device), memory_format=memory_format(config))
    if config.data.sampling == "whole":
        return network(images)
    return torch.stack([_slid(network, image, config) for image in images])


def images_at_once(config: Config) -> int:
    """Whole images that a batch holds: one where their sizes may differ."""
    return config.training.batch_size if config.data.sampling == "whole" else 1


_LARGEST_ANSWER = 2**28
"""Most numbers of an answer on its image's grid that a GPU is given to resize and decide."""


def where_it_fits(logits: Tensor, grid: Sequence[int]) -> Tensor:
    """Logits (K, *size) as they lie, or on the CPU where they are large on an image's own grid.

    A prediction of many classes on the grid of a whole body fills a GPU several times over.
    """
    return logits if len(logits) * math.prod(grid) <= _LARGEST_ANSWER else logits.cpu()


def on_grid(logits: Tensor, grid: Sequence[int]) -> Tensor:
    """Logits (K, *size) resized to an image's own grid, linearly: (K, *grid)."""
    return resized(logits, grid, LINEAR[len(grid)])


def _slid(network: nn.Module, image: Tensor, config: Config) -> Tensor:
    layout = memory_format(config)

    def seen(windows: Tensor) -> Tensor:
        produced = network(windows.contiguous(memory_format=layout))
        if not isinstance(produced, Tensor):
            raise TrainingError(
                f"the network returns a {type(produced).__name__} in evaluation; logits "
                "(B, K, *grid) are expected"
            )
        return produced

    size = config.data.image_size
    logits = sliding_window_inference(
        padded(image, size)[None],
        roi_size=size,
        sw_batch_size=config.training.batch_size,
        predictor=seen,
        overlap=config.evaluation.overlap,
        mode="gaussian",
    )
    return unpadded(logits[0], image.shape[1:])
