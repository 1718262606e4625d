from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm4seg_probe.measures import rank
from llm4seg_probe.probes.rank import RANK


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_spectrum(sigma: np.ndarray, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    left = np.linalg.qr(generator.normal(size=(rows, len(sigma))))[0]
    right = np.linalg.qr(generator.normal(size=(columns, len(sigma))))[0]
    return torch.from_numpy((left * sigma) @ right.T)


def twin(matrix: torch.Tensor) -> dict[str, float]:
    """The same measures by a plain float64 SVD and loops."""
    x = matrix.double().numpy()
    x = x / np.abs(x).max()
    sigma = np.linalg.svd(x, compute_uv=False)
    shares = [value / sum(sigma) for value in sigma]
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return {
        "entropy": entropy,
        "effective_rank": math.exp(entropy),
        "lsvr": -math.log(shares[0]),
        "sigma1_share": shares[0],
        "stable_rank": sum(value**2 for value in sigma) / sigma[0] ** 2,
        "participation_ratio": sum(sigma**2) ** 2 / sum(sigma**4),
        "largest_token_share": max(sum(row**2) for row in x) / (x**2).sum(),
    }


MATRICES = {
    "wide": draw(5, 40),
    "tall": draw(40, 5),
    "square": draw(12, 12),
    "one token": draw(1, 9),
    "one channel": draw(9, 1),
    "rank one": draw(20, 1) @ draw(1, 30),
    "low rank": draw(60, 4) @ draw(4, 50),
    "dead channels": draw(30, 20) * (torch.arange(20) % 3 == 0),
    "equal tokens": draw(1, 8).expand(16, 8),
    "massive activation": draw(64, 32).index_put(
        (torch.tensor(3), torch.tensor(5)), torch.tensor(2.6e4)
    ),
    "after a ReLU": draw(50, 30).relu(),
    "twelve decades": with_spectrum(np.logspace(0, -12, 64), 64, 200),
    "twelve decades, tall": with_spectrum(np.logspace(0, -12, 48), 300, 48),
    "one over a floor": with_spectrum(np.array([1.0] + 127 * [3e-7]), 128, 256),
    "tiny": draw(6, 9).double() * 1e-120,
    "huge": draw(6, 9).double() * 1e120,
}


@pytest.mark.parametrize("name", MATRICES)
def test_measures_agree_with_a_plain_svd(name):
    found = rank.rank_measures(MATRICES[name][None])
    expected = twin(MATRICES[name])
    assert list(found) == list(expected)
    for measure, value in expected.items():
        assert found[measure].item() == pytest.approx(value, rel=1e-6, abs=1e-8), measure


def test_singular_values_agree_with_svd_where_a_gram_matrix_would_lose_them():
    sigma = np.logspace(0, -12, 64)
    found = rank.singular_values(with_spectrum(sigma, 64, 200)[None])[0].numpy()
    assert found == pytest.approx(sigma, rel=1e-3)


def test_matrices_of_one_batch_do_not_disturb_each_other():
    matrices = [draw(8, 12), torch.zeros(8, 12), draw(8, 1) @ draw(1, 12), draw(8, 12, seed=1)]
    matrices[3][2, 2] = torch.inf
    together = rank.effective_rank(torch.stack(matrices))
    assert together[0].item() == pytest.approx(twin(matrices[0])["effective_rank"], rel=1e-9)
    assert together[2].item() == pytest.approx(1, rel=1e-6)
    assert together[[1, 3]].isnan().all()


@pytest.mark.parametrize("bad", [0.0, torch.nan, torch.inf])
def test_what_has_no_spectrum_is_nan_in_every_measure(bad):
    tokens = torch.full((1, 4, 6), bad)
    assert all(value.isnan().all() for value in rank.rank_measures(tokens).values())


def test_an_orthogonal_matrix_uses_all_its_directions():
    tokens = torch.linalg.qr(draw(7, 7).double()).Q[None]
    found = {name: value.item() for name, value in rank.rank_measures(tokens).items()}
    assert found == pytest.approx(
        {
            "entropy": math.log(7),
            "effective_rank": 7,
            "lsvr": math.log(7),
            "sigma1_share": 1 / 7,
            "stable_rank": 7,
            "participation_ratio": 7,
            "largest_token_share": 1 / 7,
        }
    )


def test_rank_one_is_one_whatever_the_vectors():
    tokens = (torch.tensor([1.0, 2.0, 2.0])[:, None] * torch.tensor([3.0, 4.0]))[None]
    found = {name: value.item() for name, value in rank.rank_measures(tokens).items()}
    expected = dict.fromkeys(found, 1.0) | {"entropy": 0, "lsvr": 0, "largest_token_share": 4 / 9}
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_geometric_spectrum_has_its_closed_form():
    ratio, n = 0.5, 10
    tokens = torch.diag(torch.tensor([ratio**i for i in range(n)], dtype=torch.float64))[None]
    first = (1 - ratio) / (1 - ratio**n)
    mean_index = sum(i * first * ratio**i for i in range(n))
    entropy = -math.log(first) - mean_index * math.log(ratio)
    assert rank.entropy(tokens).item() == pytest.approx(entropy, rel=1e-12)
    assert rank.effective_rank(tokens).item() == pytest.approx(math.exp(entropy), rel=1e-12)
    assert rank.lsvr(tokens).item() == pytest.approx(-math.log(first), rel=1e-12)
    assert rank.stable_rank(tokens).item() == pytest.approx(
        (1 - ratio ** (2 * n)) / (1 - ratio**2), rel=1e-12
    )


def test_rotation_scale_and_the_order_of_tokens_change_nothing():
    tokens = draw(2, 30, 20).double()
    rotation = torch.linalg.qr(draw(20, 20, seed=3).double()).Q
    changed = {
        "rotated": tokens @ rotation,
        "scaled": tokens * 1e-30,
        "reordered": tokens.flip(1),
        "negated": -tokens,
    }
    original = rank.rank_measures(tokens)
    for name, other in changed.items():
        found = rank.rank_measures(other)
        for measure, value in original.items():
            assert found[measure].tolist() == pytest.approx(value.tolist(), rel=1e-9), (
                name,
                measure,
            )


def test_each_measure_by_itself_is_the_one_of_all_together():
    tokens = draw(3, 10, 6)
    for name, values in rank.rank_measures(tokens).items():
        alone = getattr(rank, name)(tokens)
        assert alone.shape == (3,)
        assert alone.dtype == torch.float64
        assert torch.equal(alone, values), name


def test_the_measures_are_the_columns_of_the_table():
    found = rank.rank_measures(draw(1, 3, 3))
    assert ["tokens", "channels", *found] == list(RANK.values)


def test_low_precision_input_is_measured_in_float64():
    tokens = draw(1, 12, 8).bfloat16()
    assert rank.effective_rank(tokens).item() == pytest.approx(
        twin(tokens[0])["effective_rank"], rel=1e-9
    )


def test_the_input_is_left_alone():
    tokens = draw(2, 5, 4).double()
    before = tokens.clone()
    rank.rank_measures(tokens)
    assert torch.equal(tokens, before)


@pytest.mark.parametrize("part", [1, 7, 100])
@pytest.mark.parametrize("name", ["wide", "tall", "low rank", "twelve decades, tall", "one token"])
def test_tokens_merged_in_parts_are_one_matrix(name, part):
    merged = rank.MergedTokens()
    for tokens in MATRICES[name].split(part):
        merged.add(tokens)
    assert merged.tokens == len(MATRICES[name])
    for measure, value in twin(MATRICES[name]).items():
        assert merged.measures()[measure].item() == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_merging_takes_batches_and_parts_without_tokens():
    tokens = draw(4, 6, 5)
    merged = rank.MergedTokens()
    merged.add(tokens[:2])
    merged.add(torch.empty(0, 5))
    merged.add(tokens[2:])
    expected = twin(tokens.flatten(0, 1))
    assert merged.channels == 5
    assert merged.measures()["effective_rank"].item() == pytest.approx(expected["effective_rank"])


def test_merging_keeps_a_square_of_the_channels_and_no_more():
    merged = rank.MergedTokens()
    for seed in range(50):
        merged.add(draw(100, 6, seed=seed))
    kept = [value for value in vars(merged).values() if isinstance(value, torch.Tensor)]
    assert [tuple(value.shape) for value in kept] == [(6, 6)]


def test_merging_nothing_is_refused_and_merging_what_is_not_finite_is_nan():
    merged = rank.MergedTokens()
    with pytest.raises(ValueError, match="no tokens were added"):
        merged.measures()
    merged.add(torch.tensor([[1.0, torch.nan], [0.0, 1.0]]))
    assert merged.measures()["effective_rank"].isnan()
