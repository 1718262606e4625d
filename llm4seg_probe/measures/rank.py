"""Effective rank and its relatives: the number of directions that a set of tokens uses.

A token matrix X has N tokens (rows) by C channels and is not centred. Its singular values are
σ1 ≥ σ2 ≥ …, with shares p_i = σ_i / Σσ. All measures are in float64. A matrix of zeros, or one
that holds a value that is not finite, has no spectrum: every measure of it is NaN. Matrices with
some of their own singular directions left out are made here too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from llm4seg_probe.measures.tokens import as_tokens


def largest_directions(tokens: Tensor, rank: int) -> Tensor:
    """Each token matrix with its ``rank`` largest singular values alone: the nearest of that rank.

    tokens: (B, N, C), not centred; the decomposition is in float64. Returns the same shape and
    dtype; from rank min(N, C) on, the matrix itself up to rounding. Raises ValueError for a
    negative rank. Eckart & Young, Psychometrika 1, 1936.

    >>> largest_directions(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None], 2)[0].diagonal().round()
    tensor([3., 2., 0.])
    """
    if rank < 0:
        raise ValueError(f"a rank is not negative: {rank}")
    tokens = as_tokens(tokens)
    return _kept(tokens, torch.arange(min(tokens.shape[1:])) < rank)


def direction_removed(tokens: Tensor, number: int) -> Tensor:
    """Each token matrix without one of its singular directions, counted from 1, the largest.

    tokens: (B, N, C), not centred; the decomposition is in float64. Returns the same shape and
    dtype; the matrix itself, up to rounding, where it has fewer directions. Raises ValueError
    for a number below 1.

    >>> direction_removed(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None], 1)[0].diagonal().round()
    tensor([0., 2., 1.])
    """
    if number < 1:
        raise ValueError(f"directions are counted from 1: {number}")
    tokens = as_tokens(tokens)
    return _kept(tokens, torch.arange(1, min(tokens.shape[1:]) + 1) != number)


def _kept(tokens: Tensor, kept: Tensor) -> Tensor:
    left, sigma, right = torch.linalg.svd(tokens.double(), full_matrices=False)
    projected: Tensor = (left * (sigma * kept.to(sigma.device))[:, None]) @ right
    return projected.to(tokens.dtype)


def singular_values(tokens: Tensor) -> Tensor:
    """Singular values of each token matrix, largest first.

    tokens: (B, N, C), ValueError for another shape. Returns (B, min(N, C)) in float64; NaN where a
    matrix holds a value that is not finite, or whose square is not, and (B, 1) NaN of no tokens.

    They are the square roots of the eigenvalues of the float64 Gram matrix of the smaller side,
    which blurs those below about √(nε)·σ1 (n the smaller side, ε = 2.2e-16). A matrix whose
    smallest singular value lies below that (a spectrum over more than about seven decades, or one
    short of full rank) is decomposed by SVD instead.

    >>> singular_values(torch.diag(torch.tensor([3.0, 4.0]))[None]).tolist()
    [[4.0, 3.0]]
    """
    matrices = as_tokens(tokens).to(torch.float64)
    if 0 in matrices.shape[1:]:  # no tokens, no spectrum
        return matrices.new_full((len(matrices), 1), torch.nan)
    rows, columns = matrices.shape[1:]
    gram = matrices @ matrices.mT if rows <= columns else matrices.mT @ matrices
    finite = torch.isfinite(gram).flatten(1).all(-1)
    gram = torch.where(finite[:, None, None], gram, 0)
    sigma: Tensor = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(-1)
    blur = (sigma.shape[-1] * torch.finfo(torch.float64).eps) ** 0.5
    steep = sigma[:, -1] < blur * sigma[:, 0]
    if steep.any():
        sigma[steep] = torch.linalg.svdvals(matrices[steep])
    sigma[~finite] = torch.nan
    return sigma


def _shares(sigma: Tensor) -> Tensor:
    return sigma / sigma.sum(-1, keepdim=True)


def _entropy(sigma: Tensor) -> Tensor:
    terms: Tensor = torch.special.entr(_shares(sigma))
    return terms.sum(-1)


def _effective_rank(sigma: Tensor) -> Tensor:
    return _entropy(sigma).exp()


def _lsvr(sigma: Tensor) -> Tensor:
    # Adding zero turns the -0.0 of a matrix of rank one into 0.0.
    return -_shares(sigma)[..., 0].log() + 0.0


def _sigma1_share(sigma: Tensor) -> Tensor:
    return _shares(sigma)[..., 0]


def _stable_rank(sigma: Tensor) -> Tensor:
    return (sigma / sigma[..., :1]).square().sum(-1)


def _participation_ratio(sigma: Tensor) -> Tensor:
    squares = (sigma / sigma[..., :1]).square()
    return squares.sum(-1).square() / squares.square().sum(-1)


_OF_SPECTRUM: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": _entropy,
    "effective_rank": _effective_rank,
    "lsvr": _lsvr,
    "sigma1_share": _sigma1_share,
    "stable_rank": _stable_rank,
    "participation_ratio": _participation_ratio,
}


def spectrum_measures(sigma: Tensor) -> dict[str, Tensor]:
    """Every measure that singular values alone decide, by its name in ``rank.csv``.

    sigma: (B, K), largest first. Returns (B,) each, NaN where a spectrum is all zero.
    """
    return {name: measure(sigma) for name, measure in _OF_SPECTRUM.items()}


def rank_measures(tokens: Tensor) -> dict[str, Tensor]:
    """All measures of this module from one decomposition, by their names in ``rank.csv``.

    tokens: (B, N, C). Returns (B,) float64 each.
    """
    return {
        **spectrum_measures(singular_values(tokens)),
        "largest_token_share": largest_token_share(tokens),
    }


def spectral_entropy(tokens: Tensor) -> Tensor:
    """Entropy H = −Σ p_i ln p_i of the singular values, in nats: what the paper prints as ER.

    tokens: (B, N, C). Returns (B,), between 0 and ln min(N, C).

    >>> round(spectral_entropy(torch.eye(4)[None]).exp().item(), 6)
    4.0
    """
    return _entropy(singular_values(tokens))


entropy = spectral_entropy  # the public name, as in lp.entropy


def effective_rank(tokens: Tensor) -> Tensor:
    """Compute the effective rank exp(H) of each token matrix: the number of directions it uses.

    Parameters
    ----------
    tokens : Tensor of shape (B, N, C)
        One matrix of N tokens by C channels per image. It is not centred; it may be of any dtype,
        and is decomposed in float64.

    Returns
    -------
    Tensor of shape (B,), float64
        Between 1 and min(N, C). NaN where a matrix is all zero or holds a value that is not finite.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Examples
    --------
    Four orthogonal directions of equal strength, and one direction alone:

    >>> round(effective_rank(torch.eye(4)[None]).item(), 6)
    4.0
    >>> round(effective_rank(torch.ones(1, 4, 4)).item(), 6)
    1.0
    """
    return _effective_rank(singular_values(tokens))


def lsvr(tokens: Tensor) -> Tensor:
    """Compute the largest-singular-value ratio −ln p_1, as the paper prints it.

    The larger it is, the less one direction dominates.

    Parameters
    ----------
    tokens : Tensor of shape (B, N, C)
        One matrix of N tokens by C channels per image, not centred.

    Returns
    -------
    Tensor of shape (B,), float64
        In nats, between 0 (rank one) and ln min(N, C) (all directions equally strong). NaN where a
        matrix is all zero or holds a value that is not finite.

    Examples
    --------
    >>> round(lsvr(torch.eye(4)[None]).exp().item(), 6)
    4.0
    """
    return _lsvr(singular_values(tokens))


def sigma1_share(tokens: Tensor) -> Tensor:
    """Share p_1 of the largest singular value in their sum.

    tokens: (B, N, C). Returns (B,), between 1 / min(N, C) and 1 (rank one).

    >>> sigma1_share(torch.diag(torch.tensor([3.0, 1.0]))[None]).item()
    0.75
    """
    return _sigma1_share(singular_values(tokens))


def stable_rank(tokens: Tensor) -> Tensor:
    """Stable rank ‖X‖²_F / σ1².

    tokens: (B, N, C). Returns (B,), between 1 and the rank.

    >>> stable_rank(torch.diag(torch.tensor([2.0, 1.0]))[None]).item()
    1.25
    """
    return _stable_rank(singular_values(tokens))


def participation_ratio(tokens: Tensor) -> Tensor:
    """Participation ratio (Σσ²)² / Σσ⁴.

    tokens: (B, N, C). Returns (B,), between 1 and the rank.

    >>> round(participation_ratio(torch.eye(4)[None]).item(), 6)
    4.0
    """
    return _participation_ratio(singular_values(tokens))


def largest_token_share(tokens: Tensor) -> Tensor:
    """Share of ‖X‖²_F that the token with the largest norm holds.

    Near 1, one token with a massive activation decides every other measure here.

    tokens: (B, N, C). Returns (B,), between 1 / N and 1.

    >>> largest_token_share(torch.tensor([[[1.0], [1.0], [1.0], [3.0]]])).item()
    0.75
    """
    squares = as_tokens(tokens).to(torch.float64).square().sum(-1)
    if squares.shape[1] == 0:
        return squares.new_full((len(squares),), torch.nan)
    return squares.amax(-1) / squares.sum(-1)


class MergedTokens:
    """The rank of all tokens of a data set, in constant memory and one pass over them.

    Kept is the triangular factor R of the float64 QR decomposition of all tokens so far (C × C):
    RᵀR is their merged Gram matrix, and R has their singular values without squaring them, so
    that no tail of a steep spectrum is lost.

    >>> merged = MergedTokens()
    >>> merged.add(torch.eye(4)[:2]), merged.add(torch.eye(4)[2:])
    (None, None)
    >>> round(merged.measures()["effective_rank"].item(), 6)
    4.0
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._factor: Tensor | None = None
        self._largest = 0.0

    def add(self, tokens: Tensor) -> None:
        """Merge tokens: (N, C) or (B, N, C)."""
        rows = tokens.reshape(-1, tokens.shape[-1]).to(torch.float64)
        if len(rows) == 0:
            return
        stacked = rows if self._factor is None else torch.cat([self._factor, rows])
        self.tokens += len(rows)
        self._largest = max(self._largest, rows.square().sum(-1).amax().item())
        self._factor = torch.linalg.qr(stacked, mode="r").R

    @property
    def channels(self) -> int:
        """Channels of the tokens; 0 before any was added."""
        return 0 if self._factor is None else self._factor.shape[1]

    def singular_values(self) -> Tensor:
        """Singular values of all tokens together: (min(N, C),) float64, largest first."""
        if self._factor is None:
            raise ValueError("no tokens were added")
        if not torch.isfinite(self._factor).all():
            return self._factor.new_full((min(self._factor.shape),), torch.nan)
        sigma: Tensor = torch.linalg.svdvals(self._factor)
        return sigma

    def measures(self) -> dict[str, Tensor]:
        """As :func:`rank_measures`, of all tokens as one matrix: scalars."""
        sigma = self.singular_values()
        return {
            **spectrum_measures(sigma),
            "largest_token_share": self._largest / sigma.square().sum(),
        }
