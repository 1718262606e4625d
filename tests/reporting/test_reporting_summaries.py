from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.drawing import table_rows
from llm4seg_probe.errors import TableError


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def scores(rows: list[tuple[str, int, str, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["arm", "seed", "image", "class", "iou"])
    return frame.assign(
        run=frame["arm"] + frame["seed"].astype(str), dataset="d", group="g", split="test"
    ).assign(checkpoint="best")


def test_means_by_seed_are_means_over_images_of_the_means_of_their_classes():
    rows = scores(
        [
            ("llm", 0, "a", "liver", 0.2),
            ("llm", 0, "a", "spleen", 0.4),
            ("llm", 0, "b", "liver", 0.6),
            ("llm", 0, "b", "spleen", 0.8),
            ("cnn", 0, "a", "liver", 0.1),
            ("cnn", 0, "a", "spleen", 0.1),
            ("cnn", 0, "b", "liver", np.nan),
            ("cnn", 0, "b", "spleen", 0.9),
        ]
    )
    means = table_rows.by_seed(rows, "iou")
    assert list(means.columns) == ["cnn", "llm"]
    assert means.loc[0].tolist() == pytest.approx([0.1, 0.5])


def test_means_by_seed_agree_with_the_comparison(results):
    means = table_rows.by_seed(table_rows.on_test_split(results.tables["scores.csv"]), "iou").mean()
    for _, row in table_rows.compared(results.tables["comparison.csv"], "scores", "iou").iterrows():
        assert means[row["a"]] == pytest.approx(row["mean_a"], abs=1e-12)
        assert means[row["b"]] == pytest.approx(row["mean_b"], abs=1e-12)


def test_means_by_case_agree_with_a_loop(results):
    rows = table_rows.on_test_split(results.tables["scores.csv"])
    means = table_rows.by_case(rows, "iou")
    for (image, group), row in means.iterrows():
        for arm in means.columns:
            chosen = rows[(rows["image"] == image) & (rows["arm"] == arm)]
            assert set(chosen["group"]) == {group}
            assert row[arm] == pytest.approx(sum(chosen["iou"]) / 5)


def test_rows_of_two_sites_are_never_averaged_in_silence(results):
    rows = table_rows.measured(results.tables["rank.csv"])
    with pytest.raises(TableError, match="several values of site"):
        table_rows.by_seed(rows, "effective_rank")


def test_no_rows_are_no_mean(results):
    with pytest.raises(TableError, match="no row is left"):
        table_rows.by_seed(results.tables["rank.csv"].head(0), "lsvr")


def test_measurement_and_nulls_part_the_table(results):
    rank = results.tables["rank.csv"]
    assert set(table_rows.nulls(rank)["null"]) == {"shuffled", "untrained", "gaussian"}
    assert len(table_rows.measured(rank)) + len(table_rows.nulls(rank)) == len(rank)


def test_parts_of_images_are_left_out(results):
    rank = results.tables["rank.csv"]
    halves = pd.concat([rank, rank.assign(part="foreground")])
    assert len(table_rows.measured(halves)) == len(table_rows.measured(rank))
    assert len(table_rows.nulls(halves)) == len(table_rows.nulls(rank))


def test_one_kind_of_map_prefers_the_usual():
    maps = table(
        reduction=["l2", "mean_abs", "mean_abs"],
        threshold=["otsu", "oracle", "otsu"],
        iou=[1, 2, 3],
    )
    assert table_rows.one_kind_of_map(maps)["iou"].tolist() == [3]
    assert table_rows.one_kind_of_map(maps.head(1))["iou"].tolist() == [1]


def test_runs_of_one_arm_and_seed_are_told_apart_by_what_varies():
    scores = table(
        run=["a", "b", "c"], dataset="d", arm=["llm", "llm", "cnn"], seed=0, iou=[0.1, 0.2, 0.3]
    )
    runs = table(
        run=["a", "b", "c"], arm=["llm", "llm", "cnn"], llm=["s", "s", ""], layer=["10", "11", ""],
        wall_seconds=[1.0, 2.0, 3.0],
    )  # fmt: skip
    apart = table_rows.told_apart(scores, runs)
    assert apart["arm"].tolist() == ["llm[layer=10]", "llm[layer=11]", "cnn"]
    assert scores["arm"].tolist() == ["llm", "llm", "cnn"]


def test_runs_that_nothing_tells_apart_go_by_their_names():
    scores = table(run=["a", "b", "c"], dataset="d", arm=["llm", "llm", "cnn"], seed=0)
    runs = table(run=["a", "b", "c"], llm="s", layer="10")
    for described in (runs, None):
        apart = table_rows.told_apart(scores, described)
        assert apart["arm"].tolist() == ["llm[run=a]", "llm[run=b]", "cnn"]


def test_a_table_with_one_run_per_arm_and_seed_stays_as_it_is(results):
    rank = results.tables["rank.csv"]
    assert table_rows.told_apart(rank, results.tables["runs.csv"]) is rank


def test_comparisons_are_chosen_by_table_and_score(results):
    comparison = results.tables["comparison.csv"]
    assert set(table_rows.compared(comparison, "maps", "iou")["a"]) == {
        f"{arm}@after" for arm in ("cnn", "llm", "transformer", "random-frozen", "adapters")
    }
    assert "@" not in "".join(table_rows.compared(comparison, "scores")["a"])
    anybodys = comparison.drop(columns="table")
    assert len(table_rows.compared(anybodys, "scores")) == len(anybodys)
    assert table_rows.compared(anybodys, "maps").empty


def test_the_middle_leaves_out_both_tails():
    low, high = table_rows.middle(pd.Series(np.arange(101.0)))
    assert (low, high) == pytest.approx((5.0, 95.0))


@pytest.mark.parametrize(("count", "places"), [(1, [0]), (3, [0, 1, 2]), (10, [0, 3, 6, 9])])
def test_images_are_spread_out(count, places):
    assert table_rows.spread_out(count, 4) == places
