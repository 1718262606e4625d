"""The SD of several conditions, as a claim states it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from llm4seg_probe.arms import parse_condition
from llm4seg_probe.config import validated
from llm4seg_probe.drawing.style import condition_style
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.judgement import judge


@pytest.fixture
def scores(study):
    """Three layers of two arms, the first spread wider than the second."""
    parts = []
    for number, layer in enumerate((3, 9, 15)):
        effects = {"llm": 0.03 * number, "random-frozen": 0.005 * number}
        part = study(effects, seeds=5, cases=6, seed=number)
        parts.append(part.assign(run=lambda t, n=layer: t["run"] + f"-{n}", layer=str(layer)))
    return pd.concat(parts, ignore_index=True)


def of(arm):
    return f"sd({arm}[layer=3], {arm}[layer=9], {arm}[layer=15])"


def claimed(**fields):
    values = {
        "id": "steadier", "statement": "It fluctuates less", "margin": 0.01,
        "comparisons": [{"a": of("random-frozen"), "b": of("llm")}], "lower_is_better": True,
    }  # fmt: skip
    return validated({**values, **fields}, Claim, "here")


def test_the_spread_over_conditions_is_taken_in_each_seed(scores):
    comparison, claims = judge([claimed()], {"scores": scores})
    means = scores.groupby(["arm", "seed", "layer"])["iou"].mean().unstack("layer")
    spread = means.std(axis=1, ddof=1).unstack("arm")
    theirs = stats.ttest_rel(spread["random-frozen"], spread["llm"])
    assert comparison["t"][0] == pytest.approx(theirs.statistic, rel=1e-9)
    assert comparison["mean_a"][0] == pytest.approx(spread["random-frozen"].mean(), rel=1e-9)
    assert np.isnan(comparison["case_low"][0])  # an SD over conditions has no cases
    assert claims["verdict"][0] == "supported"
    assert claims["n_seeds"][0] == 5


def test_a_condition_without_runs_is_told(scores):
    wider = "sd(llm[layer=3], shuffled-frozen[layer=9])"
    _, claims = judge([claimed(comparisons=[{"a": wider, "b": of("llm")}])], {"scores": scores})
    assert claims["verdict"][0] == "not run"


def test_how_it_is_written():
    parsed = parse_condition(of("llm"))
    assert parsed.spread
    assert next(str(term) for _, term in parsed.terms) == "llm[layer=3]"
    assert not parse_condition("llm - cnn").spread
    assert condition_style(of("llm")).label == "SD of 3: LLM, frozen, layer 3 …"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sd(llm)", "sd(…) is of at least two conditions"),
        ("sd(llm, cnn) - cnn", "is not a condition"),
        ("sd()", "sd(…) is of at least two conditions"),
    ],
)
def test_what_is_no_spread_is_refused(text, message):
    with pytest.raises(ConfigError) as refused:
        parse_condition(text)
    assert message in str(refused.value)
