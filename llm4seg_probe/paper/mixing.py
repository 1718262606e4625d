"""The mixing of tokens that follows from a decoder layer's construction, before any image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from llm4seg_probe.llm.blocks import Position, rotation
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.randomness import generator

_DRAWS = 8


@torch.no_grad()
def reach(decoder: Decoder, grid: Sequence[int], token: int) -> np.ndarray:
    """Measure the change of each output token when one input token is exchanged.

    Tokens are Gaussian with variance 1. Returns (H, W): the norm of the change divided by that
    of the output, the mean over draws; 0 where the layer cannot see the token.
    """
    count = math.prod(grid)
    draw = generator("anatomy", "reach", count, token)
    tokens = torch.randn(_DRAWS, count, decoder.width, generator=draw)
    changed = tokens.clone()
    changed[:, token] = torch.randn(_DRAWS, decoder.width, generator=draw)
    before, after = decoder(tokens, grid), decoder(changed, grid)
    share = (after - before).norm(dim=-1) / before.norm(dim=-1)
    return share.mean(0).reshape(tuple(grid)).numpy()


def nearness(decoder: Decoder, grid: Sequence[int], token: int, position: Position) -> np.ndarray:
    """Measure how alike a position encoding alone makes one token and each other.

    Returns (H, W): the mean over the head's dimensions of the cosine of the angle between the
    two rotations, 1 for the token itself; what the logits of equal content would be, per unit.
    """
    block = decoder.blocks[0]
    cosine, sine = rotation(position, grid, block.frequencies, 1.0, torch.float32)
    alike = cosine * cosine[:, token, None] + sine * sine[:, token, None]
    return alike.mean(-1).reshape(tuple(grid)).numpy()


def centre(grid: Sequence[int]) -> int:
    """The raster index of the token in the middle of a grid.

    >>> centre((3, 3))
    4
    """
    return int(np.ravel_multi_index([length // 2 for length in grid], tuple(grid)))
