"""One decoder layer of a language model, its two halves and the residual stream between them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from llm4seg_probe.llm.architectures import Architecture
from llm4seg_probe.llm.positions import Rotation, window_mask

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
