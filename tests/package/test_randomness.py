import torch
from hypothesis import given
from hypothesis import strategies as st

from llm4seg_probe.randomness import address, generator, seeded

PARTS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=3)


@given(PARTS, PARTS)
def test_different_addresses_give_different_seeds(one: list, other: list) -> None:
    assert (address(*one) == address(*other)) == (one == other)


def test_an_address_is_the_same_on_every_machine() -> None:
    assert address(0, "cnn") == 7266555954393822942  # printf '[0, "cnn"]' | sha256sum


def test_text_and_number_of_the_same_digits_differ() -> None:
    assert address(1, "1") != address("1", 1)


def test_the_global_generator_is_put_back() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with seeded(0, "cnn"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(0, "cnn"):
        assert torch.equal(torch.rand(3), inside)


def test_generators_of_one_address_draw_the_same() -> None:
    one, other = generator(3, "order"), generator(3, "order")
    assert torch.equal(torch.randperm(10, generator=one), torch.randperm(10, generator=other))
