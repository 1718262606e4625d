"""Linear probes that tell foreground tokens from background tokens.

The probe is a ridge regression of the label (1 foreground, 0 background) on a token's features,
each scaled to unit variance: with a small penalty, Fisher's linear discriminant. All that it
needs are sums over tokens, so that tokens are seen once and memory does not grow with their
number; a logistic probe would have to see them again at every step. Everything is in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES: tuple[float, ...] = tuple(10.0**power for power in range(-6, 3))
"""Ridge penalties to choose among, in units of a feature's variance."""
FREQUENCIES = 6
"""Cosines per axis in :func:`position_features`."""
BINS = 2**14

_CONSTANT = 1e-12


def position_features(grid: Sequence[int], frequencies: int = FREQUENCIES) -> Tensor:
    """What a token's place in the image says, as features: (N, P), N the product of ``grid``.

    Products over the axes of cos(πk(i + ½)/n), the cosines of the discrete cosine transform with
    k below ``frequencies``; the constant is left out. On a grid of at most ``frequencies`` a side
    they are a basis: a probe on them has a free value for every cell, as one-hot cells would give
    it. On a finer grid it is smooth.

    >>> position_features((1, 2)).shape, position_features((16, 16)).shape
    (torch.Size([2, 1]), torch.Size([256, 35]))
    """
    features = torch.ones(1, 1, dtype=torch.float64)
    for length in grid:
        places = torch.arange(length, dtype=torch.float64)[:, None] + 0.5
        waves = torch.arange(min(length, frequencies), dtype=torch.float64)
        features = torch.kron(features, torch.cos(torch.pi * waves * places / length))
    return features[:, 1:]


class Moments:
    """Sums over tokens from which ridge regressions are solved: F × F numbers, however many tokens.

    ``targets`` T are columns of labels, each of which gets a probe of its own.
    """

    def __init__(self, features: int, targets: int) -> None:
        self.count = 0
        self._sums = torch.zeros(features, dtype=torch.float64)
        self._labels = torch.zeros(targets, dtype=torch.float64)
        self._gram = torch.zeros(features, features, dtype=torch.float64)
        self._cross = torch.zeros(features, targets, dtype=torch.float64)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add tokens: features (n, F), labels (n, T), 0 or 1."""
        x, y = features.to(torch.float64), labels.to(torch.float64)
        self.count += len(x)
        self._sums += x.sum(0)
        self._labels += y.sum(0)
        self._gram.addmm_(x.mT, x)
        self._cross.addmm_(x.mT, y)

    def merge(self, other: Moments) -> None:
        """Add the tokens that another one has seen."""
        self.count += other.count
        self._sums += other._sums
        self._labels += other._labels
        self._gram += other._gram
        self._cross += other._cross

    @property
    def means(self) -> Tensor:
        """Means of the features (F,)."""
        return self._sums / self.count

    @property
    def shares(self) -> Tensor:
        """Share of the tokens that is foreground, by target (T,)."""
        return self._labels / self.count

    @property
    def constant(self) -> Tensor:
        """Features that do not vary (F,), boolean."""
        return self._gram.diagonal() / self.count - self.means**2 <= _CONSTANT * (
            self._gram.diagonal() / self.count
        )

    def covariance(self, columns: Tensor) -> Tensor:
        """Covariance of some of the features (columns, columns)."""
        means = self.means[columns]
        return self._gram[columns][:, columns] / self.count - torch.outer(means, means)

    def with_labels(self, columns: Tensor) -> Tensor:
        """Covariance of some of the features with the labels (columns, T)."""
        return self._cross[columns] / self.count - torch.outer(self.means[columns], self.shares)


@dataclass(frozen=True)
class Probe:
    """A linear probe: ``features @ weights`` is a score, about 0 on average over its training.

    ``weights`` (F,) and ``offset`` are scaled so that the scores of the training tokens have the
    standard deviation 1. ``penalty`` is the one that was chosen. All are NaN where the training
    tokens were of one class only, or not finite.
    """

    weights: Tensor
    offset: float
    penalty: float


def fit_probes(
    train: Moments, validation: Moments, columns: Tensor, penalties: Sequence[float] = PENALTIES
) -> list[Probe]:
    """One probe for each target, on some of the features; the others have the weight 0.

    The penalty is the one with the smallest squared error on the validation tokens.

    >>> moments = Moments(1, 1)
    >>> moments.add(torch.tensor([[0.0], [0.0], [2.0], [2.0]]), torch.tensor([[0], [0], [1], [1]]))
    >>> probe = fit_probes(moments, moments, torch.tensor([0]))[0]
    >>> round(probe.weights.item(), 6), round(probe.offset, 6), probe.penalty
    (1.0, -1.0, 1e-06)
    """
    targets = range(len(train.shares))
    columns = columns[~train.constant[columns]]
    covariance, cross = train.covariance(columns), train.with_labels(columns)
    features = len(train.means)
    if not torch.isfinite(covariance).all():
        return [_no_probe(features) for _ in targets]
    scales = covariance.diagonal().rsqrt()
    values, vectors = torch.linalg.eigh(scales[:, None] * covariance * scales)
    projected = vectors.mT @ (scales[:, None] * cross)
    shrunk = values.clamp_min(0)[:, None] + torch.tensor(penalties, dtype=torch.float64)
    probes = []
    for target in targets:
        if not 0 < train.shares[target] < 1:
            probes.append(_no_probe(features))
            continue
        path = scales[:, None] * (vectors @ (projected[:, target, None] / shrunk))
        errors = _squared_errors(path, train, validation, columns, target)
        best = int(errors.argmin())
        probes.append(_scaled(path[:, best], covariance, train, columns, penalties[best]))
    return probes


def _squared_errors(
    path: Tensor, train: Moments, validation: Moments, columns: Tensor, target: int
) -> Tensor:
    """Mean squared error of each probe of a path (columns, L) on the validation tokens: (L,)."""
    share = validation.shares[target]
    drift = path.mT @ (validation.means[columns] - train.means[columns])
    bias = train.shares[target] + drift - share
    explained = ((validation.covariance(columns) @ path) * path).sum(0)
    agreement = path.mT @ validation.with_labels(columns)[:, target]
    return share * (1 - share) + explained - 2 * agreement + bias**2


def _scaled(
    weights: Tensor, covariance: Tensor, train: Moments, columns: Tensor, penalty: float
) -> Probe:
    spread = (weights @ covariance @ weights).clamp_min(0).sqrt()
    standard = weights / spread.where(spread > 0, 1)
    every = torch.zeros(len(train.means), dtype=torch.float64)
    every[columns] = standard
    return Probe(every, -float(every @ train.means), penalty)


def _no_probe(features: int) -> Probe:
    return Probe(torch.full((features,), torch.nan, dtype=torch.float64), math.nan, math.nan)


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under precision against recall, in steps; tokens of one score are found together.

    scores: (B, N); labels: (B, N), boolean. Returns (B,), 0 to 1, for chance about the share of
    foreground; NaN without foreground, or where a score is not a number.

    >>> found = average_precision(torch.tensor([[4.0, 3.0, 2.0]]), torch.tensor([[1, 0, 1]]) > 0)
    >>> round(found.item(), 6)
    0.833333
    """
    order = scores.argsort(-1, descending=True)
    ordered = scores.gather(-1, order)
    last = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    is_step = torch.cat([ordered[:, 1:] < ordered[:, :-1], last], -1)
    found = labels.gather(-1, order).double().cumsum(-1)
    precision = found / torch.arange(1, scores.shape[-1] + 1, dtype=torch.float64)
    reached = found.where(is_step, 0).cummax(-1).values
    steps = reached.diff(dim=-1, prepend=reached.new_zeros(len(reached), 1))
    total = (steps * precision).sum(-1) / found[:, -1]
    return total.where(~scores.isnan().any(-1), torch.nan)


