"""Distances between word distributions against scipy and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from llm4seg_probe.measures.vocabulary import (
    jensen_shannon,
    largest_share,
    mean_distribution,
    vocabulary_entropy,
)
from llm4seg_probe.randomness import generator


@pytest.fixture
def pair():
    draws = torch.rand(2, 5, 40, generator=generator("lens measures"), dtype=torch.float64)
    return mean_distribution(draws**4)


def test_the_distance_is_that_of_scipy_a_metric_and_symmetric(pair):
    p, q = pair
    found = jensen_shannon(p, q)
    assert found.tolist() == pytest.approx(jensenshannon(p.T, q.T, base=2).tolist())
    assert jensen_shannon(q, p).tolist() == pytest.approx(found.tolist())
    assert jensen_shannon(p, p).abs().max() < 1e-7
    third = mean_distribution(p.roll(1, 0) + 0.1)
    assert (found <= jensen_shannon(p, third) + jensen_shannon(third, q)).all()


def test_entropy_has_its_closed_forms():
    for count in (1, 3, 1000):
        uniform = torch.zeros(1000, dtype=torch.float64)
        uniform[:count] = 1 / count
        assert vocabulary_entropy(uniform).item() == pytest.approx(math.log(count))


def test_without_tokens_there_is_no_distribution(pair):
    nothing = mean_distribution(torch.zeros(5, 40))
    assert (nothing == 0).all()
    assert vocabulary_entropy(nothing).isnan().all()
    assert jensen_shannon(pair[0], nothing).isnan().all()


def test_the_commonest_word_is_counted_by_image():
    words = torch.tensor([[1, 1, 1, 1], [1, 2, 3, 4], [9, 8, 9, 8]])
    assert largest_share(words).tolist() == [1.0, 0.25, 0.5]
