"""Every measure of tokens checks that they are tokens, and what is only rounding is nothing."""

import numpy as np
import pytest
import torch

import llm4seg_probe as lp
from llm4seg_probe.measures import rank, similarity

MEASURES = [
    rank.entropy, rank.effective_rank, rank.lsvr, rank.sigma1_share, rank.stable_rank,
    rank.participation_ratio, rank.largest_token_share,
]  # fmt: skip


@pytest.mark.parametrize("measure", [*MEASURES, lambda t: rank.largest_directions(t, 1)])
@pytest.mark.parametrize("shape", [(1, 8, 12, 12), (2, 8, 12, 12), (10, 5), (7,), (1, 2, 3, 4, 5)])
def test_what_is_no_matrix_of_tokens_is_refused(measure, shape):
    with pytest.raises(ValueError, match=r"tokens are \(B, N, C\), these are \("):
        measure(torch.randn(shape))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("shape", [(2, 0, 5), (2, 5, 0)])
def test_no_tokens_have_no_rank(measure, shape):
    assert measure(torch.zeros(shape)).isnan().tolist() == [True, True]


@pytest.mark.parametrize("measure", MEASURES)
def test_arrays_of_numpy_are_tokens_too(measure):
    tokens = np.random.default_rng(0).normal(size=(2, 6, 4))
    torch.testing.assert_close(measure(tokens), measure(torch.from_numpy(tokens)))


def test_maps_check_grid_and_masks():
    tokens = torch.randn(2, 12, 3)
    with pytest.raises(ValueError, match=r"12 tokens do not fill a grid of \(3, 5\)"):
        lp.activation_map(tokens, (3, 5))
    with pytest.raises(ValueError, match="2 token matrices and 1 masks"):
        lp.activation_iou(tokens, torch.ones(1, 6, 8), grid=(3, 4))
    with pytest.raises(ValueError, match=r"tokens are \(B, N, C\)"):
        lp.activation_map(torch.randn(2, 3, 4, 5), (4, 5))


@pytest.mark.parametrize("value", [0.1, 1e6 / 3, -7.3e-9, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tokens", [5, 50, 777])
def test_representations_that_do_not_vary_are_like_nothing(value, dtype, tokens):
    constant = torch.full((1, tokens, 3), value, dtype=dtype)
    other = torch.randn(1, tokens, 4, dtype=dtype)
    for measure in (similarity.linear_cka, similarity.procrustes_similarity):
        assert measure(constant, other).isnan().all()
        assert measure(other, constant).isnan().all()
        assert measure(constant, constant).isnan().all()


def test_a_small_spread_beside_a_large_mean_still_varies():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 50, 3, dtype=torch.float64, generator=draw)
    far = x + 1e6
    assert similarity.linear_cka(far, x).item() == pytest.approx(1, abs=1e-6)
