"""Attention weights of a decoder layer, recomputed from what enters it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llm4seg_probe.activations.passes import Run
from llm4seg_probe.activations.recorder import Grid
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.llm.blocks import Block
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.probes.maps.gallery import grey, labels


def visible_keys(count: int, mask: Tensor | None, causal: bool, device: torch.device) -> Tensor:
    """Which of ``count`` keys (column) each query (row) sees: (N, N) boolean.

    mask: what the layer was given, (1, 1, N, N) boolean; without one ``causal`` decides.
    """
    if mask is not None:
        return mask[0, 0]
    every = torch.ones(count, count, dtype=torch.bool, device=device)
    return every.tril() if causal else every


def attention_weights(
    attention: nn.Module, arguments: Mapping[str, Any], visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Output (B, N, width) and weights (B, heads, N, N) of a layer's attention, computed again.

    ``attention`` is the ``self_attn`` of a :class:`Block`, ``arguments`` what the block calls it
    with, ``visible`` as from :func:`visible_keys`. The layer's own code runs (its projections,
    query and key norms, rotation, grouped heads, low-rank adapters), with the weights written
    out instead of fused into one kernel. No hook on the module itself runs.
    """
    hidden: Tensor = arguments["hidden_states"]
    nothing = torch.zeros(visible.shape, dtype=hidden.dtype, device=hidden.device)
    bias = nothing.masked_fill(~visible, -torch.inf)[None, None]
    with _weights_written_out(attention):
        output, weights = attention.forward(**{**arguments, "attention_mask": bias})
    return output, weights


@contextmanager
def _weights_written_out(attention: nn.Module) -> Iterator[None]:
    """Let transformers run its eager attention, which returns the weights, for a block."""
    config: Any = attention.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of one decoder layer on one image.

    ``weights`` (heads, N, N) from query (row) to key (column), ``visible`` (N, N), True where a
    query sees a key; N is the product of ``grid``. On the CPU.
    """

    place: int
    """Which of the layers that run one after another, from 1."""
    layer: int
    """Its number in the language model, from 1."""
    image: int
    """Which image of the batch, from 0."""
    grid: Grid
    weights: Tensor
    visible: Tensor


See = Callable[[Attention], None]


def has_attention(network: nn.Module) -> bool:
    """Whether a decoder layer whose attention runs stands in the network."""
    return bool(_attending(network))


@contextmanager
def attending(network: nn.Module, see: See) -> Iterator[None]:
    """Hand the attention of every layer and image to ``see`` while the block runs.

    The weights are computed a second time, from what the layer was given, one image at a time:
    no more than those of one image are held, and the network's own numbers do not change.
    Nothing stays on the network. Raises SiteError where there is no attention in it.
    """
    found = _attending(network)
    if not found:
        raise SiteError("this network has no attention: no decoder layer whose attention runs")
    grids: dict[Decoder, Grid] = {}
    with ExitStack() as attached:
        for decoder in {decoder for decoder, _, _ in found}:
            hook = _note_grid(grids, decoder)
            attached.callback(decoder.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for place, (decoder, block, layer) in enumerate(found, start=1):
            look = _looking(grids, decoder, place, layer, see)
            module = block.get_submodule("self_attn")
            attached.callback(module.register_forward_hook(look, with_kwargs=True).remove)
        yield


def _attending(network: nn.Module) -> list[tuple[Decoder, Block, int]]:
    """Blocks whose attention runs, with their decoder and number, in the order of the modules."""
    return [
        (decoder, block, layer)
        for decoder in network.modules()
        if isinstance(decoder, Decoder)
        for block, layer in zip(decoder.blocks, decoder.identity.layers, strict=True)
        if block.halves != "mlp"
    ]


def _note_grid(
    grids: dict[Decoder, Grid], decoder: Decoder
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        grids[decoder] = tuple(named["grid"] if "grid" in named else inputs[1])

    return hook


def _looking(
    grids: dict[Decoder, Grid], decoder: Decoder, place: int, layer: int, see: See
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    def hook(
        module: nn.Module, inputs: tuple[Any, ...], arguments: dict[str, Any], output: Any
    ) -> None:
        hidden: Tensor = arguments["hidden_states"]
        visible = visible_keys(
            hidden.shape[1], arguments["attention_mask"], arguments["is_causal"], hidden.device
        )
        for image in range(len(hidden)):
            of_image = {**arguments, "hidden_states": hidden[image : image + 1]}
            weights = attention_weights(module, of_image, visible)[1][0].detach().cpu()
            see(Attention(place, layer, image, grids[decoder], weights, visible.cpu()))

    return hook


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
