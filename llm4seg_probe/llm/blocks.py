"""One decoder layer of a language model, its two halves and the residual stream between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from llm4seg_probe.llm.architectures import Architecture

Position = Literal["reference", "rope", "axial-rope", "none"]
Rotation = tuple[Tensor, Tensor]


def rotation(
    position: Position,
    grid: Sequence[int],
    frequencies: Tensor,
    scaling: float,
    dtype: torch.dtype,
) -> Rotation:
    """Cosine and sine by which transformers rotates each token's queries and keys.

    grid: (H, W) or (D, H, W), N tokens in raster order (row-major). frequencies: (head_dim / 2,)
    radians per step. Computed in float32, returned in ``dtype``, each (1, N, head_dim), or
    (1, N, 1) where all head dimensions share one angle.

    ``reference`` is what the published code passes: sin n and cos n of the raster index n in
    radians, in each other's place. ``rope`` is the model's own encoding of n. ``axial-rope``
    keeps the model's frequencies and gives the axes turns (pair 0 turns with the first axis,
    pair 1 with the second, …), so that each axis has its share of the whole spectrum.
    """
    count, device = math.prod(grid), frequencies.device
    index = torch.arange(count, device=device)
    if position == "reference":
        angle = index.float()[None, :, None]
        return angle.sin().to(dtype), angle.cos().to(dtype)
    if position == "none":
        still = torch.zeros(1, count, 1, device=device)
        return still.cos().to(dtype), still.to(dtype)
    axes = [index] if position == "rope" else _coordinates(index, grid)
    pairs = torch.arange(len(frequencies), device=device) % len(axes)
    steps = torch.stack(axes, dim=1).float()[:, pairs]
    angle = (steps * frequencies.float()).repeat(1, 2)[None]
    return (angle.cos() * scaling).to(dtype), (angle.sin() * scaling).to(dtype)


def _coordinates(index: Tensor, grid: Sequence[int]) -> list[Tensor]:
    """Coordinate of each token along each axis of the grid, first axis first."""
    coordinates = []
    for axis, length in enumerate(grid):
        stride = math.prod(grid[axis + 1 :])
        coordinates.append(index // stride % length)
    return coordinates


def window_mask(count: int, window: int, causal: bool, device: torch.device) -> Tensor:
    """The attention mask of a sliding window: (1, 1, N, N) bool, True where a token is seen.

    A token sees those less than ``window`` places from it in raster order: before it, and, where
    attention is not causal, after it.
    """
    index = torch.arange(count, device=device)
    distance = index[:, None] - index[None, :]
    seen = distance.abs() < window
    return (seen & (distance >= 0) if causal else seen)[None, None]


Halves = Literal["both", "attention", "mlp"]


class Block(nn.Module):
    """A transformers decoder layer, run half by half: its parameters keep their names.

    The residual stream after attention is the output of ``after_attention`` (the site
    ``attention``), the layer's output that of the block itself (the site ``layer``).
    ``halves`` says which halves add to the stream; it may be changed at any time.
    """

    frequencies: Tensor

    def __init__(
        self,
        layer: nn.Module,
        architecture: Architecture,
        *,
        frequencies: Tensor,
        scaling: float,
        window: int | None,
        halves: Halves = "both",
    ) -> None:
        super().__init__()
        for name, module in layer.named_children():
            self.add_module(name, module)
        self.after_attention = nn.Identity()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.scaling = scaling
        self.window = window
        self.architecture = architecture
        self.halves = halves

    def forward(self, stream: Tensor, rotation: Rotation, causal: bool) -> Tensor:
        """Residual stream (B, N, width) after the layer, from the one before it."""
        if self.halves != "mlp":
            stream = stream + self._attention(stream, rotation, causal)
        stream = self.after_attention(stream)
        if self.halves != "attention":
            stream = stream + self._mlp(stream)
        return stream

    def _attention(self, stream: Tensor, rotation: Rotation, causal: bool) -> Tensor:
        names, count = self.architecture, stream.shape[1]
        mask = None
        # transformers, too, masks as soon as the window is full: the same kernel, the same bits.
        if self.window is not None and count >= self.window:
            mask = window_mask(count, self.window, causal, stream.device)
        attended, _ = self.get_submodule("self_attn")(
            hidden_states=self._norm(names.before_attention, stream),
            position_embeddings=rotation,
            attention_mask=mask,
            is_causal=causal,
        )
        return self._norm(names.after_attention, attended)

    def _mlp(self, stream: Tensor) -> Tensor:
        names = self.architecture
        transformed = self.get_submodule("mlp")(self._norm(names.before_mlp, stream))
        return self._norm(names.after_mlp, transformed)

    def _norm(self, name: str | None, values: Tensor) -> Tensor:
        return values if name is None else self.get_submodule(name)(values)
