"""Scores of labels of whole images, each as one number per image whose mean is the score.

Probabilities and labels are (N, K), of N images and K classes, each class a question of its own:
has the image the class or not. A score of a set, such as the area under the curve, is given as N
parts whose mean over the images is the score, to rounding: tables of images then average to it, and
its spread over images is the usual linear approximation (for AUROC that of DeLong et al., 1988).

| score | mean of the parts | part of one image | missing (NaN) where |
| --- | --- | --- | --- |
| AUROC | P(p of an image with the class > p of one without), ties half | share of the images of the other kind that lie on the right side of it | all images have the class, or none |
| balanced accuracy | (sensitivity + specificity) / 2 | right or not, times N / (2 images of its kind) | all images have the class, or none |
| F1 | 2 TP / (2 TP + FP + FN) | F1 + N (2 tp - F1 (2 tp + fp + fn)) / (2 TP + FP + FN) | no image has the class and none is said to |
| Brier | mean of (p - y)² | (p - y)² | never |
| ECE | sum over bins of abs(sum of (p - y)) / N | (p - y), with the sign of its bin's sum | never |

The parts of F1 and ECE may be below 0, and those of balanced accuracy and F1 above 1.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BINS = 15
"""Bins of equal width, from 0 to 1, of the calibration error; a bin has its lower edge."""


def classification_scores(probability: Tensor, decided: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """All scores by their names in ``scores.csv``, (N, K) in float64 each.

    probability: between 0 and 1. decided, truth: boolean, whether an image is said to have the
    class, and has it. All (N, K). Raises ValueError for other shapes or types.

    >>> p, y = torch.tensor([[0.9], [0.6], [0.2]]), torch.tensor([[True], [False], [False]])
    >>> found = classification_scores(p, p > 0.5, y)
    >>> {name: round(parts.mean().item(), 3) for name, parts in found.items()}  # doctest: +ELLIPSIS
    {'image_auroc': 1.0, 'image_balanced_accuracy': 0.75, 'image_f1': 0.667, ...}
    """
    _check(probability, decided, truth)
    probability = probability.double()
    right = decided == truth
    return {
        "image_auroc": by_class(auroc_parts, probability, truth),
        "image_balanced_accuracy": by_class(balanced_accuracy_parts, right, truth),
        "image_f1": by_class(f1_parts, decided, truth),
        "image_brier": (probability - truth.double()).square(),
        "image_ece": by_class(calibration_parts, probability, truth),
    }


def by_class(parts: Callable[[Tensor, Tensor], Tensor], found: Tensor, truth: Tensor) -> Tensor:
    """The parts of each class, (N,) by (N,), as (N, K)."""
    return torch.stack([parts(a, b) for a, b in zip(found.T, truth.T, strict=True)], 1)


def auroc_parts(probability: Tensor, truth: Tensor) -> Tensor:
    """Placement of each image among those of the other kind: (N,), whose mean is the AUROC.

    The mean over the images with the class is the area too, and so is that over those without.
    """
    if truth.all() or not truth.any():
        return torch.full_like(probability, torch.nan)
    has, has_not = probability[truth].sort().values, probability[~truth].sort().values
    parts = torch.empty_like(probability)
    parts[truth] = _share_below(has_not, probability[truth])
    parts[~truth] = 1 - _share_below(has, probability[~truth])
    return parts


def _share_below(ordered: Tensor, values: Tensor) -> Tensor:
    """Share of ordered values below each of others, equal ones counting half."""
    values = values.contiguous()
    below = torch.searchsorted(ordered, values, right=False)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above).double() / (2 * len(ordered))


def balanced_accuracy_parts(right: Tensor, truth: Tensor) -> Tensor:
    """Whether each image is right, weighed so that both kinds count alike: (N,)."""
    if truth.all() or not truth.any():
        return torch.full(right.shape, torch.nan, dtype=torch.float64, device=right.device)
    count = truth.sum().double()
    own = torch.where(truth, count, len(truth) - count)
    return right.double() * len(truth) / (2 * own)


def f1_parts(decided: Tensor, truth: Tensor) -> Tensor:
    """F1 and each image's deviation from it, to first order: (N,)."""
    hits = 2 * (decided & truth).double()
    counted = decided.double() + truth.double()  # 2 tp + fp + fn of one image
    if counted.sum() == 0:
        return torch.full_like(hits, torch.nan)
    f1 = hits.sum() / counted.sum()
    return f1 + (hits - f1 * counted) / counted.mean()


def calibration_parts(probability: Tensor, truth: Tensor, bins: int = BINS) -> Tensor:
    """How far each image's probability is off, with the sign of its bin: (N,), mean is the ECE."""
    place = (probability * bins).long().clamp(max=bins - 1)
    off = probability - truth.double()
    sums = torch.zeros(bins, dtype=off.dtype, device=off.device).index_add(0, place, off)
    return off * sums.sign()[place]


def _check(probability: Tensor, decided: Tensor, truth: Tensor) -> None:
    if not probability.shape == decided.shape == truth.shape or probability.ndim != 2:
        shapes = ", ".join(str(tuple(one.shape)) for one in (probability, decided, truth))
        raise ValueError(f"probability, decision and truth are (N, K) each, not {shapes}")
    if decided.dtype != torch.bool or truth.dtype != torch.bool:
        raise ValueError(f"labels are boolean, not {decided.dtype} and {truth.dtype}")
