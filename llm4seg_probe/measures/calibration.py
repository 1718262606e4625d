"""Calibration of probabilities of pixels: Brier score, calibration error, bins.

Probabilities are (B, K, *grid), K classes without the background, each against all the rest; masks
are boolean and of the same shape. Every pixel of an image counts once. The predicted answer for a
pixel is the more probable of the two, class or not (the class at exactly 0.5), and its confidence
is the probability of that answer, 0.5 to 1. Confidences fall into 15 bins of equal width over 0 to
1, closed above: bin m holds those in ((m - 1) / 15, m / 15], so that 8 to 15 are in use.

An empty mask is scored by the same rule as any other, since every one of its pixels has a truth: a
network that is sure that nothing is there has an error of 0, one that is sure of a false pixel pays
for that pixel. Where a probability is no number, neither score is one.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15
"""Bins of the confidence, as in Guo et al., ICML 2017."""


def calibration_scores(probabilities: Tensor, target: Tensor) -> dict[str, Tensor]:
    """``ece`` and ``brier`` of each image and class: (B, K) each in float64, lower is better.

    Parameters
    ----------
    probabilities : Tensor
        (B, K, *grid), 0 to 1.
    target : Tensor
        (B, K, *grid), boolean.

    Returns
    -------
    dict of str to Tensor
        ``ece``, the expected calibration error: the mean over pixels, by bins, of the distance
        between the mean confidence and the share of right answers, 0 to 1: to be wrong with
        certainty everywhere is 1.
        ``brier``, the mean squared distance of probability and truth, 0 to 1.

    Raises
    ------
    ValueError
        For shapes that differ, and a target that is not boolean.

    References
    ----------
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Brier, Monthly Weather
    Review 78, 1950.

    Examples
    --------
    >>> probabilities = torch.tensor([[[0.8, 0.8, 0.8, 0.8]]])
    >>> target = torch.tensor([[[True, True, True, False]]])
    >>> found = calibration_scores(probabilities, target)
    >>> round(found["ece"].item(), 6), round(found["brier"].item(), 6)
    (0.05, 0.19)
    """
    _check(probabilities, target)
    pixels = probabilities.flatten(2)
    truth = target.flatten(2)
    bins, surplus = _binned(pixels, truth)
    places = bins + BINS * torch.arange(bins[..., 0].numel(), device=bins.device).view(
        *bins.shape[:2], 1
    )
    sums = torch.bincount(
        places.flatten(), surplus.flatten().double(), minlength=BINS * bins[..., 0].numel()
    )
    ece = sums.view(*bins.shape[:2], BINS).abs().sum(-1) / pixels.shape[-1]
    brier = (pixels - truth.to(pixels.dtype)).square().mean(-1, dtype=torch.float64)
    return {"ece": ece.where(brier.isfinite(), torch.nan), "brier": brier}


def reliability(probabilities: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sums of each image, class and bin, (B, K, 15) each in float64: they may be added up.

    ``pixels``, how many; ``confidence``, the sum of their confidences; ``right``, how many
    answers are right. Of an image without numbers all are 0. See :func:`pooled_error`.

    probabilities, target: as in :func:`calibration_scores`.
    """
    _check(probabilities, target)
    pixels, truth = probabilities.flatten(2).double(), target.flatten(2)
    bins, _ = _binned(pixels, truth)
    answers = pixels >= 0.5
    parts = {
        "pixels": torch.ones_like(pixels),
        "confidence": _confidence(pixels),
        "right": (answers == truth).double(),
    }
    whole = pixels.isfinite().all(-1, keepdim=True)
    empty = torch.zeros(*pixels.shape[:2], BINS, dtype=torch.float64, device=pixels.device)
    return {
        name: empty.scatter_add(-1, bins, part.where(whole, 0.0)) for name, part in parts.items()
    }


def pooled_error(pixels: Tensor, confidence: Tensor, right: Tensor) -> Tensor:
    """Calibration error of sums by bin, (..., 15) each, as :func:`reliability` gives them: (...).

    Of one image it is its ``ece``; of the sums over images that of all their pixels together,
    which is at most the mean of theirs weighted by pixels: errors in opposite directions cancel.

    >>> n, c, r = torch.tensor([[4.0, 0.0]]), torch.tensor([[3.2, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> round(pooled_error(n, c, r).item(), 6)
    0.05
    """
    return (confidence - right).abs().sum(-1) / pixels.sum(-1)


def _binned(pixels: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Bin of each pixel (int64), and its confidence less 1 where its answer is right."""
    confidence = _confidence(pixels)
    bins = (confidence.nan_to_num(1.0) * BINS).ceil_().sub_(1).clamp_(0, BINS - 1).long()
    right = (pixels >= 0.5) == truth
    return bins, confidence - right.to(confidence.dtype)


def _confidence(pixels: Tensor) -> Tensor:
    return torch.maximum(pixels, 1 - pixels)


def _check(probabilities: Tensor, target: Tensor) -> None:
    if target.dtype != torch.bool:
        raise ValueError(f"masks are boolean, not {target.dtype}")
    if probabilities.shape != target.shape or probabilities.ndim < 3:
        raise ValueError(
            f"the probabilities have the shape {tuple(probabilities.shape)}, the mask "
            f"{tuple(target.shape)}: (B, K, *grid) is expected of both"
        )
