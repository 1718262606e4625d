"""The page of a large study: many conditions, two data sets, fifteen claims, a probe's folder."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from large_study import STATED
from matplotlib.collections import PathCollection
from page_reader import Whole, read_pages

from llm4seg_probe.drawing.table_rows import by_seed, on_test_split
from llm4seg_probe.report.claims import ClaimSection, claim_sections
from llm4seg_probe.report.figures import claim as claim_figure
from llm4seg_probe.report.results import Results, read_results
from llm4seg_probe.statistics.claims import Claim

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def read(study: Path) -> Whole:
    return Whole(read_pages(study.parent))


@pytest.fixture(scope="module")
def results_of_study(study: Path) -> Results:
    return read_results(study.parent)


@pytest.fixture(scope="module")
def claims(results_of_study: Results) -> dict:
    return {one.claim.id: one for one in claim_sections(results_of_study)}


def test_the_page_of_a_large_study_is_small(study):
    assert study.stat().st_size < 1.5e6
    for part in study.parent.glob("*.html"):
        assert part.stat().st_size < 25e6


def test_every_claim_has_its_verdict_and_its_section(read, study):
    found = read.attributes("section", "id")
    assert [name for name in found if name.startswith("claim-")] == [
        f"claim-{stated['id']}" for stated in STATED
    ]
    table = pd.read_csv(study.parent / "claims.csv")
    front = read.pages["index.html"].elements
    plots = [one for tag, one in front if tag == "svg" and one.get("class") == "effect"]
    assert len(plots) - 1 == table["difference"].notna().sum() == 14
    for word, count in table["verdict"].value_counts().items():
        assert f"{count} {word}" in read.text
    assert "LLM, LoRA against LLM, frozen, test IoU Not run" in read.text


def test_names_of_conditions_data_claims_and_probes_are_text(read):
    assert {tag for tag, _ in read.elements} & {"i", "u", "b", "x", "program"} == set()
    for part in (
        "<b>odd</b> 1", "<i>shapes</i>", "<u>Trained</u> is & better", "Drawn by a <program>.",
        "field <img src=x onerror=alert(3)>".capitalize()[:5], "<img src=x onerror=alert(3)>",
        "It shows <script>alert(4)</script> & no more.", "--ckpt 'RUNS/*/run.pt' <x>",
        "from how far the <input> moves the centre",
    ):  # fmt: skip
        assert part in read.text, part
    assert not [name for _, one in read.elements for name in one if name.startswith("on")]
    assert {src.partition("/")[0] for src in read.attributes("img", "src")} <= {"figures"}


def test_a_probe_has_its_figure_with_numbers_table_and_command(read):
    (alt,) = [one for one in read.attributes("svg", "aria-label") if "moves the centre" in one]
    assert "CNN mass 1.000, radius_50 12.500, radius_90 30.000" in alt
    links = read.attributes("a", "href")
    assert {"field/field.csv", "field/figures/field.pdf"} <= set(links)
    assert "llm4seg-probe field --ckpt" in read.text


def test_what_the_page_links_to_lies_beside_it(read, study):
    ids = {one.get("id") for _, one in read.elements}
    for link in read.attributes("a", "href"):
        file, _, anchor = unquote(link).partition("#")
        if not file.startswith("http"):
            assert not file or (study.parent / file).is_file(), link
            assert not anchor or anchor.partition("&")[0] in ids, link


def test_no_identifier_is_there_twice(read):
    for page in read.pages.values():
        names = [one["id"] for _, one in page.elements if "id" in one]
        assert len(names) == len(set(names))


def test_every_figure_is_there_in_three_formats(study):
    figures = list((study.parent / "figures").glob("*.svg"))
    assert len(figures) == 2 + 6 + 4  # the claims drawn, and the sections of two data sets
    for path in figures:
        for kind in ("pdf", "png"):
            assert path.with_suffix(f".{kind}").is_file()


def test_data_sets_are_never_averaged_with_each_other(read, results_of_study):
    assert results_of_study.datasets == ["spine", "<i>shapes</i>"]
    for dataset, part in results_of_study.parts.items():
        scores = on_test_split(part.tables["scores.csv"])
        assert set(scores["dataset"]) == {dataset}
        mean = by_seed(scores, "iou")["llm"].mean()
        assert f"LLM, frozen {mean:.3f}" in " ".join(read.attributes("svg", "aria-label"))


def test_figures_of_all_conditions_leave_out_those_that_deviate_and_say_so(read, results_of_study):
    arms = results_of_study.of_dataset("spine").at_base().tables["scores.csv"]["arm"].unique()
    assert len(arms) == 8
    assert "Conditions that deviate from the base are too many for this figure" in read.text
    small = results_of_study.of_dataset("<i>shapes</i>")
    assert small.at_base().tables["scores.csv"] is small.tables["scores.csv"]


def test_a_claim_draws_the_runs_that_it_compares(claims, results_of_study):
    pairs = claims["boost"].pairs
    scores = on_test_split(results_of_study.of_dataset("spine").tables["scores.csv"])
    means = by_seed(scores, "iou")
    runs = pairs.groupby("seed")["value_a"].mean()
    assert runs.to_numpy() == pytest.approx(means["llm"].to_numpy())
    figure = claim_figure.figure(pairs, "scores", 0.005)
    runs, cases = figure.axes
    lines = {line.get_gid(): line.get_xdata() for line in runs.lines}
    for seed in range(5):
        ends = [means.loc[seed, "llm"], means.loc[seed, "cnn"]]
        assert list(lines[f"seed-{seed}"]) == pytest.approx(ends)
    (dots,) = [one for one in cases.collections if isinstance(one, PathCollection)]
    each = (pairs["value_a"] - pairs["value_b"]).groupby([pairs["group"], pairs["image"]])
    expected = np.sort(each.mean())
    assert np.allclose(np.sort(np.asarray(dots.get_offsets())[:, 0]), expected)
    assert cases.get_xlabel() == "a − b by case\n(difference in IoU)"


def test_a_contrast_between_data_sets_is_drawn_seed_by_seed(claims):
    pairs = claims["semantics"].pairs
    assert set(pairs["image"]) == {""}
    left, right = claim_figure.figure(pairs).axes
    assert right.get_xlabel() == "a − b by seed\n(difference in IoU)"
    assert left.get_xlabel() == "Difference in IoU"
    assert claim_figure.differences(pairs).shape == (5,)
    assert {data.name for data in claims["semantics"].datasets} == {"spine", "<i>shapes</i>"}


def test_the_numbers_of_a_claims_figure_are_those_of_the_comparison(claims, results_of_study):
    comparison = results_of_study.tables["comparison.csv"].set_index(["claim", "a", "b"])
    for name, section in claims.items():
        for _, pair in section.pairs.groupby("comparison"):
            row = comparison.loc[(name, pair["a"].iloc[0], pair["b"].iloc[0])]
            assert claim_figure.differences(pair).mean() == pytest.approx(row["difference"])
            assert f"{row['difference']:+.3f}".replace("-", "−").replace("−0.000", "0.000").replace(
                "+0.000", "0.000"
            ) in claim_figure.alt(pair, section.claim.table)


def test_claims_on_rank_and_maps_show_their_own_conditions(claims):
    names = {name: [one.name for one in claims[name].figures()] for name in ("rank", "maps")}
    assert names["rank"] == ["claim-rank", "claim-rank-densities"]
    assert names["maps"] == ["claim-maps", "claim-maps-activation", "claim-maps-gallery"]
    assert list(claims["lora"].figures()) == []


@pytest.mark.parametrize(
    ("pair", "found"),
    [
        (("llm@after - llm@before", "cnn@after"), ["llm", "cnn"]),
        (("mean(llm[layer=3], llm)", "llm[dataset=x,attention=y]"),
         ["llm[layer=3]", "llm", "llm[attention=y]"]),
        (("cnn[split=val,checkpoint=best]", "cnn[split=test,checkpoint=last]"), ["cnn"]),
    ],
)  # fmt: skip
def test_conditions_of_a_claim_are_named_as_in_the_tables(pair, found):
    both = ({"a": pair[0], "b": pair[1]},)
    stated = Claim(id="c", statement="", margin=0.1, comparisons=both)
    assert ClaimSection(stated, pd.DataFrame(), Results(Path(), None, {})).conditions == found


def test_the_command_of_a_claim_is_one_that_compares_where_it_can(claims):
    assert claims["boost"].command == (
        "llm4seg-probe compare scores.csv --where split=test --where checkpoint=best --score iou "
        "--baseline cnn --margin 0.005"
    )
    assert claims["depth"].command == "llm4seg-probe demo"


def test_methods_state_the_design_as_it_was_run(study):
    text = (study.parent / "methods.md").read_text(encoding="utf-8")
    for part in (
        "The same people are on both sides", "layer 15 of smollm2-135m",
        "a causal mask over the tokens in raster order", "`shuffled-frozen` (pre-trained weights",
        "`llm[layer=10]`", "Seeds: 0, 1, 2, 3, 4.", "it cannot give less than 0.0625",
        "*boost* (boost holds): superiority of `llm` against `cnn` in iou of scores.csv, "
        "margin 0.005, family primary", "*frozen* (frozen holds): non-inferiority",
        "Stated after the runs (post hoc): *deepest*", "Six people".lower(),
    ):  # fmt: skip
        assert part in text, part
    assert not re.search(r"\{[a-z_.]+\}|None|Field", text)
