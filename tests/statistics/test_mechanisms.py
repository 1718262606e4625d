"""What claims say together of a mechanism: the rule, the alternatives, and what is refused."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest
from pydantic import ValidationError

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.mechanisms import (
    JudgedMechanism,
    Mechanism,
    judge_mechanisms,
    refuse_unknown_claims,
)
from llm4seg_probe.study.analysis import Analysis, analyses_folder, load_analysis

STATED = Mechanism.model_validate(
    {
        "id": "transfer",
        "title": "Transfer",
        "would_be_true": "It helps.",
        "claims": ["boost", "pretraining"],
        "alternatives": [
            {"explanation": "any layer", "predicts": "As good.", "claims": ["pretraining"]},
            {"explanation": "width", "predicts": "As good.", "claims": ["parameters"]},
        ],
    }
)
NAMES = ("boost", "pretraining", "parameters")
WORDS = ("supported", "contradicted", "equivalent", "inconclusive", "not run")


def judged(*verdicts: str, p: float = 0.001) -> JudgedMechanism:
    """The mechanism by verdicts of its three claims, each with this p for what it says."""
    rows = [
        {"claim": name, "verdict": verdict, "p_adjusted": p, "p_equivalence": p}
        for name, verdict in zip(NAMES, verdicts, strict=True)
    ]
    [found] = judge_mechanisms([STATED], pd.DataFrame(rows))
    return found


def test_it_needs_its_own_claims_and_those_of_the_alternatives_once() -> None:
    assert STATED.needs == NAMES


@pytest.mark.parametrize("verdicts", list(itertools.product(WORDS, repeat=3)))
def test_the_weakest_of_what_it_needs_decides(verdicts: tuple[str, ...]) -> None:
    # By itself: the order of the rule, over every combination.
    if "contradicted" in verdicts:
        wanted = "contradicted"
    elif "equivalent" in verdicts:
        wanted = "equivalent"
    elif set(verdicts) == {"supported"}:
        wanted = "supported"
    elif set(verdicts) == {"not run"}:
        wanted = "not run"
    else:
        wanted = "inconclusive"
    assert judged(*verdicts).verdict == wanted


@pytest.mark.parametrize("word", ["contradicted", "equivalent"])
def test_each_claim_had_a_chance_to_count_against_it(word: str) -> None:
    others = ("supported", "supported")
    assert judged(word, *others, p=0.0166).verdict == word
    assert judged(word, *others, p=0.0168).verdict == "inconclusive"  # 3 × p is above 0.05
    assert judged("supported", *others, p=0.049).verdict == "supported"  # needs no factor


def test_an_alternative_is_ruled_out_where_its_claims_are_supported() -> None:
    found = judged("inconclusive", "supported", "equivalent")
    assert found.standing == ("ruled out", "stands")
    assert found.sentence == (
        "Equivalent: in parameters there is no difference that matters. Of the 3 claims that it "
        "needs: 1 supported, 1 equivalent, 1 inconclusive. Ruled out as the whole explanation: "
        "any layer. Not ruled out, and enough by these runs: width."
    )
    found = judged("contradicted", "not run", "inconclusive")
    assert found.standing == ("open", "open")
    assert found.sentence == (
        "Contradicted: boost came out the other way. Of the 3 claims that it needs: 1 "
        "contradicted, 1 inconclusive, 1 not run. Neither ruled out nor found enough: any layer, "
        "width."
    )


def test_a_claim_without_a_row_was_not_run() -> None:
    [found] = judge_mechanisms([STATED], pd.DataFrame({"claim": [], "verdict": []}))
    assert found.verdict == "not run"
    rows = pd.DataFrame({"claim": ["boost"], "verdict": ["contradicted"]})  # without a p
    assert judge_mechanisms([STATED], rows)[0].verdict == "inconclusive"


def test_claims_that_are_not_there_and_doubled_names_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"mechanism 'transfer': unknown claim 'parameters'"):
        refuse_unknown_claims([STATED], NAMES[:2])
    with pytest.raises(ConfigError, match="mechanisms: two have the id 'transfer'"):
        refuse_unknown_claims([STATED, STATED], NAMES)
    for wrong in ({"claims": []}, {"id": "Two words"}, {"title": ""}, {"more": 1}):
        with pytest.raises(ValidationError):
            Mechanism.model_validate({**STATED.model_dump(), **wrong})
    values = load_analysis(analyses_folder() / "boost.yaml").model_dump()
    changed = {**values, "mechanisms": [STATED.model_dump()]}
    with pytest.raises(ValidationError, match="mechanism 'transfer': unknown claim 'parameters'"):
        Analysis.model_validate(changed)


def test_two_claims_of_one_comparison_are_refused_before_any_run() -> None:
    values = load_analysis(analyses_folder() / "boost.yaml").model_dump()
    again = {**values["claims"][0], "id": "again", "family": None, "where": {"split": "val"}}
    changed = {**values, "claims": [*values["claims"], again]}
    with pytest.raises(ValidationError, match="and 'again' both compare iou of llm and cnn"):
        Analysis.model_validate(changed)


def test_the_shipped_mechanisms_name_claims_that_stand_on_the_page() -> None:
    analysis = load_analysis(analyses_folder() / "mechanisms.yaml")
    assert [one.id for one in analysis.mechanisms] == [
        "semantic-transfer", "global-context", "richer-features", "noise", "few-data",
    ]  # fmt: skip
    known = {claim.id for claim in analysis.claims}
    for mechanism in analysis.mechanisms:
        assert set(mechanism.needs) <= known
        assert mechanism.alternatives
    arms = {config.arm for config in analysis.at("quick").configs()}
    for claim in analysis.claims:
        assert {term.arm for term in claim.terms} <= arms
