from __future__ import annotations

from llm4seg_probe.probes.result import Rows
from llm4seg_probe.tables import RUNS


def test_many_rows_keep_their_order_and_lacking_columns_are_empty():
    rows = Rows(RUNS)
    for index in range(10_000):
        rows.add({"run": f"run-{index}", "seed": index, "arm": "cnn"})
    table = rows.table()
    assert list(table.columns) == list(RUNS.columns)
    assert table["run"].tolist() == [f"run-{index}" for index in range(10_000)]
    assert table["seed"].tolist() == list(range(10_000))
    assert table["llm"].eq("").all()
    assert table["wall_seconds"].isna().all()


def test_no_rows_are_a_table_without_rows():
    assert list(Rows(RUNS).table().columns) == list(RUNS.columns)
