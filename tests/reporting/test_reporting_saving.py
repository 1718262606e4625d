from __future__ import annotations

import re

import matplotlib
import pytest
from PIL import Image

from llm4seg_probe.drawing.figure_files import inline_svg, save_figure
from llm4seg_probe.report.figures import paired


@pytest.fixture(scope="module")
def saved(results, tmp_path_factory):
    """The same table drawn and saved twice, under other settings of the user's."""
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    for folder, size in zip(folders, (5, 15), strict=True):
        with matplotlib.rc_context({"font.size": size, "svg.hashsalt": str(size)}):
            figure = paired.figure(results.tables["scores.csv"])
            save_figure(figure, folder / "figures", "paired", folder / "scores.csv")
    return folders


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_equal_tables_give_equal_bytes(saved, kind):
    first, second = [(folder / f"figures/paired.{kind}").read_bytes() for folder in saved]
    assert first == second


def test_the_table_is_named_in_the_metadata_and_no_date_is(saved):
    folder = saved[0] / "figures"
    svg = (folder / "paired.svg").read_text()
    assert "<dc:source>../scores.csv</dc:source>" in svg
    assert "dc:date" not in svg
    pdf = (folder / "paired.pdf").read_bytes()
    assert b"../scores.csv" in pdf
    assert b"CreationDate" not in pdf
    with Image.open(folder / "paired.png") as image:
        assert image.info["Source"] == "../scores.csv"
        assert image.size[0] == pytest.approx(8.5 / 2.54 * 300, abs=2)


def test_text_stays_text(saved):
    svg = (saved[0] / "figures/paired.svg").read_text()
    assert ">Random, frozen</text>" in svg
    assert b"/Type0" in (saved[0] / "figures/paired.pdf").read_bytes()


def test_nothing_else_is_left_in_the_folder(saved):
    names = sorted(path.name for path in (saved[0] / "figures").iterdir())
    assert names == ["paired.pdf", "paired.png", "paired.svg"]


def test_an_inlined_figure_has_its_own_names_and_the_pages_colours(saved):
    svg = inline_svg((saved[0] / "figures/paired.svg").read_text(), "one", 'IoU 0.6 & "more"')
    assert svg.startswith("<svg ")
    assert 'aria-label="IoU 0.6 &amp; &quot;more&quot;"' in svg
    defined = set(re.findall(r' id="([^"]+)"', svg))
    assert defined == set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    assert defined
    assert all(name.startswith("one-") for name in defined)
    assert "var(--ink)" in svg
    assert "#1f2933" not in svg.lower()
    for unwanted in ("<metadata", "<style", "<?xml", "<!DOCTYPE", "xmlns"):
        assert unwanted not in svg
