"""Conditions as text: what they take apart into, and what is refused."""

import pytest

from llm4seg_probe.arms import Term, parse_condition
from llm4seg_probe.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("cnn", [(1, Term("cnn"))]),
        ("random-frozen", [(1, Term("random-frozen"))]),
        ("llm@after", [(1, Term("llm", (("site", "after"),)))]),
        ("llm@encoder.1", [(1, Term("llm", (("site", "encoder.1"),)))]),
        ("llm[layer=10]", [(1, Term("llm", (("layer", "10"),)))]),
        (
            "llm[layer=10, attention=causal]@after",
            [(1, Term("llm", (("layer", "10"), ("attention", "causal"), ("site", "after"))))],
        ),
        (
            " llm@after  -  random-frozen@before ",
            [
                (1, Term("llm", (("site", "after"),))),
                (-1, Term("random-frozen", (("site", "before"),))),
            ],
        ),
        (
            "mean(llm[layer=3], llm[layer=4,part=all]) - llm[layer=-1]",
            [
                (0.5, Term("llm", (("layer", "3"),))),
                (0.5, Term("llm", (("layer", "4"), ("part", "all")))),
                (-1, Term("llm", (("layer", "-1"),))),
            ],
        ),
        ("a - b + c", [(1, Term("a")), (-1, Term("b")), (1, Term("c"))]),
    ],
)
def test_a_condition_is_a_weighted_sum_of_terms(text, terms):
    condition = parse_condition(text)
    assert list(condition.terms) == terms
    assert condition.text == " ".join(text.split())


def test_a_term_is_written_as_it_was_read():
    assert str(parse_condition("llm[layer=10]@after").terms[0][1]) == "llm[layer=10]@after"


@pytest.mark.parametrize("text", ["", "llm @after", "llm[layer=10", "llm@", "llm - ", "a b", "(a)"])
def test_what_is_no_condition_is_shown_how_one_is_written(text):
    with pytest.raises(ConfigError) as refusal:
        parse_condition(text)
    assert str(refusal.value) == (
        f"'{text}' is not a condition: write an arm, as in llm, llm[layer=10], llm@after, or "
        "llm@after - llm@before"
    )


def test_a_filter_without_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"^'llm\[layer\]': write 'layer' as column=value$"):
        parse_condition("llm[layer]")
