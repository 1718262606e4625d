"""IoU and Dice of a network on the images' own grid, as an evaluation computes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.measures.segmentation import overlap_scores
from llm4seg_probe.models.output import decided
from llm4seg_probe.training.compute import memory_format

Overlaps = dict[str, Tensor]


def own_masks(collection: Collection, batch: Batch) -> list[Tensor]:
    """The masks (K, *grid) of a batch's images as they are stored, boolean."""
    raw = (collection.read(collection.sample(name)) for name in batch.names)
    return [torch.from_numpy(image.mask) for image in raw]


def logits_of(network: nn.Module, images: Tensor, config: Config) -> Tensor:
    """One pass in the network's present mode, in the configured memory format; on the CPU."""
    device = next((parameter.device for parameter in network.parameters()), images.device)
    return network(images.to(device, memory_format=memory_format(config))).float().cpu()


def overlaps(logits: Tensor, masks: Sequence[Tensor], config: Config) -> Overlaps:
    """``iou`` and ``dice`` of each image and class, (B, K), the logits resized to each mask."""
    mode = "bilinear" if len(config.data.image_size) == 2 else "trilinear"
    found: list[Overlaps] = []
    for own, mask in zip(logits[:, None], masks, strict=True):
        resized = own
        if own.shape[2:] != mask.shape[1:]:
            resized = functional.interpolate(own, mask.shape[1:], mode=mode)
        found.append(overlap_scores(decided(resized, config), mask[None]))
    return {score: torch.cat([each[score] for each in found]) for score in ("iou", "dice")}
