from pathlib import Path

import pandas as pd
import pytest

from llm4seg_probe.errors import TableError
from llm4seg_probe.tables import CLAIMS, SCORES, conform, read_table, write_table


def scores(**changes: object) -> pd.DataFrame:
    row = {
        "run": "cnn-0", "dataset": "spine", "arm": "cnn", "seed": 0, "checkpoint": "best",
        "split": "test", "image": "007", "group": "NA", "class": "foreground", "iou": 1 / 3,
        "dice": 0.5, "precision": 0.5, "recall": 0.5, "hd95": 1.5, "nsd": 0.9, "area": 12.0,
        "empty": "", "iou_reference": 1 / 3, "ece": 0.02, "brier": 0.01,
    }  # fmt: skip
    return pd.DataFrame([row | changes])


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    written = conform(scores(hd95=None), SCORES)
    write_table(written, tmp_path / "scores.csv", SCORES)
    found = read_table(tmp_path / "scores.csv", SCORES)
    pd.testing.assert_frame_equal(found, written)
    assert found.loc[0, "iou"] == 1 / 3
    assert (found.loc[0, "image"], found.loc[0, "group"], found.loc[0, "empty"]) == (
        "007",
        "NA",
        "",
    )


def test_columns_come_in_the_declared_order_with_further_ones_last() -> None:
    frame = scores(note="x")[["note", *reversed(scores().columns)]]
    assert list(conform(frame, SCORES).columns) == [*SCORES.columns, "note"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (scores().drop(columns="iou"), "scores.csv lacks the columns iou"),
        (scores(iou="high"), "column iou is not number"),
        (scores(seed=0.5), "column seed is not integer"),
        (pd.concat([scores(), scores()]), "more than one row for {'run': 'cnn-0'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(TableError) as refused:
        conform(frame, SCORES)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such table"),
        (b"", "not a readable CSV table"),
        (b"\xff\xfe\x00", "not a readable CSV table"),
        (b"claim\nboost\n", "claims.csv lacks the columns statement"),
        (b"claim\nboost\npre\x1btrain\n", "row 3, column claim: .* holds control characters"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "claims.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(path, CLAIMS)
