"""Axes of a module's tensor: the one of the channels, and the one of the images.

Told by what the module is: convolutions have channels behind the batch, layer norms and linear
layers have them last, and ``batch_first`` says where the batch is. Of a module that does not say
it, by which axis has as many entries as channels inside it; where both or none fit, nobody guesses:
the site is written with its axis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SiteError

_FIRST: tuple[type[nn.Module], ...] = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LocalResponseNorm,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._MaxUnpoolNd, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle,
    nn.modules.padding._ConstantPadNd, nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd, nn.Dropout2d, nn.Dropout3d, nn.ChannelShuffle,
    nn.Unfold, nn.Fold, nn.Softmax2d,
)  # fmt: skip
"""Modules whose channels stand behind the batch."""
_LAST: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention,
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.TransformerEncoder,
    nn.TransformerDecoder, nn.Transformer, nn.RNNBase,
)  # fmt: skip
"""Modules whose channels are last."""
_WIDTHS = ("out_channels", "in_channels", "num_features", "num_channels", "out_features",
           "in_features", "embed_dim", "embedding_dim", "hidden_size", "d_model")  # fmt: skip


@dataclass(frozen=True)
class Axes:
    """Places of the images and of the channels among a tensor's axes."""

    images: int
    channels: int

    def tokens(self, tensor: Tensor) -> Tensor:
        """The tensor as tokens (B, N, C), its places in raster order; (B, C) is one token."""
        if tensor.ndim == 2:
            return tensor[:, None]
        return self.moved(tensor).flatten(1, -2)

    def moved(self, tensor: Tensor) -> Tensor:
        """The tensor with the images first and the channels last, as a view."""
        return tensor.movedim((self.images, self.channels), (0, -1))

    def back(self, moved: Tensor) -> Tensor:
        """What :meth:`moved` gave, in the tensor's own order."""
        return moved.movedim((0, -1), (self.images, self.channels))

    def grid(self, tensor: Tensor) -> tuple[int, ...] | None:
        """The grid of the places; None for tokens, whose grid nothing says."""
        return tuple(self.moved(tensor).shape[1:-1]) if tensor.ndim > 3 else None


