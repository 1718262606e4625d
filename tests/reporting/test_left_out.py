"""Tables that lie in a folder of results and cannot be used: named where they are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import llm4seg_probe as lp
from llm4seg_probe.cli.app import app
from llm4seg_probe.report.results import read_results
from llm4seg_probe.tables import SCORES, read_table, write_table

Change = Callable[[Path], object]


def _header_alone(path: Path) -> None:
    write_table(read_table(path.with_name("whole.csv"), SCORES).head(0), path, SCORES)


KINDS: dict[str, tuple[Change, str]] = {
    "a pipe": (os.mkfifo, "scores.csv is no regular file (a pipe, a socket or a device)"),
    "a folder": (Path.mkdir, "scores.csv is a folder, where a file is expected"),
    "a link to a device": (
        lambda path: path.symlink_to("/dev/zero"),
        "scores.csv is a link, and links in results are not followed",
    ),
    "a link that leads nowhere": (
        lambda path: path.symlink_to("../annex/objects/xx"),
        "scores.csv is a link, and links in results are not followed",
    ),
    "a link to a table": (
        lambda path: path.symlink_to(path.with_name("whole.csv")),
        "scores.csv is a link, and links in results are not followed",
    ),
    "a header": (_header_alone, "scores.csv has a header and no rows, so it counts as not run"),
}


def _changed(folder: Path, kind: str) -> str:
    (folder / "scores.csv").rename(folder / "whole.csv")
    change, sentence = KINDS[kind]
    change(folder / "scores.csv")
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_is_not_used_is_named_where_results_are_read(
    kind: str, own_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sentence = _changed(own_folder, kind)
    study = lp.read(own_folder)
    (told,) = study.left_out
    assert told.startswith(sentence)
    assert f"{own_folder}: left out: {told}" in capfd.readouterr().err
    assert "scores.csv" not in study.tables


@pytest.fixture
def few(own_folder: Path) -> Path:
    """Results of which little can be drawn."""
    for name in ("rank.csv", "maps.csv", "maps.npz", "comparison.csv", "claims.csv"):
        (own_folder / name).unlink()
    return own_folder


@pytest.mark.parametrize("options", [(), ("--pseudonyms",), ("--pseudonyms", "--one-file")])
def test_it_is_named_once_on_the_terminal_and_stands_on_the_page(
    options: tuple[str, ...], few: Path, tmp_path: Path
) -> None:
    sentence = _changed(few, "a pipe")
    result = CliRunner().invoke(
        app, ["report", str(few), "--out", str(tmp_path / "page"), *options]
    )
    assert result.exit_code == 0, result.output
    assert result.stderr.count(f"{few}: left out: {sentence}") == 1
    assert result.stderr.count(sentence) == 1
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert 'id="left-out"' in page
    assert page.count(sentence) == 1


def test_arrays_figures_and_tables_of_probes_are_named_as_well(own_folder: Path) -> None:
    (own_folder / "maps.npz").unlink()
    (own_folder / "maps.npz").mkdir()
    probe = own_folder / "lens"
    (probe / "figures").mkdir(parents=True)
    (probe / "about.yaml").write_text("title: t\nshows: s\n")
    os.mkfifo(probe / "lens.csv")
    (probe / "figures" / "lens.svg").symlink_to("/dev/zero")
    elsewhere = own_folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "about.yaml").write_text("title: t\nshows: s\n")
    (own_folder / "field").symlink_to(elsewhere)
    told = read_results(own_folder).left_out
    assert [sentence.split()[0] for sentence in told] == [
        "maps.npz", "field/about.yaml", "lens/lens.csv", "lens/figures/lens.svg",
    ]  # fmt: skip
    assert "is a link" in told[1]


def test_a_whole_folder_names_nothing(results_folder: Path) -> None:
    assert read_results(results_folder).left_out == ()


def test_no_claims_were_stated_where_none_are_judged(own_folder: Path) -> None:
    text = (own_folder / "claims.csv").read_text(encoding="utf-8")
    (own_folder / "claims.csv").write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    assert read_results(own_folder).left_out == (
        "claims.csv has a header and no rows, so it counts as not run",
    )
    description = (own_folder / "analysis.yaml").read_text(encoding="utf-8")
    kept = description[: description.index("claims:")]
    (own_folder / "analysis.yaml").write_text(kept, encoding="utf-8")
    assert read_results(own_folder).left_out == ()


def test_two_columns_of_one_name_are_refused(own_folder: Path, tmp_path: Path) -> None:
    path = own_folder / "scores.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(f"{line},{line.split(',')[-1]}" for line in lines), encoding="utf-8")
    name = lines[0].split(",")[-1]
    result = CliRunner().invoke(app, ["report", str(own_folder), "--out", str(tmp_path / "page")])
    assert result.exit_code == 2
    assert result.stderr.strip() == (
        f"Error: {path}: two columns are called '{name}': rename one of them"
    )
    assert not (tmp_path / "page").exists()
