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
        "first_share": received[0],
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
        "entropy": measures.attention_entropy(weights),
        "foreground_share": measures.foreground_share(weights, inside),
        "first_share": measures.first_share(weights),
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
    assert measures.attention_entropy(weights).item() == 0
    assert measures.foreground_share(weights, inside).item() == 1
    assert measures.sink_share(weights).item() == pytest.approx(1 / 6)
    assert measures.raster_locality(weights, 0).item() == 1


def test_uniform_attention():
    weights = measures.uniform_attention(torch.ones(4, 4, dtype=torch.bool))
    inside = torch.tensor([[True, False, False, False]])
    # From any corner of a square: itself, two sides, a diagonal.
    assert measures.mean_distance(weights, (2, 2)).item() == pytest.approx((2 + math.sqrt(2)) / 4)
    assert measures.attention_entropy(weights).item() == pytest.approx(math.log(4))
    assert measures.foreground_share(weights, inside).item() == 0.25
    assert measures.sink_share(weights).item() == 0.25
    assert measures.raster_locality(weights, 1).item() == pytest.approx((2 + 3 + 3 + 2) / 16)


def test_a_causal_mask_alone_makes_the_first_token_a_sink():
    weights = measures.uniform_attention(torch.ones(4, 4, dtype=torch.bool).tril())
    assert measures.sink_share(weights).item() == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert measures.attention_entropy(weights).item() == pytest.approx(math.log(24) / 4)
    assert weights.sum(-1).eq(1).all()


def test_everything_to_one_token_is_a_sink():
    weights = torch.zeros(1, 2, 5, 5)
    weights[..., 0] = 1
    assert measures.sink_share(weights).tolist() == [[1, 1]]
    assert measures.first_share(weights).tolist() == [[1, 1]]
    assert measures.attention_entropy(weights).tolist() == [[0, 0]]


def test_an_image_without_foreground_has_no_share():
    inside = torch.tensor([[False] * 4, [True] * 4])
    shares = measures.foreground_share(draw(2, 4), inside)
    assert shares[0].isnan().all()
    assert shares[1].tolist() == pytest.approx([1, 1])


def test_every_measure_stands_beside_what_its_mask_alone_gives():
    """Seen through a window of three tokens: rows of 1, 2, 3, 3, 3 and 3 keys."""
    order = torch.arange(6)
    distance = order[:, None] - order[None, :]
    visible = (distance >= 0) & (distance < 3)
    weights = draw(2, 6).where(visible, 0)
    weights = weights / weights.sum(-1, keepdim=True)
    inside = torch.tensor([[True, True, False, False, False, False], [False] * 6])
    found = measures.attention_measures(weights, visible, (2, 3), inside)
    assert all(values.shape == (2, 2) for values in found.values())
    uniform = {
        name: found[f"{name}_uniform"][0].tolist()
        for name in ("entropy", "first_share", "sink_share")
    }
    entropy = (math.log(2) + 4 * math.log(3)) / 6
    assert uniform["entropy"] == pytest.approx([entropy] * 2)
    assert uniform["first_share"] == pytest.approx([(1 + 1 / 2 + 1 / 3) / 6] * 2)
    # The third token is seen by three queries, the second by a half and two thirds.
    assert uniform["sink_share"] == pytest.approx([(1 + 1 / 2 + 1 / 3) / 6] * 2)
    assert found["foreground_share_uniform"][0].tolist() == [1, 1]
    assert found["foreground_share"][1].isnan().all()
    assert found["foreground_share_ratio"][1].isnan().all()
    assert (found["entropy_ratio"] <= 1).all()
    for name in ("distance", "entropy", "first_share", "sink_share", "locality"):
        expected = found[name] / found[f"{name}_uniform"]
        assert found[f"{name}_ratio"].tolist() == expected.tolist()


def test_attention_that_does_no_more_than_its_mask_has_ratios_of_one():
    visible = torch.ones(12, 12, dtype=torch.bool).tril()
    inside = torch.arange(12)[None] % 3 == 0
    weights = measures.uniform_attention(visible)
    found = measures.attention_measures(weights, visible, (3, 4), inside)
    ratios = {name: value.item() for name, value in found.items() if name.endswith("_ratio")}
    assert ratios == pytest.approx(dict.fromkeys(ratios, 1.0))


def test_a_single_token_has_nothing_to_look_at():
    one = torch.ones(1, 1, dtype=torch.bool)
    found = measures.attention_measures(torch.ones(1, 1, 1, 1), one, (1, 1), one)
    assert found["distance"].item() == found["entropy"].item() == 0
    assert found["distance_ratio"].isnan().all()
    assert found["entropy_ratio"].isnan().all()
    assert found["first_share_ratio"].item() == 1
