"""IoU and Dice of what a run's network says of a batch, as an evaluation computes them.

Where the network sees whole images they are scored on the images' own grid, like
:func:`llm4seg_probe.training.evaluate.score`. Where it sees patches, a batch holds one patch of
each image, and the patch alone is scored.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.measures.segmentation import overlap_scores
from llm4seg_probe.models.output import decided
from llm4seg_probe.training.compute import memory_format
from llm4seg_probe.training.inference import on_grid

Overlaps = dict[str, Tensor]


def masks_of(config: Config, collection: Collection, batch: Batch) -> list[Tensor]:
    """The boolean masks (K, *grid) that a batch is scored against.

    Those of the images as they are stored; where ``data.sampling`` is ``patches``, those of the
    patches.
    """
    if config.data.sampling == "patches":
        return list(batch.masks > 0.5)
    raw = (collection.read(collection.sample(name)) for name in batch.names)
    return [torch.from_numpy(image.mask) for image in raw]


def logits_of(network: nn.Module, images: Tensor, config: Config) -> Tensor:
    """Logits of one pass over images, or patches, as the network sees them; on the CPU.

    In the network's present mode and the configured memory format.
    """
    device = next((parameter.device for parameter in network.parameters()), images.device)
    return network(images.to(device, memory_format=memory_format(config))).float().cpu()


def overlaps(logits: Tensor, masks: Sequence[Tensor], config: Config) -> Overlaps:
    """``iou`` and ``dice`` of each image and class, (B, K), the logits resized to each mask."""
    found: list[Overlaps] = []
    for own, mask in zip(logits, masks, strict=True):
        resized = on_grid(own, mask.shape[1:])
        found.append(overlap_scores(decided(resized[None], config), mask[None]))
    return {score: torch.cat([each[score] for each in found]) for score in ("iou", "dice")}
