from __future__ import annotations

import itertools
import math

import pytest
import torch

from llm4seg_probe.measures import attention as measures


def draw(heads: int, tokens: int, *, causal: bool = False) -> torch.Tensor:
    logits = torch.randn(2, heads, tokens, tokens, generator=torch.Generator().manual_seed(0))
    if causal:
        hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        logits = logits.masked_fill(hidden, -torch.inf)
    return logits.softmax(-1)


def by_loops(weights, places, inside, reach) -> dict[str, float]:
    """All measures of one head, token by token."""
    n = len(weights)
    pairs = list(itertools.product(range(n), repeat=2))
    chosen = [q for q in range(n) if inside[q]]
    received = [sum(weights[q][k] for q in range(n)) / n for k in range(n)]
    return {
        "mean_distance": sum(weights[q][k] * math.dist(places[q], places[k]) for q, k in pairs) / n,
        "entropy": -sum(
            weights[q][k] * math.log(weights[q][k]) for q, k in pairs if weights[q][k] > 0
        )
        / n,
        "foreground_share": sum(weights[q][k] for q in chosen for k in range(n) if inside[k])
        / len(chosen),
        "sink_share": max(received),
        "raster_locality": sum(weights[q][k] for q, k in pairs if abs(q - k) <= reach) / n,
    }


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("grid", [(3, 4), (2, 2, 3)])
def test_measures_agree_with_loops(grid, causal):
    tokens = math.prod(grid)
    weights = draw(3, tokens, causal=causal)
    inside = torch.arange(2 * tokens).reshape(2, tokens) % 3 == 0
    found = {
        "mean_distance": measures.mean_distance(weights, grid),
        "entropy": measures.entropy(weights),
        "foreground_share": measures.foreground_share(weights, inside),
        "sink_share": measures.sink_share(weights),
        "raster_locality": measures.raster_locality(weights, grid[-1]),
    }
    places = list(itertools.product(*(range(size) for size in grid)))
    for image, head in itertools.product(range(2), range(3)):
        expected = by_loops(
            weights[image, head].double().tolist(), places, inside[image].tolist(), grid[-1]
        )
        values = {name: value[image, head].item() for name, value in found.items()}
        assert values == pytest.approx(expected)
    assert all(value.shape == (2, 3) for value in found.values())
    assert all(value.dtype == torch.float64 for value in found.values())


def test_attention_to_itself_alone():
    weights = torch.eye(6)[None, None]
    inside = torch.tensor([[True, False, False, True, False, False]])
    assert measures.mean_distance(weights, (2, 3)).item() == 0
    assert measures.entropy(weights).item() == 0
    assert measures.foreground_share(weights, inside).item() == 1
    assert measures.sink_share(weights).item() == pytest.approx(1 / 6)
    assert measures.raster_locality(weights, 0).item() == 1


def test_uniform_attention():
    weights = measures.uniform_attention(4, causal=False)
    inside = torch.tensor([[True, False, False, False]])
    # From any corner of a square: itself, two sides, a diagonal.
    assert measures.mean_distance(weights, (2, 2)).item() == pytest.approx((2 + math.sqrt(2)) / 4)
    assert measures.entropy(weights).item() == pytest.approx(math.log(4))
    assert measures.foreground_share(weights, inside).item() == 0.25
    assert measures.sink_share(weights).item() == 0.25
    assert measures.raster_locality(weights, 1).item() == pytest.approx((2 + 3 + 3 + 2) / 16)


def test_a_causal_mask_alone_makes_the_first_token_a_sink():
    weights = measures.uniform_attention(4, causal=True)
    assert measures.sink_share(weights).item() == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert measures.entropy(weights).item() == pytest.approx(math.log(24) / 4)
    assert weights.sum(-1).eq(1).all()


def test_everything_to_one_token_is_a_sink():
    weights = torch.zeros(1, 2, 5, 5)
    weights[..., 0] = 1
    assert measures.sink_share(weights).tolist() == [[1, 1]]
    assert measures.entropy(weights).tolist() == [[0, 0]]


def test_an_image_without_foreground_has_no_share():
    inside = torch.tensor([[False] * 4, [True] * 4])
    shares = measures.foreground_share(draw(2, 4), inside)
    assert shares[0].isnan().all()
    assert shares[1].tolist() == pytest.approx([1, 1])