class Passes:
    """The forward passes of a network while they are watched, and the calls of sites in each."""

    def __init__(self) -> None:
        self.number = 0
        self.images: int | None = None
        self.channels: int | None = None
        self._inside = False
        self._calls: Counter[str] = Counter()

    @contextmanager
    def of(self, network: nn.Module) -> Iterator[None]:
        """Watch the network while the block runs."""

        def begin(module: nn.Module, inputs: tuple[object, ...]) -> None:
            if recomputed():
                return
            self._next()
            self._inside = True
            first = next((one for one in inputs if isinstance(one, Tensor)), None)
            if first is not None and first.ndim > 2:
                self.images, self.channels = int(first.shape[0]), int(first.shape[1])

        def end(*_: object) -> None:
            self._inside = False

        handles = [network.register_forward_pre_hook(begin)]
        handles.append(network.register_forward_hook(end, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def call(self, site: str) -> tuple[int, int]:
        """Count one call of a site: the number of the pass, and of the call in it, from 1."""
        if not self._inside:
            self._next()
        self._calls[site] += 1
        return self.number, self._calls[site]

    def once(self, site: str) -> None:
        """Count one call of a site; raises SiteError at the second in one pass."""
        if self.call(site)[1] > 1:
            raise SiteError(
                f"site '{site}' is called more than once in one forward pass: name a module that "
                "is called once"
            )

    def _next(self) -> None:
        self.number += 1
        self.images = self.channels = None
        self._calls.clear()


def recomputed() -> bool:
    """Whether a module runs within a backward pass: activation checkpointing runs it again."""
    return bool(torch._C._current_graph_task_id() != -1)


def axes_of(
    network: nn.Module,
    path: str,
    tensor: Tensor,
    *,
    site: str,
    asked: int | None = None,
    passes: Passes | None = None,
) -> Axes:
    """The axes of a tensor at the module of this path. Raises SiteError where nothing says them.

    ``asked`` is the axis of the channels where the user names it; ``passes`` tells the images and
    channels that went into the network.
    """
    module = network.get_submodule(path)
    images = _axis_of_images(network, path, module, tensor, passes)
    if asked is not None:
        if not -tensor.ndim <= asked < tensor.ndim or asked % tensor.ndim == images:
            raise SiteError(
                f"site '{site}' is of the shape {tuple(tensor.shape)}, which has no channels on "
                f"axis {asked}"
            )
        return Axes(images, asked % tensor.ndim)
    if tensor.ndim == 2:
        return Axes(0, 1)
    last = tensor.ndim - 1
    kind = kind_of(module)
    if kind == "first":
        return Axes(0, 1)
    if kind == "last":
        return Axes(images, last)
    found = _by_width(network, module, tensor, passes)
    if found is None:
        raise SiteError(
            f"site '{site}' is of the shape {tuple(tensor.shape)}, and nothing says which axis "
            f"holds the channels: give axis=1 or axis=-1 to record, or write '{site}@1' or "
            f"'{site}@-1'"
        )
    return Axes(0 if found == 1 else images, found)


def kind_of(module: nn.Module) -> str | None:
    """``first`` or ``last``, where a module has its channels; None if its kind does not say.

    >>> kind_of(nn.Conv1d(3, 8, 1)), kind_of(nn.LayerNorm(8)), kind_of(nn.ReLU())
    ('first', 'last', None)
    """
    if isinstance(module, _FIRST):
        return "first"
    if isinstance(module, _LAST):
        return "last"
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        # A class made of it may norm channels that stand first (ConvNeXt's).
        own = type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
        return "last" if own and len(module.normalized_shape) == 1 else None
    if isinstance(module, nn.Sequential) and len(module):
        return kind_of(module[-1])
    return None


def _axis_of_images(
    network: nn.Module, path: str, module: nn.Module, tensor: Tensor, passes: Passes | None
) -> int:
    """Axis 1 of three where the sequence comes first, by ``batch_first`` in or around a module."""
    if tensor.ndim != 3:
        return 0
    around = [module]
    names = path.split(".")[:-1]
    around += [network.get_submodule(".".join(names[: end + 1])) for end in range(len(names))]
    near = [one for host in around for one in (host, *host.children())]
    own = [one for one in module.modules() if one is not module]
    sequence_first = any(getattr(one, "batch_first", None) is False for one in (*near, *own))
    if not sequence_first:
        return 0
    batch = None if passes is None else passes.images
    if batch is not None and tensor.shape[0] == batch != tensor.shape[1]:
        return 0
    return 1


def _by_width(
    network: nn.Module, module: nn.Module, tensor: Tensor, passes: Passes | None
) -> int | None:
    """The axis, behind the batch or last, that is as long as channels are inside the module."""
    last = tensor.ndim - 1
    sizes = (tensor.shape[1], tensor.shape[last])
    leaves = [one for one in module.modules() if next(one.children(), None) is None]
    widths = {width for leaf in leaves for width in _widths(leaf)}
    if not widths:
        widths = {width for one in network.modules() for width in _widths(one)}
        leaves = list(network.modules())
    if passes is not None and passes.channels is not None:
        widths.add(passes.channels)
    fits = [size in widths for size in sizes]
    if fits[0] != fits[1]:
        return 1 if fits[0] else last
    kinds = {kind_of(leaf) for leaf in leaves}
    normed = any(isinstance(leaf, nn.LayerNorm | nn.RMSNorm) for leaf in leaves)
    if last > 2:  # a linear layer may stand in a squeeze of a network of convolutions
        return 1 if "first" in kinds and not normed else None
    spatial = any(isinstance(leaf, nn.Conv1d | nn.BatchNorm1d) for leaf in leaves)
    return last if not spatial else None


def _widths(leaf: nn.Module) -> Iterator[int]:
    for name in _WIDTHS:
        width = getattr(leaf, name, None)
        if isinstance(width, int):
            yield width
    shape = getattr(leaf, "normalized_shape", ())
    if isinstance(shape, tuple) and shape:
        yield int(shape[-1] if len(shape) == 1 else shape[0])
    if kind_of(leaf) is None and next(leaf.children(), None) is None:
        for parameter in leaf.parameters(recurse=False):
            if parameter.ndim == 1:
                yield parameter.numel()
