"""From where a token looks: the pixel that is asked about, and the arrays of what it attends to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError
from llm4seg_probe.probing.attending import Attention, See
from llm4seg_probe.probing.gallery import grey, labels
from llm4seg_probe.probing.passes import Run
from llm4seg_probe.probing.recorder import Grid

Pixel = tuple[int, ...]


def check_query(run: Run, size: Sequence[int], query: Pixel) -> None:
    """Raise DataError unless the query is a pixel of images of this size, as the network sees them.

    query: row and column, before them depth in 3D.
    """
    is_inside = len(query) == len(size) and all(
        0 <= place < length for place, length in zip(query, size, strict=True)
    )
    if not is_inside:
        axes = ("depth", "row", "column")[-len(size) :]
        raise DataError(
            f"query {','.join(map(str, query))} is no pixel of the images of run {run.name}, which "
            f"sees {' × '.join(map(str, size))} pixels: give {','.join(axes)}, counted from 0"
        )


def centre_of_largest_region(mask: Tensor) -> Pixel:
    """Pixel of the largest connected region of a mask that lies nearest to the region's centroid.

    mask: (*size) boolean, True somewhere. Pixels that touch at a side are connected; of regions
    of one size the first in raster order counts.

    >>> centre_of_largest_region(torch.tensor([[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]) > 0)
    (1, 2)
    """
    from scipy.ndimage import label

    regions, _ = label(mask.numpy())
    largest = int(np.bincount(regions.ravel())[1:].argmax()) + 1
    places = np.argwhere(regions == largest)
    nearest = int(np.square(places - places.mean(0)).sum(1).argmin())
    return tuple(int(place) for place in places[nearest])


def token_of(pixel: Pixel, size: Sequence[int], grid: Sequence[int]) -> Pixel:
    """Place in the grid of the token that a pixel of an image of this size lies in.

    >>> token_of((0, 95), (96, 96), (6, 6)), token_of((47, 48), (96, 96), (6, 6))
    ((0, 5), (2, 3))
    """
    return tuple(
        place * count // length for place, length, count in zip(pixel, size, grid, strict=True)
    )


class QueryMaps:
    """Attention from one token of each image to all others, by layer and head, as it comes."""

    def __init__(self, run: Run, batch: Batch, pixels: Sequence[Pixel]) -> None:
        self._run = run
        self._batch = batch
        self._pixels = pixels
        self._tokens: list[Pixel] = []
        self._maps: dict[tuple[int, int], list[Tensor]] = defaultdict(list)

    def see(self) -> See:
        """What :func:`attending` calls."""
        size = self._batch.images.shape[2:]

        def keep(one: Attention) -> None:
            token = token_of(self._pixels[one.image], size, one.grid)
            if one.place == 1:
                self._tokens.append(token)
            weights = one.weights[:, _in_raster_order(token, one.grid)].float()
            every = torch.cat([weights.mean(0, keepdim=True), weights])
            self._maps[one.place, one.layer].append(every.reshape(-1, *one.grid))

        return keep

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of ``attention.npz``, plain types only.

        ``image_names`` (I,); ``images`` (I, H, W) grey, uint8; ``masks`` (I, H, W), labels;
        ``queries`` (I, axes), pixels, and ``query_tokens`` (I, axes), their tokens; ``maps``
        (M, I, *grid) float32, shares of the query's attention that sum to 1, with ``map_run``,
        ``map_arm``, ``map_seed``, ``map_place``, ``map_layer``, ``map_head`` (M,); head 0 is the
        mean over the heads. Of a volume, the plane through the query is shown.
        """
        found = {
            (place, layer, head): torch.stack([image[head] for image in images])
            for (place, layer), images in self._maps.items()
            for head in range(len(images[0]))
        }
        keys = np.array(list(found), dtype=np.int64)
        return {
            "image_names": np.array(self._batch.names, dtype=np.str_),
            "images": self._in_plane(grey(self._batch.images)),
            "masks": self._in_plane(labels(self._batch.masks)),
            "queries": np.array(self._pixels, dtype=np.int64),
            "query_tokens": np.array(self._tokens, dtype=np.int64),
            "map_run": np.array([self._run.name] * len(found)),
            "map_arm": np.array([self._run.arm] * len(found)),
            "map_seed": np.array([self._run.seed] * len(found)),
            **{name: keys[:, at] for at, name in enumerate(("map_place", "map_layer", "map_head"))},
            "maps": torch.stack(list(found.values())).numpy(),
        }

    def _in_plane(self, values: Tensor) -> np.ndarray:
        if values.ndim == 4:
            pairs = zip(values, self._pixels, strict=True)
            values = torch.stack([volume[pixel[0]] for volume, pixel in pairs])
        return values.numpy()


def _in_raster_order(token: Pixel, grid: Grid) -> int:
    return sum(place * math.prod(grid[axis + 1 :]) for axis, place in enumerate(token))
