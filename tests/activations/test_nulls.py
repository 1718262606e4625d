from __future__ import annotations

import pytest
import torch

from llm4seg_probe.activations import nulls
from llm4seg_probe.measures.rank import effective_rank


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_shuffled_exchanges_tokens_between_images_at_the_same_position():
    tokens = draw(5, 7, 3)
    found = nulls.shuffled(tokens, "before")
    for position in range(7):
        assert sorted(found[:, position].tolist()) == sorted(tokens[:, position].tolist())
    # Each position has its own order: no image stays together.
    same = (found[:, None] == tokens[None]).all(-1).sum(-1)
    assert same.max() < 7


def test_shuffled_images_that_differ_in_a_direction_of_their_own_gain_rank():
    own = draw(6, 1, 12) * draw(6, 20, 1)  # each image one direction
    assert effective_rank(own).max() < 1.001
    assert effective_rank(nulls.shuffled(own, "before")).min() > 3


@pytest.mark.parametrize("kind", ["centred", "shifted", "after a ReLU", "one massive token"])
def test_gaussian_keeps_channel_means_and_token_norms(kind):
    tokens = draw(3, 64, 16)
    if kind == "shifted":
        tokens = tokens + 3 * draw(1, 1, 16, seed=1)
    if kind == "after a ReLU":
        tokens = tokens.relu()
    if kind == "one massive token":
        tokens[:, 5, 3] += 2000
    found = nulls.gaussian(tokens, ["a", "b", "c"], "before")
    norms = tokens.double().norm(dim=-1)
    torch.testing.assert_close(found.norm(dim=-1), norms, rtol=1e-12, atol=0)
    scale = norms.square().mean().sqrt() / 4
    assert (found.mean(1) - tokens.double().mean(1)).abs().max() <= 2e-3 * scale
    assert not torch.allclose(found, tokens.double())


def test_gaussian_tokens_use_more_directions_than_features_of_low_rank():
    tokens = draw(2, 64, 3) @ draw(2, 3, 32, seed=1)
    assert effective_rank(tokens).max() < 3.1
    assert effective_rank(nulls.gaussian(tokens, ["a", "b"], "before")).min() > 20


def test_gaussian_of_nothing_is_nothing():
    assert nulls.gaussian(torch.zeros(1, 4, 3), ["a"], "before").eq(0).all()


def test_draws_are_by_address_and_leave_the_global_state_alone():
    tokens, before = draw(4, 6, 5), torch.get_rng_state()
    assert torch.equal(nulls.shuffled(tokens, "after"), nulls.shuffled(tokens, "after"))
    assert not torch.equal(nulls.shuffled(tokens, "after"), nulls.shuffled(tokens, "before"))
    names = ["a", "b", "c", "d"]
    whole = nulls.gaussian(tokens, names, "after")
    alone = nulls.gaussian(tokens[2:3], names[2:3], "after")
    torch.testing.assert_close(whole[2:3], alone)  # whatever batch an image comes in
    assert torch.equal(torch.get_rng_state(), before)


def test_another_image_is_one_of_another_group_where_there_is_one():
    names, groups = list("abcdefgh"), list("11112223")
    for index, other in enumerate(nulls.other_images(names, groups)):
        assert groups[other] != groups[index]
    alone = nulls.other_images(names, ["1"] * 8)
    assert all(other != index for index, other in enumerate(alone))
    assert len(set(alone)) > 2
    assert alone == nulls.other_images(names, ["1"] * 8)
    with pytest.raises(ValueError, match="at least two"):
        nulls.other_images(["a"], ["1"])
