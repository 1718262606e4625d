"""Tables of the page as files for a paper."""

from __future__ import annotations

import csv
import io
import re

import pandas as pd
import pytest

from llm4seg_probe.report.page_files import as_csv, as_latex, as_markdown, write_listing
from llm4seg_probe.report.page_tables import Column, Listing, number_cell, text_cell
from llm4seg_probe.tables import CLAIMS, read_table

HOSTILE = r"a_b & 50% of $x$ #1 {~^} \end{tabular} <b>|`*[z]"


@pytest.fixture
def listing() -> Listing:
    rows = (
        (text_cell(HOSTILE), number_cell(1 / 3, "0.333"), number_cell(-0.5, "−0.50 to +0.10")),
        (text_cell("plain"), number_cell(float("nan"), ""), number_cell(2.0, "±2")),
    )
    return Listing("What & why", (Column("Name", False), Column("x"), Column("y_1")), rows)


def test_csv_is_in_full_precision_and_empty_for_what_is_missing(listing):
    rows = list(csv.reader(io.StringIO(as_csv(listing))))
    assert rows == [
        ["Name", "x", "y_1"],
        [HOSTILE, repr(1 / 3), "-0.50 to +0.10"],
        ["plain", "", "±2"],
    ]


def test_markdown_keeps_its_columns_whatever_the_cells_hold(listing):
    caption, blank, *lines, end = as_markdown(listing).split("\n")
    assert (caption, blank, end) == ("What & why", "", "")
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [4] * 4
    assert lines[1] == "| --- | ---: | ---: |"
    assert r"\<b\>\|\`\*\[z\]" in lines[2]


def test_latex_is_booktabs_and_escapes_what_would_be_a_command(listing):
    text = as_latex(listing, "one")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrr}"):
        assert text.count(rule) == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [2] * 3
    assert text.count(r"\end{tabular}") == 1
    assert r"a\_b \& 50\% of \$x\$ \#1 \{\textasciitilde{}\textasciicircum{}\}" in text
    assert r"$-$0.50 to +0.10" in text
    assert r"$\pm$2" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_the_three_files_lie_where_they_are_said_to(listing, tmp_path):
    paths = write_listing(listing, tmp_path / "tables", "one")
    assert {kind: path.name for kind, path in paths.items()} == {
        "csv": "one.csv", "md": "one.md", "tex": "one.tex",
    }  # fmt: skip
    assert paths["md"].read_text(encoding="utf-8") == as_markdown(listing)


def test_the_verdicts_for_a_paper_are_those_of_the_table(page):
    shown = pd.read_csv(page.parent / "tables" / "verdicts.csv")
    claims = read_table(page.parent / "claims.csv", CLAIMS)
    assert shown["Verdict"].str.lower().tolist() == claims["verdict"].tolist()
    assert len(shown) == len(claims)
    for name in ("comparison", "cases", "rank", "activation", "runs"):
        for kind in ("csv", "md", "tex"):
            assert (page.parent / "tables" / f"{name}.{kind}").is_file()
