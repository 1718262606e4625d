"""What a claim compares, as a table: the scores that the verdicts are made of, and no others."""

from __future__ import annotations

import pandas as pd
import pytest
import studies

from llm4seg_probe.arms import parse_condition
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes.base import Usual
from llm4seg_probe.statistics.claims import Association, Claim, pairs_table
from llm4seg_probe.statistics.conditions import NotThere, resolve
from llm4seg_probe.statistics.judgement import judge, ready
from llm4seg_probe.tables import PAIRS, read_table, write_table

WHERE = {"split": "test", "checkpoint": "best"}


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    cases = [(f"{case:03d}", f"p{case // 2}") for case in range(6)]
    effects = {"cnn": 0.0, "llm": 0.01, "mlp": 0.0}
    drawn = studies.per_case(effects, seeds=4, cases=cases)
    return studies.scores_table(drawn.assign(dataset="made"))


def stated(*pairs: tuple[str, str], name: str = "boost", **more: object) -> Claim:
    both = tuple({"a": a, "b": b} for a, b in pairs)
    return Claim(id=name, statement="", margin=0.01, where=WHERE, comparisons=both, **more)


def test_the_table_holds_the_scores_that_the_comparison_is_made_of(scores):
    claim = stated(("llm", "cnn"), ("llm", "mlp"))
    tables = {"scores": scores}
    table = pairs_table([claim], ready(tables))
    comparison, _ = judge([claim], tables, bootstrap=0)
    for number, row in comparison.reset_index(drop=True).iterrows():
        own = table[table["comparison"] == number]
        assert (own["a"].unique(), own["b"].unique()) == ([row["a"]], [row["b"]])
        each = own["value_a"] - own["value_b"]
        assert each.groupby(own["seed"]).mean().mean() == pytest.approx(row["difference"])
        assert len(own) == row["n_seeds"] * row["n_cases"]
    one = table.query("comparison == 1 and seed == '2' and image == '004'").iloc[0]
    wanted = scores.query("seed == 2 and image == '004'").set_index("arm")["iou"]
    assert (one["value_a"], one["value_b"]) == (wanted["llm"], wanted["mlp"])
    assert one["group"] == "p2"


def test_contrasts_of_other_cases_are_compared_by_run(scores):
    other = scores.assign(dataset="other", run=scores["run"] + "x", image=scores["image"] + "x")
    both = pd.concat([scores, other], ignore_index=True)
    gain = "llm[dataset={0}] - cnn[dataset={0}]"
    claim = stated((gain.format("made"), gain.format("other")))
    table = pairs_table([claim], ready({"scores": both}))
    pair = resolve(
        both, "iou", (parse_condition(gain.format("made")), parse_condition(gain.format("other"))),
        filters=WHERE, average_over=("class",),
    )  # fmt: skip
    assert len(table) == 4
    assert set(table["image"]) == set(table["group"]) == {""}
    assert set(table["dataset"]) == {"made+other"}
    assert table["value_a"].tolist() == pytest.approx(pair.values_a.ravel().tolist())


def test_what_was_not_run_or_compares_nothing_has_no_rows(scores):
    measured = {"table": "scores", "score": "iou", "where": WHERE}
    rises = Association(id="r", statement="", x=measured, y=measured, arms=("llm",), margin=0.5)
    ranks = stated(("llm@after", "cnn@after"), name="rank", table="rank", score="lsvr")
    lora = stated(("llm-lora", "llm"), ("llm", "cnn"), name="lora")
    table = pairs_table([rises, ranks, lora], ready({"scores": scores}))
    assert set(zip(table["claim"], table["comparison"], strict=True)) == {("lora", 1)}
    assert pairs_table([], {}).empty


def test_a_table_that_no_longer_fits_its_claims_is_named(scores):
    changed = scores.assign(split="val")
    with pytest.raises(TableError, match=r"scores\.csv: claim 'boost': unknown value of split"):
        pairs_table([stated(("llm", "cnn"))], ready({"scores": changed}))


def test_it_is_read_as_it_was_written(scores, tmp_path):
    table = pairs_table([stated(("llm", "cnn"))], ready({"scores": scores}))
    write_table(table, tmp_path / PAIRS.name, PAIRS)
    pd.testing.assert_frame_equal(read_table(tmp_path / PAIRS.name, PAIRS), table)


def test_a_condition_that_no_image_has_in_every_run_is_not_run() -> None:
    rows = [
        {"arm": "llm", "seed": seed, "dataset": name, "image": f"{name}{image}",
         "snr_db": float("nan") if name == "B" and image == seed else 1.0 + image + seed}
        for name in "AB" for seed in range(2) for image in range(2)
    ]  # fmt: skip
    conditions = (parse_condition("llm[dataset=A]"), parse_condition("llm[dataset=B]"))
    asked = {"filters": {}, "average_over": (), "usual": Usual(common_cases=True)}
    with pytest.raises(NotThere, match=r"no image has a snr_db in every run of llm\[dataset=B\]"):
        resolve(pd.DataFrame(rows), "snr_db", conditions, **asked)
    rows[-1]["snr_db"] = rows[-4]["snr_db"] = 3.0
    found = resolve(pd.DataFrame(rows), "snr_db", conditions, **asked)
    assert found.values_b.shape == (2, 1)