def dice(predicted: Tensor, labels: Tensor) -> Tensor:
    """Dice of predicted tokens (B, N) with labels (B, N), both boolean: (B,); NaN without any.

    >>> dice(torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]])).item()
    0.6666666666666666
    """
    both = (predicted & labels).sum(-1).double()
    found: Tensor = 2 * both / (predicted.sum(-1) + labels.sum(-1))
    return found.where(labels.any(-1), torch.nan)


def levels(scores: Tensor) -> Tensor:
    """Which of ``BINS`` levels a score lies on, 0 to BINS - 1: it never falls as the score rises.

    Levels are equal steps of the arc tangent: about 4e-4 near 0, and none is too far out for one.
    """
    place = 0.5 + torch.atan(scores.nan_to_num()) / torch.pi
    return (place * BINS).long().clamp(0, BINS - 1)


class ScoreCounts:
    """How many foreground and background tokens lie on each level of score, for M probes.

    What holds of all tokens of a data set together, in constant memory: two tokens on one level
    count as a tie.
    """

    def __init__(self, probes: int) -> None:
        self._counts = torch.zeros(2, probes, BINS, dtype=torch.float64)
        self._valid = torch.ones(probes, dtype=torch.bool)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Add the scores of tokens (M, n) with their labels (M, n), boolean."""
        self._valid &= ~scores.isnan().any(-1)
        places = levels(scores)
        for counts, chosen in zip(self._counts, (labels, ~labels), strict=True):
            counts.scatter_add_(1, places, chosen.double())

    @property
    def tokens(self) -> Tensor:
        """Number of foreground tokens and of background tokens: (2, M)."""
        return self._counts.sum(-1)

    def auroc(self) -> Tensor:
        """Probability that a foreground token scores higher than a background token: (M,)."""
        inside, outside = self._counts
        below = outside.cumsum(-1) - outside / 2
        return self._known((inside * below).sum(-1) / self.tokens.prod(0))

    def average_precision(self) -> Tensor:
        """As :func:`average_precision`, of all tokens together: (M,)."""
        inside, outside = self._counts.flip(-1)
        found = inside.cumsum(-1)
        precision = found / (found + outside.cumsum(-1)).clamp_min(1)
        area: Tensor = (inside * precision).sum(-1) / self.tokens[0]
        return self._known(area)

    def dice(self, cuts: Tensor) -> Tensor:
        """Dice of the tokens on the level ``cuts`` (M,) or above it with the labels: (M,)."""
        return self._known(self._dice().gather(-1, cuts[:, None]).squeeze(-1))

    def best_cuts(self) -> Tensor:
        """The level from which on a token is best called foreground, by Dice: (M,)."""
        return self._dice().nan_to_num().argmax(-1)

    def _dice(self) -> Tensor:
        inside, outside = (part.flip(-1).cumsum(-1).flip(-1) for part in self._counts)
        found: Tensor = 2 * inside / (inside + outside + self.tokens[0][:, None])
        return found

    def _known(self, values: Tensor) -> Tensor:
        return values.where(self._valid & (self.tokens[0] > 0), torch.nan)
