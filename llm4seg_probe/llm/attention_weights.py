"""The attention weights of a decoder layer, as it really runs on the tokens that it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


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
