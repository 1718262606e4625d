"""The decoder layers of a language model as one module on image tokens, and how it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.architectures import (
    ARCHITECTURES,
    Skeleton,
    config_from,
    shapes_of,
    skeleton,
    spectrum_of,
    window_of,
)
from llm4seg_probe.llm.blocks import Block, Halves, Position, rotation
from llm4seg_probe.llm.controls import (
    matched_layer,
    normal_layer,
    reference_layer,
    shuffled_layer,
)
from llm4seg_probe.llm.mixing import Mixing, chosen_layers, is_own
from llm4seg_probe.llm.sources import open_source
from llm4seg_probe.llm.stored_weights import (
    HashedTensors,
    LayerIdentity,
    Weights,
    joint_sha256,
    read_config,
    sha256_of_tensors,
    stored_weights,
)
from llm4seg_probe.reading.bounds import as_error, refuse_more

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Decoder(nn.Module):
    """One or several decoder layers of a language model on tokens.

    They run one after the other; or, where there is a ``mixing``, side by side on the same tokens,
    and it averages what they give.

    ``layers`` holds a :class:`Block` each: ``layers[i].after_attention`` gives the residual
    stream after attention, ``layers[i]`` the one after the layer. ``norm`` is the language
    model's final norm, after all of them, or None. ``attention`` and ``position`` may be changed
    at any time. ``values`` are the contents of the language model's config.json, from which, with
    the tensors, :func:`decoder_of_tensors` makes the decoder again.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        norm: nn.Module | None,
        identity: LayerIdentity,
        values: Mapping[str, Any],
        *,
        attention: Literal["causal", "bidirectional", "reference"] = "causal",
        position: Position = "reference",
        gradient_checkpointing: bool = False,
        mixing: Mixing | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.mixing = mixing
        self.norm = norm
        self.identity = identity
        self.values = dict(values)
        self.attention = attention
        self.position = position
        self.gradient_checkpointing = gradient_checkpointing

    @property
    def blocks(self) -> list[Block]:
        """The layers, in the order in which they run, or of their weights."""
        return cast("list[Block]", list(self.layers))

    @property
    def width(self) -> int:
        """Channels of a token inside the language model."""
        return self.identity.width

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which the layers are stored and computed."""
        return next(self.layers.parameters()).dtype

    def forward(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Tokens (B, N, width) after the layers, in the dtype in which they came.

        grid: (H, W) or (D, H, W), N tokens in raster order (row-major).
        """
        if math.prod(grid) != tokens.shape[1]:
            raise ValueError(f"{tokens.shape[1]} tokens do not fill a grid of {tuple(grid)}")
        stream = tokens.to(self.dtype)
        if self.mixing is not None:
            stream = self.mixing([self._after(block, stream, grid) for block in self.blocks])
        else:
            for block in self.blocks:
                stream = self._after(block, stream, grid)
        if self.norm is not None:
            stream = self.norm(stream)
        return stream.to(tokens.dtype)

    def _after(self, block: Block, stream: Tensor, grid: Sequence[int]) -> Tensor:
        turn = rotation(self.position, grid, block.frequencies, block.scaling, stream.dtype)
        causal = self.attention != "bidirectional"
        if self.gradient_checkpointing and torch.is_grad_enabled():
            kept: Tensor = checkpoint(block, stream, turn, causal, use_reentrant=False)
            return kept
        after: Tensor = block(stream, turn, causal)
        return after

    def freeze(self) -> None:
        """Exclude the language model's parameters from training."""
        for name, parameter in self.named_parameters():
            if is_own(name):
                parameter.requires_grad_(False)

    def fingerprint(self) -> str:
        """SHA-256 of the tensors as they are now, put together as in ``identity.sha256``.

        Equal to it as long as nothing trained them and no precision was changed.
        """
        parts = [*self.layers, *([] if self.norm is None else [self.norm])]
        return joint_sha256([sha256_of_tensors(part.state_dict()) for part in parts])


