import numpy as np
import pytest
import torch

from llm4seg_probe.measures.rank import direction_removed, largest_directions


@pytest.fixture
def tokens():
    return torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(0))


def by_numpy(matrix, kept):
    left, sigma, right = np.linalg.svd(matrix.numpy().astype(float), full_matrices=False)
    return sum(sigma[k] * np.outer(left[:, k], right[k]) for k in kept) + np.zeros(matrix.shape)


@pytest.mark.parametrize("rank", range(6))
def test_the_largest_directions_are_kept_one_by_one(tokens, rank):
    found = largest_directions(tokens, rank)
    for own, projected in zip(tokens, found, strict=True):
        np.testing.assert_allclose(projected, by_numpy(own, range(rank)), atol=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("rank", [5, 12, 100])
def test_full_rank_changes_nothing_and_goes_the_same_way(tokens, rank):
    assert (largest_directions(tokens, rank) - tokens).abs().max() <= 1e-5
    wide = tokens.transpose(1, 2)
    assert (largest_directions(wide, rank) - wide).abs().max() <= 1e-5


@pytest.mark.parametrize("number", range(1, 6))
def test_one_direction_is_taken_out(tokens, number):
    for own, left in zip(tokens, direction_removed(tokens, number), strict=True):
        np.testing.assert_allclose(
            left, by_numpy(own, [k for k in range(5) if k != number - 1]), atol=1e-6
        )


def test_the_first_direction_and_the_rest_make_the_whole(tokens):
    whole = largest_directions(tokens, 1) + direction_removed(tokens, 1)
    torch.testing.assert_close(whole, tokens)
    torch.testing.assert_close(direction_removed(tokens, 6), tokens)


def test_impossible_numbers_are_refused(tokens):
    with pytest.raises(ValueError, match="not negative: -1"):
        largest_directions(tokens, -1)
    with pytest.raises(ValueError, match="counted from 1: 0"):
        direction_removed(tokens, 0)
