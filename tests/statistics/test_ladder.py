"""The gain taken apart: steps that add up, arms that are not there, seeds that are not shared."""

from itertools import pairwise

import pandas as pd
import pytest
from scipy import stats

from llm4seg_probe.statistics.ladder import RUNGS, ladder
from llm4seg_probe.tables import LADDER

EFFECTS = {
    "cnn": 0.0, "adapters": 0.01, "mlp": 0.015, "random-frozen": 0.03, "shuffled-frozen": 0.03,
    "llm": 0.05, "transformer": 0.02, "mlp-only": 0.01,
}  # fmt: skip


@pytest.fixture
def scores(study):
    test = study(EFFECTS, cases=6, split="test", checkpoint="best")
    return pd.concat([test, test.assign(split="val", iou=0.9)], ignore_index=True)


def steps(table):
    return table[table["step"].notna()]


def means(scores, arm):
    rows = scores[(scores["arm"] == arm) & (scores["split"] == "test")]
    return rows.groupby("seed")["iou"].mean()


def test_each_step_is_the_paired_t_of_neighbours_and_the_steps_add_up(scores):
    found = ladder(scores)
    assert list(found.columns) == list(LADDER.columns)
    rungs = steps(found)
    arms = list(RUNGS)
    assert list(zip(rungs["from"], rungs["to"], strict=True)) == list(pairwise(arms))
    assert list(rungs["step"]) == [1, 2, 3, 4, 5]
    for _, row in rungs.iterrows():
        theirs = stats.ttest_rel(means(scores, row["to"]), means(scores, row["from"]))
        low, high = theirs.confidence_interval(0.95)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), rel=1e-9)
        assert row["p"] == pytest.approx(theirs.pvalue, rel=1e-9)
    whole = stats.ttest_rel(means(scores, "llm"), means(scores, "cnn"))
    last = rungs.iloc[-1]
    assert rungs["difference"].sum() == pytest.approx(last["gain"], rel=1e-12)
    assert (last["gain_low"], last["gain_high"]) == pytest.approx(
        tuple(whole.confidence_interval(0.95)), rel=1e-9
    )
    assert (rungs["note"] == "").all()
    assert last["what"] == "the pre-training"


def test_arms_beside_the_ladder_are_compared_with_its_foot(scores):
    beside = ladder(scores).query("step.isna()")
    assert list(zip(beside["from"], beside["to"], strict=True)) == [
        ("cnn", "transformer"), ("cnn", "mlp-only"),
    ]  # fmt: skip
    assert (beside["difference"] == beside["gain"]).all()


def test_a_skipped_arm_hands_its_part_to_the_next_step(scores):
    found = steps(ladder(scores[~scores["arm"].isin(["adapters", "mlp"])]))
    first = found.iloc[0]
    assert (first["from"], first["to"], first["step"]) == ("cnn", "random-frozen", 1)
    assert first["note"] == "no runs of adapters, mlp: their part is in this step"
    assert first["what"] == (
        "the two projections, and a non-linearity between them, and a decoder layer's architecture"
    )


def test_only_seeds_that_all_arms_share_are_used_and_the_others_named(scores):
    fewer = scores[~((scores["arm"] == "mlp") & scores["seed"].isin([1, 3]))]
    found = ladder(fewer)
    assert set(steps(found)["n_seeds"]) == {3}
    assert set(steps(found)["note"]) == {"seeds 1, 3 are not in every arm: left out"}
    assert set(found[found["step"].isna()]["n_seeds"]) == {5}


def test_one_seed_has_differences_and_no_interval(scores):
    found = ladder(scores[scores["seed"] == 0])
    assert found["difference"].notna().all()
    assert found[["ci_low", "ci_high", "p"]].isna().all(axis=None)


def test_arms_without_a_common_seed_have_no_numbers(scores):
    apart = scores.assign(seed=scores["seed"] + 10 * (scores["arm"] == "llm"))
    assert steps(ladder(apart))["difference"].isna().all()


def test_data_sets_have_ladders_of_their_own_and_deviating_runs_are_left_out(scores, study):
    other = study({"cnn": 0.0, "llm": 0.1}, cases=4, split="test", checkpoint="best")
    other = other.assign(dataset="phantoms", run=lambda t: "p-" + t["run"])
    deep = study({"llm": 0.5}, cases=6, split="test", checkpoint="best")
    deep = deep.assign(run=lambda t: "deep-" + t["run"])
    table = pd.concat([scores, other, deep], ignore_index=True)
    runs = table[["run"]].drop_duplicates()
    runs["deviation"] = [
        "dataset=phantoms" if name.startswith("p-") else "layer=3" if "deep" in name else ""
        for name in runs["run"]
    ]
    runs["layer"] = ["3" if "deep" in name else "15" for name in runs["run"]]
    found = ladder(table, runs)
    pd.testing.assert_frame_equal(
        found[found["dataset"] == "spine"].reset_index(drop=True), ladder(scores)
    )
    assert list(found[found["dataset"] == "phantoms"]["to"]) == ["llm"]


def test_fewer_than_two_arms_of_the_ladder_make_no_table(scores):
    empty = ladder(scores[scores["arm"].isin(["llm", "transformer"])])
    assert empty.empty
    assert list(empty.columns) == list(LADDER.columns)
