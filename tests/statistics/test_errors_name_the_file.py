"""Refusals of a table begin with its file, whichever command read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import llm4seg_probe as lp
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.table_file import named_in_errors

TABLES = {
    "a cell that is no number": "arm,seed,dice\ncnn,0,0.8\nllm,0,abc\ncnn,1,0.3\nllm,1,0.2\n",
    "a header without a score": "a,b\n1,2\n",
    "empty": "",
}


@pytest.mark.parametrize("command", [lp.compare, lp.plan, lp.audit])
@pytest.mark.parametrize("kind", TABLES)
def test_refusals_begin_with_the_file(
    kind: str, command: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "stranger.csv"
    path.write_text(TABLES[kind])
    with pytest.raises(TableError) as refusal:
        command(path)
    told = str(refusal.value)
    assert told.startswith(str(path))
    assert told.count("stranger.csv") == 1


def test_one_of_several_files_is_named_with_their_number(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.json" for name in "abc"]
    with pytest.raises(TableError, match=r"a\.json and 2 more: no arm"), named_in_errors(paths):
        raise TableError("no arm")
