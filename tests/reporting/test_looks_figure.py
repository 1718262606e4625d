"""The path of a claim over its looks, drawn and on the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from llm4seg_probe import tables
from llm4seg_probe.report.figures import looks
from llm4seg_probe.report.report import write_report

STUDY = Path(__file__).parents[1] / "stored/study"


def path_of(verdicts: list[str]) -> pd.DataFrame:
    """A claim over looks at 5, 10, … seeds; its p falls by a tenth at each."""
    seeds = [5 * 2**k for k in range(len(verdicts))]
    return pd.DataFrame(
        {
            "claim": "boost", "look": range(1, len(seeds) + 1), "seeds": seeds,
            "difference": 0.01, "ci_low": [0.01 - 0.1 / n for n in seeds],
            "ci_high": [0.01 + 0.1 / n for n in seeds],
            "p": [0.1**k for k in range(len(seeds))], "threshold": 0.015,
            "verdict": verdicts, "decided_by": "llm against cnn",
        }
    )  # fmt: skip


def test_the_look_that_decides_is_filled_and_those_after_it_are_not():
    rows = path_of(["inconclusive", "inconclusive", "supported", "supported"])
    above, below = looks.figure(rows.sample(frac=1, random_state=0), 0.005, "IoU").axes
    marks = {line.get_label(): list(line.get_xdata()) for line in above.lines}
    assert marks["look"] == [5, 10, 40]
    assert marks["decided here"] == [20]
    drawn = {line.get_label(): list(line.get_ydata()) for line in below.lines}
    assert drawn["p"] == pytest.approx([1, 0.1, 0.01, 0.001])
    assert drawn["boundary"] == [0.015] * 4
    assert above.get_ylabel() == "Difference in IoU"


def test_a_study_that_has_not_decided_names_no_deciding_look():
    drawing = looks.figure(path_of(["inconclusive", "inconclusive"]), 0.005, "IoU")
    (legend,) = drawing.legends
    assert [text.get_text() for text in legend.get_texts()] == ["look", "p", "boundary"]


def test_the_words_give_each_look():
    assert looks.alt(path_of(["inconclusive", "supported"])) == (
        "Differences by look with their intervals over all looks: 5 seeds +0.010 "
        "[−0.010, +0.030], p 1.00 against 0.015; 10 seeds +0.010 [0.000, +0.020], p 0.10 against "
        "0.015."
    )


def test_the_page_shows_path_course_and_chance(tmp_path: Path):
    folder = shutil.copytree(STUDY, tmp_path / "study")
    described = yaml.safe_load((folder / "analysis.yaml").read_text(encoding="utf-8"))
    described |= {"course": {"sentence": "Stopped at look 2 of 3."}, "by_chance": "0.05 by chance."}
    (folder / "analysis.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    rows = path_of(["inconclusive", "supported"])
    tables.write_table(rows, folder / "looks.csv", tables.LOOKS)
    page = write_report(folder).read_text(encoding="utf-8")
    assert 'class="course">Stopped at look 2 of 3.<' in page
    assert 'class="chance">0.05 by chance.<' in page
    assert page.index("Stopped at look 2") < page.index('id="verdicts"')
    assert looks.alt(rows) in page
    assert (folder / "figures/claim-boost-looks.svg").is_file()