def load_decoder(
    booster: BoosterConfig,
    *,
    weights: Weights = "pretrained",
    halves: Halves = "both",
    mixed: bool = False,
    seed: int = 0,
    expect_sha256: str | None = None,
) -> Decoder:
    """Build the decoder that a configuration names, reading no more than its own tensors.

    weights: ``pretrained``, ``random`` (as ``booster.init`` says; for ``normal`` only the
    source's config is needed) or ``shuffled``. halves: the other half adds nothing to the
    residual stream. mixed: the layers stand side by side, see :func:`chosen_layers`. seed: of
    random and shuffled weights. The result is trainable until :meth:`Decoder.freeze`, and has the
    precision ``booster.layer_precision``.

    Raises SourceError when the layers cannot be had, or are not those of ``expect_sha256``,
    ConfigError for a layer that stands twice in a mixture.
    """
    source = open_source(booster.source)
    values = read_config(source)
    config = config_from(values, source.name)
    depth = config.num_hidden_layers
    numbers = chosen_layers(booster, depth, source.name, mixed=mixed)
    bones = skeleton(config, numbers)
    needs_file = weights != "random" or booster.init != "normal"
    stored = stored_weights(source) if needs_file else None
    if stored is None:
        count = sum(tensor.numel() for layer in bones.layers for tensor in layer.parameters())
        what = f"{source.name}: {len(numbers)} of its layers take {count:,} random weights"
        refuse_more("parameters", count, what, SourceError)
    fill = _Filler(bones, booster, weights, seed)

    # Layers side by side have their number for a place: another selection has other draws, as it
    # has other layers of the language model.
    places = (*numbers, depth + 1) if mixed else tuple(range(len(numbers) + 1))
    hashes = []
    for place, number, layer in zip(places, numbers, bones.layers, strict=False):
        read = None if stored is None else stored.layer(number, shapes_of(layer))
        hashes.append(fill(layer, read, place))
    if booster.final_norm:
        read = None if stored is None else stored.final_norm(shapes_of(bones.norm))
        hashes.append(fill(bones.norm, read, places[-1]))
    sha256 = joint_sha256(hashes)
    if expect_sha256 is not None:
        _check(source.name, numbers, sha256, expect_sha256)
    return _assembled(bones, config, values, booster, numbers, weights, halves, mixed, sha256)


def decoder_of_tensors(
    booster: BoosterConfig,
    values: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    weights: Weights = "pretrained",
    halves: Halves = "both",
    mixed: bool = False,
) -> Decoder:
    """Build the decoder that a configuration names from its tensors, without its source.

    values: contents of the language model's config.json. tensors: by their names in the state
    dict of a :class:`Decoder`; they are not copied. Raises SourceError when they are not those
    of such layers.
    """
    config = config_from(dict(values), booster.source)
    depth = config.num_hidden_layers
    numbers = chosen_layers(booster, depth, booster.source, mixed=mixed)
    bones = skeleton(config, numbers)
    decoder = _assembled(bones, config, values, booster, numbers, weights, halves, mixed)
    wanted, given = _own_shapes(decoder), {name: tensor.shape for name, tensor in tensors.items()}
    if wanted != given:
        first = min(name for name, _ in (wanted.items() ^ given.items()))
        raise SourceError(
            f"the tensors given for {booster.source} are not those of layer "
            f"{', '.join(map(str, numbers))} of a {config.model_type} with its config; the first "
            f"that differs is {first}"
        )
    dtype = _DTYPES[booster.layer_precision]
    converted = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    decoder.load_state_dict(converted, assign=True, strict=False)  # a mixture's weights stay
    decoder.identity = replace(decoder.identity, sha256=decoder.fingerprint())
    return decoder


