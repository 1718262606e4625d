"""Folders that an earlier version wrote (commit 1611220) open as they are: see tests/stored."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe import tables
from llm4seg_probe.config import load_config
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes import registry
from llm4seg_probe.report.report import write_report
from llm4seg_probe.report.results import read_results
from llm4seg_probe.study.analysis import Probes
from llm4seg_probe.study.probing import is_probed
from llm4seg_probe.study.runs import PlannedRun
from llm4seg_probe.training.stored_run import load

STORED = Path(__file__).parents[1] / "stored"
RUN, STUDY = STORED / "run", STORED / "study"
RANK = registry.find("rank").schema


def test_a_run_folder_opens() -> None:
    run = load(RUN / "run.pt")
    assert (run.arm, run.seed, run.epoch) == ("llm", 0, 0)
    assert run.config == load_config(RUN / "config.yaml")
    planned = PlannedRun(run.config, RUN)
    assert planned.done
    assert is_probed(planned, ("rank", "maps"), Probes(gallery=4))
    assert not is_probed(planned, ("rank", "maps"), Probes())
    for schema in (tables.METRICS, tables.SCORES, RANK, registry.find("maps").schema):
        assert len(tables.read_table(RUN / schema.name, schema))


def test_a_study_folder_is_read_and_its_page_drawn(tmp_path: Path) -> None:
    folder = shutil.copytree(STUDY, tmp_path / "study")
    results = read_results(folder)
    assert set(results.probes) == {"field", "similarity"}
    assert {"scores.csv", "rank.csv", "maps.csv", "claims.csv"} <= results.tables.keys()
    write_report(folder)
    page = "".join(part.read_text(encoding="utf-8") for part in folder.glob("*.html"))
    for anchor in ("claim-boost", "claim-rank", "probe-field", "probe-similarity", "rank"):
        assert f'id="{anchor}"' in page
    assert "a gradient sees small changes only" in page  # as about.yaml was written then


def test_what_a_later_version_measures_too_is_empty_in_an_earlier_table() -> None:
    later = dataclasses.replace(
        RANK, values={**RANK.values, "novelty": "number"}, since={"novelty": "0.2.0"}
    )
    found = tables.read_table(RUN / "rank.csv", later)
    assert found["novelty"].isna().all()
    assert found["novelty"].dtype == np.float64
    known = tables.read_table(RUN / "rank.csv", RANK)
    pd.testing.assert_frame_equal(found.drop(columns="novelty"), known)
    with pytest.raises(TableError, match=r"rank.csv lacks the columns novelty"):
        tables.conform(known, later)  # what is written now has them all
    with pytest.raises(TableError, match=r"lacks the columns novelty"):
        tables.read_table(RUN / "rank.csv", dataclasses.replace(later, since={}))
