"""Signal and noise of features: variance between images against variance between noise draws.

Draws are (I, K, N, C): I images, each K times with independent noise of one kind, N tokens at the
same positions, C channels. The model is one-way random effects, for each token and channel by
itself: x_ik = s_i + e_ik, with noise e of mean 0 whose variance may differ from image to image.

The noise of image i is the variance of its draws, nu_i = sum_k (x_ik - m_i)² / (K - 1), where m_i
is the mean of its draws. The mean of the draws still holds a K-th of the noise, so the plain
variance of the m_i between images is too large by mean(nu) / K. It is taken off:
signal = sum_i (m_i - m)² / (I - 1) - mean(nu) / K, which is unbiased for the variance of s between
images (of a fixed set of images: for sum_i (s_i - s)² / (I - 1)) and may therefore lie below 0
where there is no signal. It is never set to 0: that would bias every mean of it.

All is in squared units of the features: a signal-to-noise ratio here is one of variances (power),
its square root one of amplitudes. The mean over k tokens of equal signal and independent noise
gains k in it, √k in amplitude. Ratios are of unbiased estimates, summed over channels and tokens
before they are divided.
"""

from __future__ import annotations

import torch
from torch import Tensor


def noise_variance(draws: Tensor) -> Tensor:
    """Variance between the noise draws of each image, unbiased: (I, N, C) in float64.

    Parameters
    ----------
    draws : Tensor
        (I, K, N, C), K of at least 2.

    Returns
    -------
    Tensor
        (I, N, C), squared units of the features.

    Raises
    ------
    ValueError
        For another shape, or fewer than two draws.

    Examples
    --------
    >>> noise_variance(torch.tensor([[[[1.0]], [[3.0]]]])).item()
    2.0
    """
    _check(draws)
    return draws.to(torch.float64).var(1)


def signal_variance(draws: Tensor) -> Tensor:
    """Share of each image in the variance between images, unbiased: (I, N, C) in float64.

    Its mean over images is the variance between images of the mean over draws, less the K-th part
    of the noise that this mean still holds. Of one image i it is
    I / (I - 1) · (m_i - m)² less what noise adds to that,
    ((I - 1) / I · nu_i + sum_{j≠i} nu_j / (I (I - 1))) / K: unbiased for each image even where
    noise differs between images, and below 0 by chance where there is no signal.

    Parameters
    ----------
    draws : Tensor
        (I, K, N, C), I and K of at least 2.

    Returns
    -------
    Tensor
        (I, N, C), squared units of the features.

    Raises
    ------
    ValueError
        For another shape, or fewer than two images or draws.

    References
    ----------
    Searle, Casella & McCulloch, Variance Components, 1992, chapter 3.

    Examples
    --------
    Two images, two draws, one token and channel. The means 1 and 5 differ by a variance of 8; the
    noise variances 2 and 2 leave 1 of noise in it.

    >>> draws = torch.tensor([[0.0, 2.0], [4.0, 6.0]])[..., None, None]
    >>> signal_variance(draws).mean().item()
    7.0
    """
    _check(draws)
    images, count = draws.shape[:2]
    if images < 2:
        raise ValueError("a variance between images takes at least two images")
    means = draws.to(torch.float64).mean(1)
    noise = noise_variance(draws)
    scale = images / (images - 1)
    share = scale * (means - means.mean(0)).square()
    others = (noise.sum(0) - noise) / (images * (images - 1))
    return share - ((images - 1) / images * noise + others) / count


def displacement(draws: Tensor, clean: Tensor) -> Tensor:
    """Squared distance by which noise moves the features on average, unbiased: (I, N, C).

    What draws alone do not show: a network may answer noise with a change that is the same in all
    draws. It is the squared difference of the mean over draws and the features without noise, less
    the K-th part of the noise.

    draws: (I, K, N, C); clean: (I, N, C), of the same images without noise. Raises ValueError
    where the two do not fit.

    >>> draws = torch.tensor([[4.0, 6.0]])[..., None, None]
    >>> displacement(draws, torch.tensor([[[2.0]]])).item()
    8.0
    """
    _check(draws)
    if clean.shape != draws[:, 0].shape:
        raise ValueError(
            f"features without noise are {tuple(clean.shape)}, the draws {tuple(draws.shape)}: "
            "the same images, tokens and channels are expected"
        )
    moved = draws.to(torch.float64).mean(1) - clean.to(torch.float64)
    return moved.square() - noise_variance(draws) / draws.shape[1]


def principal_directions(clean: Tensor, count: int) -> Tensor:
    """Directions in which images differ most, by features without noise: (C, J) in float64.

    clean: (I, N, C). The leading eigenvectors of the covariance between images at the same
    position, averaged over positions; J is the smaller of ``count`` and C, the largest first.
    Since the noise draws have no part in them, signal and noise along them stay unbiased; those of
    the noisy features would be turned to where noise happens to look like signal.

    >>> clean = torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]]])
    >>> principal_directions(clean, 1).abs().tolist()
    [[0.0], [1.0]]
    """
    if clean.ndim != 3 or len(clean) < 2:
        raise ValueError(f"features are (I, N, C) of two or more images, not {tuple(clean.shape)}")
    centred = clean.to(torch.float64)
    centred = (centred - centred.mean(0)).flatten(0, 1)
    vectors: Tensor = torch.linalg.eigh(centred.mT @ centred).eigenvectors
    return vectors.flip(-1)[:, :count]


def decibels(ratio: Tensor) -> Tensor:
    """Ten times the decimal logarithm of a ratio of variances; NaN where it is not above 0.

    >>> decibels(torch.tensor([100.0, 1.0, -0.1])).tolist()
    [20.0, 0.0, nan]
    """
    ratio = ratio.to(torch.float64)
    return (10 * ratio.log10()).where(ratio > 0, torch.nan)


def _check(draws: Tensor) -> None:
    if draws.ndim != 4:
        raise ValueError(f"draws are (I, K, N, C), these are {tuple(draws.shape)}")
    if draws.shape[1] < 2:
        raise ValueError("a variance between noise draws takes at least two draws")
