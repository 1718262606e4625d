"""Arrays of a gallery: a few images, their masks, and maps at each site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llm4seg_probe.activations.passes import Run
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.measures.activation import resized_maps
from llm4seg_probe.models.heads import decided, probabilities
from llm4seg_probe.probes.arrays import NAME, array_files, merged, packed, write_arrays


def gallery_arrays(
    run: Run, batch: Batch, maps: Mapping[str, Tensor], predictions: Tensor
) -> dict[str, np.ndarray]:
    """The arrays of ``maps.npz`` for the images of a batch (I of them), plain types only.

    maps: (I, *grid) by site; predictions: (I, *size), as :func:`labels` gives them.

    ``image_names`` (I,); ``images`` (I, H, W) grey, uint8; ``masks`` (I, H, W), labels;
    ``maps`` (M, I, h, w) float32 between 0 and 1, one per site, on the finest grid of them;
    ``map_run``, ``map_arm``, ``map_site``, ``map_seed`` (M,); ``predictions`` (1, I, H, W);
    ``prediction_run``, ``prediction_arm``, ``prediction_seed`` (1,). Of a volume, the plane with
    the most foreground is shown.
    """
    keys = {
        "image_names": np.array(batch.names, dtype=np.str_),
        "map_run": np.array([run.name] * len(maps)),
        "map_arm": np.array([run.arm] * len(maps)),
        "map_site": np.array(list(maps), dtype=np.str_),
        "map_seed": np.array([run.seed] * len(maps)),
        "prediction_run": np.array([run.name]),
        "prediction_arm": np.array([run.arm]),
        "prediction_seed": np.array([run.seed]),
    }
    if not batch.names:
        nothing = np.zeros((0, 0, 0), dtype=np.uint8)
        none = np.zeros((len(maps), 0, 0, 0), dtype=np.float32)
        return {**keys, "images": nothing, "masks": nothing, "maps": none,
                "predictions": nothing[None]}  # fmt: skip
    masks = labels(batch.masks)
    planes = _planes(masks)
    flat = [_in_plane(found, planes) for found in maps.values()]
    finest = max((found.shape[1:] for found in flat), key=math.prod)
    return {
        **keys,
        "images": _in_plane(grey(batch.images), planes).numpy(),
        "masks": _in_plane(masks, planes).numpy(),
        "maps": torch.stack([resized_maps(found, finest) for found in flat]).float().numpy(),
        "predictions": _in_plane(predictions, planes)[None].numpy(),
    }


def labels(values: Tensor, threshold: float = 0.5) -> Tensor:
    """One label per pixel, (B, *size) uint8, from one value per class, (B, K, *size).

    0 is the background, k the k-th class: of several above the threshold the largest, of equals
    the first.
    """
    highest, label = values.max(1)
    return ((label + 1) * (highest > threshold)).to(torch.uint8)


def predicted_labels(logits: Tensor, config: Config) -> Tensor:
    """One label per pixel, (B, *size) uint8, of what a network decides by its logits."""
    return labels(probabilities(logits, config).where(decided(logits, config), 0.0), 0.0)


def grey(images: Tensor) -> Tensor:
    """Images (B, C, *size) for the eye: channel mean, from 0.5 % to 99.5 % of it as 0 to 255."""
    grey = images.double().mean(1)
    flat = grey.flatten(1).numpy()
    low, high = np.percentile(flat, [0.5, 99.5], axis=1, keepdims=True)
    shown = (flat - low) / np.maximum(high - low, np.finfo(float).tiny)
    return torch.from_numpy(np.rint(255 * shown.clip(0, 1)).astype(np.uint8)).reshape(grey.shape)


def _planes(labels: Tensor) -> list[float] | None:
    """Where along the first axis of each volume most foreground lies, 0 to 1; None for images."""
    if labels.ndim == 3:
        return None
    depth = labels.shape[1]
    return [(plane + 0.5) / depth for plane in (labels > 0).flatten(2).sum(-1).argmax(-1).tolist()]


def _in_plane(values: Tensor, planes: list[float] | None) -> Tensor:
    if planes is None:
        return values
    return torch.stack(
        [volume[int(plane * len(volume))] for volume, plane in zip(values, planes, strict=True)]
    )


Arrays = Mapping[str, np.ndarray]


def by_images(galleries: Sequence[Arrays]) -> list[list[Arrays]]:
    """The galleries in sets whose images, sizes and grids are the same, in order of appearance."""
    found: dict[tuple[object, ...], list[Arrays]] = {}
    for arrays in galleries:
        shapes = (arrays["masks"].shape[1:], arrays["map_levels"].shape[2:])
        key = (tuple(arrays["image_names"].tolist()), arrays["masks"].tobytes(), *shapes)
        found.setdefault(key, []).append(arrays)
    return list(found.values())


def write_gallery(galleries: Sequence[Arrays], out: Path) -> Path:
    """Write the merged galleries, small as :func:`packed` makes them: ``maps.npz``.

    Runs that saw other images (other data, another split) have files of their own, ``maps-2.npz``
    and so on; files of an earlier time are removed. Returns the path of the first.
    """
    sets = by_images([packed(arrays) for arrays in galleries])
    paths = [out / NAME, *(out / f"maps-{number}.npz" for number in range(2, len(sets) + 1))]
    for path, of_set in zip(paths, sets, strict=True):
        write_arrays(merged(of_set), path)
    for stale in set(array_files(out)) - set(paths):
        stale.unlink()
    return paths[0]