def hollow_decoder(
    booster: BoosterConfig,
    values: Mapping[str, Any],
    *,
    weights: Weights = "pretrained",
    halves: Halves = "both",
    mixed: bool = False,
) -> Decoder:
    """The decoder that a configuration names, of the right shapes but with nothing in it.

    For counting: each tensor is a single zero, seen as often as its shape says, so no weights
    are needed and next to no memory. values: contents of the language model's config.json.
    """
    config = config_from(dict(values), booster.source)
    depth = config.num_hidden_layers
    numbers = chosen_layers(booster, depth, booster.source, mixed=mixed)
    bones = skeleton(config, numbers)
    decoder = _assembled(bones, config, values, booster, numbers, weights, halves, mixed)
    dtype = _DTYPES[booster.layer_precision]
    hollow = {
        name: torch.zeros((), dtype=dtype).expand(shape)
        for name, shape in _own_shapes(decoder).items()
    }
    decoder.load_state_dict(hollow, assign=True, strict=False)
    return decoder


def _own_shapes(decoder: Decoder) -> dict[str, torch.Size]:
    """Names and shapes of the tensors that are the language model's."""
    return {name: shape for name, shape in shapes_of(decoder).items() if is_own(name)}


def _assembled(
    bones: Skeleton,
    config: PretrainedConfig,
    values: Mapping[str, Any],
    booster: BoosterConfig,
    numbers: tuple[int, ...],
    weights: Weights,
    halves: Halves,
    mixed: bool,
    sha256: str = "",
) -> Decoder:
    learned = booster.mix_weights == "learned"
    identity = LayerIdentity(
        source=booster.source,
        layers=numbers,
        weights=weights,
        architecture=config.model_type,
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        sha256=sha256,
    )
    return Decoder(
        _blocks(bones, config, numbers, halves),
        bones.norm if booster.final_norm else None,
        identity,
        values,
        attention=booster.attention,
        position=booster.position,
        gradient_checkpointing=booster.gradient_checkpointing,
        mixing=Mixing(numbers, learned=learned) if mixed else None,
    )


@dataclass(frozen=True)
class _Filler:
    """Gives modules on the meta device their tensors: those that were read, or a control's."""

    bones: Skeleton
    booster: BoosterConfig
    weights: Weights
    seed: int

    def __call__(self, module: nn.Module, read: HashedTensors | None, place: int) -> str:
        """Fill one module and return the hash of its tensors before any change of precision."""
        made = self._made(module, read, place)
        dtype = _DTYPES[self.booster.layer_precision]
        converted = {name: tensor.to(dtype) for name, tensor in made.tensors.items()}
        module.load_state_dict(converted, assign=True)
        return made.sha256

    def _made(self, module: nn.Module, read: HashedTensors | None, place: int) -> HashedTensors:
        if read is None:
            return HashedTensors.of(normal_layer(self.bones.model, module, self.seed, place))
        if self.weights == "pretrained":
            return read
        if self.weights == "shuffled":
            return HashedTensors.of(shuffled_layer(read.tensors, self.seed, place))
        if self.booster.init == "reference":
            return HashedTensors.of(reference_layer(read.tensors, self.seed, place))
        normal = normal_layer(self.bones.model, module, self.seed, place)
        return HashedTensors.of(matched_layer(normal, read.tensors, self.seed, place))


def _blocks(
    bones: Skeleton, config: PretrainedConfig, numbers: tuple[int, ...], halves: Halves
) -> list[Block]:
    with as_error("config.json", SourceError, "is no language model that can be built"):
        return _made_blocks(bones, config, numbers, halves)


def _made_blocks(
    bones: Skeleton, config: PretrainedConfig, numbers: tuple[int, ...], halves: Halves
) -> list[Block]:
    blocks = []
    for place, (number, layer) in enumerate(zip(numbers, bones.layers, strict=True)):
        frequencies, scaling = spectrum_of(bones, place)
        window = window_of(config, number)
        blocks.append(
            Block(
                layer,
                ARCHITECTURES[config.model_type],
                frequencies=frequencies,
                scaling=scaling,
                window=window,
                halves=halves,
            )
        )
    return blocks


def _check(source: str, numbers: tuple[int, ...], sha256: str, expected: str) -> None:
    if sha256 != expected:
        layers = ", ".join(map(str, numbers))
        raise SourceError(
            f"layer {layers} of {source} has the SHA-256 {sha256[:12]}…, but "
            f"{expected[:12]}… is expected: it is not the layer that was used"
        )
