"""Claims at declared looks: families, conjunctions, dropped arms, the path in looks.csv."""

import numpy as np
import pytest
import studies

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.claims import Association, Claim, ClaimedPair, Measurement
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.statistics.look_claims import judge_at_looks
from llm4seg_probe.statistics.looks import Design

DESIGN = Design((5, 10, 20))


def scores(arms, n=20, seed=0, counts=None):
    """Runs of two images; SD of the differences 0.014."""
    spread = {"case_sd": 0.1, "seed_sd": 0.03, "run_sd": 0.01, "noise_sd": 0.0}
    images = [("a", "a"), ("b", "b")]
    drawn = studies.per_case(arms, n, images, seed=seed, split="test", checkpoint="best", **spread)
    there = drawn["arm"].map(lambda arm: (counts or {}).get(arm, n))
    return drawn[drawn["seed"] < there]


def claim(name, *pairs, family=None, margin=0.005, kind="superiority"):
    return Claim(
        id=name, statement=name, margin=margin, family=family, kind=kind,
        comparisons=tuple(ClaimedPair(a=a, b=b) for a, b in pairs),
    )  # fmt: skip


def judged(claims, table, design=DESIGN):
    return judge_at_looks(claims, {"scores": table}, design, bootstrap=0)


def test_one_look_over_all_seeds_is_the_fixed_sample():
    table = scores({"cnn": 0, "llm": 0.006, "mlp": 0.003}, n=10)
    claims = [
        claim("boost", ("llm", "cnn"), family="primary"),
        claim("both", ("llm", "mlp"), ("mlp", "cnn"), family="primary"),
        claim("alike", ("mlp", "cnn"), kind="equivalence", margin=0.01).model_copy(
            update={"comparisons": (ClaimedPair(a="cnn", b="mlp"),)}
        ),
    ]
    rows, verdicts = judge(claims, {"scores": table}, bootstrap=0)
    found = judged(claims, table, Design((10,)))
    for name in ("difference", "ci_low", "ci_high", "p_adjusted"):
        np.testing.assert_allclose(found.claims[name], verdicts[name], rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(found.comparison[name], rows[name], rtol=1e-4, err_msg=name)
    for name in ("verdict", "decided_by", "statement", "family", "kind"):
        assert found.claims[name].tolist() == verdicts[name].tolist()


def test_the_path_says_when_each_claim_was_decided_and_keeps_it():
    table = scores({"cnn": 0, "llm": 0.03, "mlp": 0.0})
    claims = [claim("boost", ("llm", "cnn")), claim("same", ("mlp", "cnn"))]
    found = judged(claims, table)
    path = found.looks.set_index(["claim", "look"])
    assert path.loc["boost", "verdict"].tolist() == ["supported"] * 3
    assert path.loc["boost", "seeds"].tolist() == [5, 10, 20]
    first = path.loc[("boost", 1)]
    assert first["p"] < first["threshold"]
    assert first["ci_low"] > 0
    verdicts = found.claims.set_index("claim")
    assert verdicts.loc["boost", ["look", "look_seeds", "n_seeds"]].tolist() == [1, 5, 20]
    assert verdicts.loc["boost", "difference"] == first["difference"]
    assert "(overrun)" in verdicts.loc["boost", "sentence"]


def test_an_arm_that_was_dropped_keeps_its_look():
    table = scores({"cnn": 0, "llm": 0.03, "mlp": 0.0}, counts={"llm": 5})
    claims = [claim("boost", ("llm", "cnn")), claim("same", ("mlp", "cnn"))]
    found = judged(claims, table)
    whole = judged(claims, scores({"cnn": 0, "llm": 0.03, "mlp": 0.0}))
    for name in ("verdict", "look", "difference", "ci_low", "p_adjusted"):
        assert found.claims[name].tolist() == whole.claims[name].tolist(), name
    assert len(found.looks[found.looks["claim"] == "boost"]) == 1
    assert "have no partner" in found.claims["note"].iloc[0]


def test_a_conjunction_waits_for_its_weakest():
    table = scores({"cnn": 0, "llm": 0.03, "mlp": 0.022})
    found = judged([claim("both", ("llm", "cnn"), ("llm", "mlp"))], table)
    row = found.claims.iloc[0]
    rows = found.comparison.set_index("b")
    assert rows.loc["cnn", "look"] == 1
    assert row["look"] == rows["look"].max() > 1
    assert row["decided_by"] == "llm against mlp"
    assert row["sentence"].endswith("The weakest of 2 comparisons decides.")


def test_a_family_is_adjusted_over_its_looks():
    table = scores({"cnn": 0, "llm": 0.03, "mlp": 0.0}, seed=1)  # both decide at the first look
    own = judged([claim("boost", ("llm", "cnn")), claim("same", ("mlp", "cnn"))], table)
    shared = judged(
        [
            claim("boost", ("llm", "cnn"), family="f"),
            claim("same", ("mlp", "cnn"), family="f"),
        ],
        table,
    )
    p, q = own.claims["p_adjusted"][0], shared.claims["p_adjusted"][0]
    assert q == pytest.approx(2 * p)


def test_what_has_not_reached_its_first_look_is_not_run():
    table = scores({"cnn": 0, "llm": 0.03}, n=4)
    row = judged([claim("boost", ("llm", "cnn"))], table).claims.iloc[0]
    assert row["verdict"] == "not run"
    assert row["sentence"] == "Not run: 4 seeds, and the first look is at 5."
    assert row["look"] == 0
    absent = judged([claim("x", ("lora", "cnn"))], table).claims.iloc[0]
    assert absent["sentence"].startswith("Not run: no runs of lora")


def test_an_association_has_no_looks_and_shares_no_family_with_what_has():
    table = scores({"cnn": 0, "llm": 0.03})
    of_runs = Association(
        id="rises", statement="s", margin=0.3, arms=("cnn", "llm"), family="f",
        x=Measurement(table="scores", score="iou"), y=Measurement(table="scores", score="iou"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="shares the family 'f' with 'boost', which has"):
        judged([claim("boost", ("llm", "cnn"), family="f"), of_runs], table)
    found = judged([claim("boost", ("llm", "cnn")), of_runs], table)
    assert found.claims["claim"].tolist() == ["boost", "rises"]
    assert "rises" not in found.paths
