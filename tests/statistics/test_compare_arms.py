"""Every condition against its baseline, over data sets, splits and settings."""

import pandas as pd
import pytest

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.compare import compare, compare_arms


@pytest.fixture
def whole(study):
    """A plain study; one layer more; a second data set with one arm; another split."""
    parts = {
        "": study({"cnn": 0.0, "llm": 0.02, "mlp": 0.01}),
        "layer=3": study({"llm": 0.03}, seed=1),
        "dataset=phantoms": study({"cnn": 0.0, "llm": 0.01}, seed=2).assign(dataset="phantoms"),
        "data.split=reference": study({"cnn": 0.0, "llm": 0.04}, seed=3, cases=12).assign(
            image=lambda t: "other" + t["image"]
        ),
    }
    named = [
        table.assign(run=deviation + table["run"], deviation=deviation, **{"class": "foreground"})
        for deviation, table in parts.items()
    ]
    table = pd.concat(named, ignore_index=True)
    runs = table[["run", "deviation"]].drop_duplicates().reset_index(drop=True)
    return table.drop(columns="deviation"), runs, parts


def test_each_condition_meets_the_baseline_of_its_own_cases_in_one_family(whole):
    scores, runs, parts = whole
    found = compare_arms(scores, runs)
    assert {(r["dataset"], r["a"], r["b"]) for _, r in found.iterrows()} == {
        ("spine", "llm", "cnn"), ("spine", "mlp", "cnn"), ("spine", "llm[layer=3]", "cnn"),
        ("phantoms", "llm", "cnn"),
        ("spine", "llm[data.split=reference]", "cnn[data.split=reference]"),
    }  # fmt: skip
    other = compare(parts["data.split=reference"]).iloc[0]
    row = found[found["b"] == "cnn[data.split=reference]"].iloc[0]
    assert (row["difference"], row["p_t"]) == (other["difference"], other["p_t"])
    assert row["p_adjusted"] >= row["p_t"]
    assert found["p_adjusted"].min() == pytest.approx(
        len(found) * found["p_t"].min(), rel=1e-9
    ) or found["p_adjusted"].min() > found["p_t"].min()  # fmt: skip


def test_a_study_of_one_data_set_is_compared_as_ever(whole):
    scores, runs, _ = whole
    plain = scores[~scores["run"].str.contains("=")]
    pd.testing.assert_frame_equal(
        compare_arms(plain, runs), compare(plain.drop(columns="class"), baseline="cnn")
    )


def test_a_condition_without_a_baseline_on_its_cases_is_left_out(whole):
    scores, runs, _ = whole
    without = scores[~scores["run"].str.startswith("data.split=referencecnn")]
    assert not compare_arms(without, runs)["a"].str.contains("split").any()


@pytest.mark.parametrize(
    ("keep", "baseline", "message"),
    [
        (["cnn", "llm", "mlp"], "cn", "unknown arm 'cn'. Did you mean 'cnn'? Valid: cnn, llm, mlp"),
        (["cnn"], "cnn", "no condition was scored on the same cases as the baseline 'cnn'"),
    ],
)
def test_what_cannot_be_compared_says_why(whole, keep, baseline, message):
    scores, runs, _ = whole
    with pytest.raises(TableError) as refusal:
        compare_arms(scores[scores["arm"].isin(keep)], runs, baseline=baseline)
    assert str(refusal.value) == message
