"""Claims of an association: how they are written, judged and told."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from llm4seg_probe.config import Section, validated
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.association import association_table
from llm4seg_probe.statistics.claims import AnyClaim, Association, Claim
from llm4seg_probe.statistics.correlation import repeated_measures
from llm4seg_probe.statistics.judgement import judge, ready
from llm4seg_probe.tables import ASSOCIATION, CLAIMS

ARMS = ["cnn", "llm", "mlp"]


class Stated(Section):
    claims: tuple[AnyClaim, ...]


def written(**fields):
    values = {
        "id": "rank-matters",
        "statement": "richer features segment better",
        "kind": "association",
        "x": {"table": "rank", "score": "effective_rank", "where": {"site": "after", "null": ""}},
        "y": {"table": "scores", "score": "iou", "where": {"split": "test"}},
        "arms": ARMS,
        "margin": 0.3,
    }
    return {**values, **fields}


def claim(**fields):
    return validated({"claims": [written(**fields)]}, Stated, "demo.yaml").claims[0]


def tables(slope=0.05, seeds=6, cases=4, noise=0.02, seed=0):
    """Runs whose IoU rises with their rank within an arm, and falls from arm to arm."""
    random = np.random.default_rng(seed)
    rank, scores = [], []
    for number, arm in enumerate(ARMS):
        for s in range(seeds):
            richness = random.normal(0, 1)
            iou = 0.7 - 0.1 * number + slope * richness + random.normal(0, noise)
            spread = np.linspace(-0.02, 0.02, cases)
            for case in range(cases):
                key = {"run": f"{arm}-{s}", "dataset": "spine", "arm": arm, "seed": s,
                       "image": f"i{case}", "group": f"g{case}"}  # fmt: skip
                for site, add in (("before", 9.0), ("after", 0.0)):
                    value = 5 + 2 * number + richness + add + 10 * spread[case]
                    rank.append({**key, "site": site, "null": "", "effective_rank": value})
                rank.append({**key, "site": "after", "null": "gaussian", "effective_rank": 99.0})
                for split, shift in (("test", 0.0), ("val", 0.1)):
                    value = iou + shift + spread[case]
                    scores.append({**key, "split": split, "iou": value})
    return {"rank": pd.DataFrame(rank), "scores": pd.DataFrame(scores)}


def test_a_row_of_claims_holds_the_correlation_of_run_means_within_arms():
    found = tables()
    comparison, claims = judge([claim()], found)
    rank = found["rank"].query("site == 'after' and null == ''")
    x = rank.groupby(["arm", "seed"])["effective_rank"].mean()
    y = found["scores"].query("split == 'test'").groupby(["arm", "seed"])["iou"].mean()
    group = pd.factorize(x.index.get_level_values("arm"))[0]
    expected = repeated_measures(x.to_numpy(), y.to_numpy(), group)
    row = claims.iloc[0]
    assert list(claims.columns[: len(CLAIMS.columns)]) == list(CLAIMS.columns)
    assert row["difference"] == pytest.approx(expected.r, rel=1e-12)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected.interval(), rel=1e-12)
    assert row["p_adjusted"] == pytest.approx(expected.p, rel=1e-12)
    assert (row["verdict"], row["n_seeds"], row["kind"]) == ("supported", 6, "association")
    assert row["seeds_needed"] == expected.per_group_needed(0.3)
    assert len(comparison) == 0
    assert row["measure"] == (
        "effective_rank of rank.csv where site=after, null=empty and iou of scores.csv where "
        "split=test"
    )
    assert row["comparison"] == "iou rises with effective_rank within cnn, llm, mlp"
    assert row["note"] == f"df = 14, 18 runs; r across the 3 arm means: {expected.across:+.2f}"
    assert expected.across < -0.9 < 0.5 < expected.r
    assert row["sentence"].startswith(
        "Supported: runs with a higher effective_rank than others of their arm have a higher iou: "
        f"r = {expected.r:+.2f} within 3 arms, over 18 runs (95 % interval "
    )
    assert row["sentence"].endswith(
        f"Across the 3 arm means, which decide nothing, r = {expected.across:+.2f}."
    )


def test_the_other_direction_contradicts():
    _, claims = judge([claim()], tables(slope=-0.05))
    assert claims["verdict"][0] == "contradicted"
    assert "have a lower iou" in claims["sentence"][0]


def test_a_surely_small_correlation_is_equivalent():
    _, claims = judge([claim(margin=0.5)], tables(slope=0.0, seeds=40))
    assert claims["verdict"][0] == "equivalent"
    assert claims["p_equivalence"][0] < 0.05
    assert claims["sentence"][0].startswith(
        "Equivalent: effective_rank and iou correlate by less than 0.5 (p = "
    )


def test_a_certain_but_small_correlation_says_that_it_is_small():
    _, claims = judge([claim(margin=0.9)], tables(slope=0.02, seeds=20))
    assert claims["verdict"][0] == "supported"
    assert claims["sentence"][0].startswith("Supported, but below the margin that was said to")


def test_few_runs_are_inconclusive_and_say_what_it_would_take():
    _, claims = judge([claim()], tables(slope=0.0, seeds=3))
    assert claims["verdict"][0] == "inconclusive"
    could, needed = claims["smallest_detectable"][0], claims["seeds_needed"][0]
    assert (
        f"These runs could have shown a correlation of {could:.2f} (80 % power); the margin of "
        f"0.3 would take {needed:.0f} seeds of each arm." in claims["sentence"][0]
    )


def test_it_takes_its_place_in_a_family_beside_comparisons():
    found = tables()
    boost = validated(
        {"id": "boost", "statement": "s", "comparisons": [{"a": "llm", "b": "cnn"}],
         "where": {"split": "test"}, "margin": 0.005, "family": "both"}, Claim, "x",
    )  # fmt: skip
    alone = judge([claim()], found)[1]["p_adjusted"][0]
    one, two = judge([boost, claim(family="both")], found)[1]["p_adjusted"]
    assert two == pytest.approx(max(2 * alone, one) if one / 2 < alone else 2 * alone)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: {"scores": found["scores"]}, "there is no rank.csv"),
        (
            lambda found: {**found, "scores": found["scores"].query("arm != 'mlp'")},
            "no runs of mlp (there are cnn, llm)",
        ),
        (
            lambda found: {name: table.query("seed == 0") for name, table in found.items()},
            "3 runs of 3 arms cannot show a correlation within arms",
        ),
        (
            lambda found: {**found, "scores": found["scores"].assign(iou=0.5)},
            "within no arm do effective_rank and iou both vary",
        ),
    ],
)
def test_what_could_not_be_run_says_why(change, reason):
    _, claims = judge([claim()], change(tables()))
    assert (claims["verdict"][0], claims["reason"][0]) == ("not run", reason)
    assert claims["sentence"][0] == f"Not run: {reason}."
    assert association_table([claim()], ready(change(tables()))).empty


def test_runs_with_one_of_the_two_measurements_are_named():
    found = tables()
    found["rank"] = found["rank"].query("not (arm == 'llm' and seed in (2, 4))")
    with pytest.raises(
        TableError,
        match=r"claim 'rank-matters': llm: seeds 2, 4 have only one of effective_rank and iou",
    ):
        judge([claim()], found)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"margin": 1.5}, "margin: Input should be less than 1"),
        ({"arms": ["llm - cnn"]}, "arms: 'llm - cnn' is a contrast: name single conditions"),
        ({"arms": ["llm", "llm"]}, "arms: one of them is named twice"),
        ({"arms": ["llm ["]}, "'llm [' is not a condition"),
        ({"x": {"table": "rank", "score": "rank"}}, "score: unknown score 'rank'"),
    ],
)
def test_an_association_that_is_written_wrongly_says_so(fields, message):
    with pytest.raises(ConfigError) as refusal:
        claim(**fields)
    assert message in str(refusal.value)


def test_both_kinds_stand_in_one_list_and_survive_a_file():
    adapter = TypeAdapter(AnyClaim)
    assert isinstance(claim(), Association)
    plain = adapter.validate_python(
        {"id": "a", "statement": "s", "comparisons": [{"a": "llm", "b": "cnn"}], "margin": 0.1}
    )
    assert isinstance(plain, Claim)
    for one in (plain, claim()):
        assert adapter.validate_python(one.model_dump(mode="json")) == one


def test_the_table_of_the_runs_holds_the_line_of_one_slope():
    found = tables()
    table = association_table([claim()], ready(found))
    assert list(table.columns) == list(ASSOCIATION.columns)
    slopes = [
        np.polyfit(rows["x"], rows["fitted"], 1)[0] for _, rows in table.groupby("arm", sort=False)
    ]
    assert slopes == pytest.approx([slopes[0]] * 3)
    assert table.groupby("arm")["fitted"].mean().to_numpy() == pytest.approx(
        table.groupby("arm")["y"].mean().to_numpy()
    )
