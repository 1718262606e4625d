"""Null bands: the same measure where nothing was learned, without which a number says little.

All draws are by address: the same for every run, so that bands of runs can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.errors import DownloadError, SourceError
from llm4seg_probe.randomness import address, generator

_ROUNDS = 60


def shuffled(tokens: Tensor, site: str) -> Tensor:
    """Tokens exchanged between images at the same position.

    tokens: (B, N, C), one image each. Returns (B, N, C) of which every position holds the B
    tokens of that position in another order; within an image nothing belongs together any more.
    """
    images, positions = tokens.shape[:2]
    draws = torch.rand(images, positions, generator=generator("null", "shuffled", site))
    return tokens.gather(0, draws.argsort(0)[..., None].expand_as(tokens))


def gaussian(tokens: Tensor, names: Sequence[str], site: str) -> Tensor:
    """Gaussian tokens with the same channel means and token norms.

    tokens: (B, N, C), ``names`` the images'. Returns (B, N, C) in float64: independent normal
    values, moved to the means and scaled to the norms in turn until both hold. The norms are
    exact, the means to a thousandth of the root mean square (a hundredth where the tokens are
    nearly equal; a single channel cannot have both).
    """
    images = []
    for name, image in zip(names, tokens.to(torch.float64), strict=True):
        draws = torch.randn(
            image.shape, generator=generator("null", "gaussian", site, name), dtype=torch.float64
        )
        images.append(_with_means_and_norms(draws, image.mean(0), image.norm(dim=-1, keepdim=True)))
    return torch.stack(images)


def _with_means_and_norms(tokens: Tensor, means: Tensor, norms: Tensor) -> Tensor:
    """Alternating projection of (N, C) to channel means (C,) and token norms (N, 1).

    Long tokens move further: where a few hold most of the mean, they alone can turn to it.
    """
    shares = norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny)
    close = 1e-3 * norms.square().mean().sqrt() / tokens.shape[1] ** 0.5
    found = _scaled(tokens, norms)
    for _ in range(_ROUNDS):
        missing = means - found.mean(0)
        if missing.abs().max() <= close:
            break
        found = _scaled(found + shares * missing, norms)
    return found


def _scaled(tokens: Tensor, norms: Tensor) -> Tensor:
    lengths = tokens.norm(dim=-1, keepdim=True)
    return tokens * (norms / lengths.where(lengths > 0, 1))


def partner(
    name: str, group: str, groups: Sequence[str], others: Sequence[int], *draw: str | int
) -> int | None:
    """Choose another image for one: of another group where there is one; None where there is none.

    groups: of all images. others: the indices of those that may be chosen. ``draw`` is the part of
    the address that says for what. Neighbouring slices of one person are nearly the same image,
    hence the other group.
    """
    chosen = [index for index in others if groups[index] != group] or list(others)
    return chosen[address(*draw, name) % len(chosen)] if chosen else None


def other_images(names: Sequence[str], groups: Sequence[str], *draw: str | int) -> list[int]:
    """For each image the index of another one, see :func:`partner`.

    draw: what they are for, by default the null ``other-image``. Raises ValueError for fewer than
    two images.
    """
    if len(names) < 2:
        raise ValueError("another image takes at least two")
    partners = []
    for index, (name, group) in enumerate(zip(names, groups, strict=True)):
        others = [other for other in range(len(names)) if other != index]
        partners.append(partner(name, group, groups, others, *(draw or ("null", "other-image"))))
    return [index for index in partners if index is not None]


def untrained(config: Config) -> nn.Module | None:
    """The network of a configuration before its training, for the null band of that name.

    None where it cannot be made again: a layer that lies in the checkpoint itself may have no
    source here.
    """
    from llm4seg_probe.models.network import build_network

    try:
        return build_network(config).eval()
    except (SourceError, DownloadError):
        return None
