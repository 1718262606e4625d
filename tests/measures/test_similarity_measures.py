from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm4seg_probe.measures.similarity import linear_cka, mean_cosine, procrustes_similarity


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(n: int) -> torch.Tensor:
    return torch.linalg.qr(draw(n, n, seed=9)).Q


def cka_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    """With the kernels written out, entry by entry."""

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        n = len(k)
        trace = sum(k[i, j] * l[j, i] for i in range(n) for j in range(n) if i != j)
        total_k = sum(k[i, j] for i in range(n) for j in range(n) if i != j)
        total_l = sum(l[i, j] for i in range(n) for j in range(n) if i != j)
        rows = sum(
            sum(k[i, j] for j in range(n) if j != i) * sum(l[i, j] for j in range(n) if j != i)
            for i in range(n)
        )
        inner = trace + total_k * total_l / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
        return inner / (n * (n - 3))

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


@pytest.mark.parametrize(("n", "p", "q"), [(4, 3, 3), (12, 5, 30), (20, 1, 2)])
def test_cka_agrees_with_the_kernels_written_out(n, p, q):
    x = draw(3, n, p) + 5  # centring does not matter to the debiased estimate
    y = draw(3, n, q, seed=1) + 0.5 * draw(3, n, 1, seed=2)
    expected = []
    for i in range(3):
        try:
            expected.append(cka_by_loops(x[i].numpy(), y[i].numpy()))
        except ValueError:  # a negative estimate of a variance
            expected.append(math.nan)
    assert linear_cka(x, y).tolist() == pytest.approx(expected, nan_ok=True)


def test_procrustes_agrees_with_the_best_rotation_of_scipy():
    from scipy.spatial import procrustes

    x, y = draw(15, 4), draw(15, 4, seed=1)
    disparity = procrustes(x.numpy(), y.numpy())[2]  # 1 - similarity squared
    found = procrustes_similarity(x[None], y[None]).item()
    assert found**2 == pytest.approx(1 - disparity)


@pytest.mark.parametrize("measure", [linear_cka, procrustes_similarity])
def test_the_same_up_to_rotation_shift_and_scale_is_one(measure):
    x = draw(2, 40, 6)
    for y in (x, x @ rotation(6), -7 * x, x + 100, torch.cat([x, 0 * x], -1)):
        assert measure(x, y).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("measure", [linear_cka, procrustes_similarity])
def test_exchanging_the_two_or_reordering_their_tokens_changes_nothing(measure):
    x, y = draw(2, 30, 5), draw(2, 30, 8, seed=1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    original = measure(x, y).tolist()
    assert measure(y, x).tolist() == pytest.approx(original)
    assert measure(x[:, order], y[:, order]).tolist() == pytest.approx(original)


def test_independent_representations_are_about_zero_however_many_channels():
    x, y = draw(50, 40, 100), draw(50, 40, 100, seed=1)
    assert linear_cka(x, y).mean().item() == pytest.approx(0, abs=0.01)
    assert procrustes_similarity(x, y).mean().item() > 0.5  # which is why CKA is debiased


def test_more_that_is_shared_is_more_alike():
    x, noise = draw(20, 60, 8), draw(20, 60, 8, seed=1)
    for measure in (linear_cka, procrustes_similarity):
        values = [measure(x, x + scale * noise).mean().item() for scale in (0.1, 1, 5)]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3


def test_cosines():
    x = draw(2, 9, 4)
    assert mean_cosine(x, 3 * x).tolist() == pytest.approx([1, 1])
    assert mean_cosine(x, -x).tolist() == pytest.approx([-1, -1])
    twin = [
        np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(p, q, strict=True)])
        for p, q in zip(x.numpy(), draw(2, 9, 4, seed=1).numpy(), strict=True)
    ]
    assert mean_cosine(x, draw(2, 9, 4, seed=1)).tolist() == pytest.approx(twin)
    y = x.clone()
    y[:, 0] = 0  # has no direction, and is left out
    assert mean_cosine(x, y).tolist() == pytest.approx([1, 1])


def test_what_does_not_vary_is_nan_and_disturbs_nobody():
    x, y = draw(3, 10, 4), draw(3, 10, 4, seed=1)
    y[0] = 2.0
    y[1, 3, 3] = torch.inf
    for measure in (linear_cka, procrustes_similarity):
        assert measure(x, y).isnan().tolist() == [True, True, False]
    assert mean_cosine(torch.zeros(1, 3, 2), torch.ones(1, 3, 2)).isnan().all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 5\) and \(1, 6\) tokens"):
        linear_cka(draw(1, 5, 2), draw(1, 6, 2))
    with pytest.raises(ValueError, match="3 tokens are too few: this takes at least 4"):
        linear_cka(draw(1, 3, 2), draw(1, 3, 2))
    with pytest.raises(ValueError, match="not of 2 and 3 channels"):
        mean_cosine(draw(1, 5, 2), draw(1, 5, 3))
