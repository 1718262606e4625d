"""Measures of distributions over a vocabulary, and of the distance between two of them.

A distribution is (…, V): probabilities of V words, or zeros where there is none, which gives NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LN2 = math.log(2)


def vocabulary_entropy(distributions: Tensor) -> Tensor:
    """Entropy of distributions (…, V) in nats: (…,), 0 for one word, ln V for all alike.

    >>> round(vocabulary_entropy(torch.full((4,), 0.25)).exp().item(), 6)
    4.0
    """
    terms: Tensor = torch.special.entr(distributions)
    return terms.sum(-1).where(distributions.any(-1), torch.nan)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon distance of distributions (…, V): (…,), 0 for the same, 1 for disjoint ones.

    The square root of the divergence in bits, which makes it a metric. Endres & Schindelin, IEEE
    Trans. Inf. Theory 2003.

    >>> jensen_shannon(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item()
    1.0
    """
    between = vocabulary_entropy((p + q) / 2) - (vocabulary_entropy(p) + vocabulary_entropy(q)) / 2
    return (between / _LN2).clamp(0, 1).sqrt()


def mean_distribution(sums: Tensor) -> Tensor:
    """Sums of the tokens' probabilities (…, V) as one distribution; zeros where there were none."""
    totals = sums.sum(-1, keepdim=True)
    return sums / totals.where(totals > 0, 1)


def largest_share(words: Tensor) -> Tensor:
    """Share of the tokens whose likeliest word is the commonest such word: (B,), 1/N to 1.

    words: (B, N), ids. At 1 all tokens of an image are read as the same word.

    >>> largest_share(torch.tensor([[7, 7, 2, 7]])).item()
    0.75
    """
    counts = [torch.unique(row, return_counts=True)[1].amax().item() for row in words]
    return torch.tensor(counts, dtype=torch.float64) / words.shape[1]
