from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_results import IOU, write_small_results

from llm4seg_probe.paper import numbers
from llm4seg_probe.paper.agreement import agreement, agreement_text, beside_the_paper, likeness
from llm4seg_probe.paper.numbers import Statement
from llm4seg_probe.probes.arrays import MapArrays
from llm4seg_probe.report.results import Results, read_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_small_results(tmp_path_factory.mktemp("small") / "results"))


@pytest.mark.parametrize(
    ("a", "b", "shows", "expected"),
    [
        ("llm", "cnn", "higher", "seen here too"),
        ("cnn", "llm", "higher", "the other way round here"),
        ("llm", "llm-trainable", "higher", "no difference that matters here"),
        ("llm", "llm-trainable", "alike", "seen here too"),
        ("llm", "cnn", "alike", "not alike here"),
        ("llm", "transformer", "higher", "not run here"),
    ],
)
def test_each_kind_of_agreement(results: Results, a, b, shows, expected) -> None:
    statement = Statement("It is so", "scores", "iou", a, b, 0.01, 0.02, shows)
    (row,) = agreement(results, [statement]).to_dict("records")
    assert row["agreement"] == expected
    if expected != "not run here":
        assert row["here"] == pytest.approx(IOU[a] - IOU[b], abs=0.003)
        assert row["low"] < row["here"] < row["high"]
        assert row["seeds"] == 4


def test_noise_is_not_called_agreement(tmp_path: Path) -> None:
    folder = write_small_results(tmp_path / "noisy", iou={"cnn": 0.5, "llm": 0.5005})
    statement = Statement("It is so", "scores", "iou", "llm", "cnn", 0.01, 0.0001)
    found = agreement(read_results(folder), [statement])
    assert list(found["agreement"]) == ["these runs cannot tell"]


def test_sites_and_ranks_are_compared_where_they_were_measured(results: Results) -> None:
    maps = agreement(results, numbers.MAPS).set_index("says")
    gain = maps.loc[numbers.MAPS[0].says]
    assert gain["here"] == pytest.approx(0.1, abs=0.003)
    assert gain["agreement"] == "seen here too"
    assert maps.loc[numbers.MAPS[1].says, "agreement"] == "not run here"
    rank = agreement(results, numbers.RANK[:1])
    assert list(rank["agreement"]) == ["the other way round here"]


def test_what_is_told_follows_from_the_table(results: Results) -> None:
    statements = numbers.on_layers(list(IOU))
    found = agreement(results, statements)
    text = agreement_text(found, results)
    assert text.startswith(f"**Of {len(statements)} things")
    for statement, row in zip(statements, found.to_dict("records"), strict=True):
        (line,) = (line for line in text.splitlines() if line.startswith(f"- {statement.says}"))
        assert f"**{row['agreement']}**" in line
    assert text.endswith("Made-up numbers.")


def test_layers_are_compared_where_both_were_run() -> None:
    conditions = ["llm", "llm[layer=1]", "llm[attention=bidirectional]", "cnn", "llm-trainable"]
    assert [(each.a, each.b) for each in numbers.on_layers(conditions)] == [
        ("llm", "cnn"),
        ("llm", "llm[layer=1]"),
    ]
    conditions += ["llm-trainable[layer=1]", "llm[layer=20]"]
    *_, both = numbers.on_layers(conditions)
    assert both.a == "mean(llm, llm[layer=1])"
    assert both.b == "mean(llm-trainable, llm-trainable[layer=1])"
    assert both.shows == "alike"


def test_the_papers_numbers_are_those_of_its_figures() -> None:
    bars = numbers.activation_iou().set_index(["dataset", "arm"])
    gain = (bars["after"] - bars["before"]).round(3)
    assert gain["BUSI", "transformer"] == 0.16
    assert gain["ISIC", "llm"] == 0.16
    layers = numbers.layers()
    frozen = layers.loc[layers["arm"] == "llm", "iou"]
    trained = layers.loc[layers["arm"] == "llm-trainable", "iou"]
    assert len(frozen) == len(trained) == 16
    assert frozen.mean() == pytest.approx(0.7745, abs=5e-5)
    assert frozen.iloc[2:].mean() == pytest.approx(0.7752, abs=5e-5)
    assert trained.mean() == pytest.approx(0.7757, abs=5e-5)
    assert [round(each.theirs, 4) for each in numbers.SCORES] == [0.0081, 0.0041]
    rank = numbers.rank().set_index("arm")["effective_rank"]
    assert rank["llm"] - rank["transformer"] == pytest.approx(numbers.RANK[1].theirs)


def test_levels_put_our_means_beside_the_papers(results: Results) -> None:
    rank = results.tables["rank.csv"]
    found = beside_the_paper(
        rank[rank["site"] == "after"], numbers.rank(), ["effective_rank"]
    ).set_index("arm")
    assert found.loc["llm", "effective_rank"] == pytest.approx(3.0, abs=0.003)
    assert found.loc["llm", "effective_rank, paper"] == 7.46
    assert np.isnan(found.loc["transformer", "effective_rank"])
    assert list(found.index) == ["cnn", "llm", "llm-trainable", "transformer"]


def test_likeness_by_hand() -> None:
    draw = np.random.default_rng(0)
    base, other = draw.random((2, 2, 4, 4))
    maps = {("llm", 0, "before"): base, ("llm", 0, "after"): 1 - base, ("llm", 1, "after"): other,
            ("cnn", 0, "before"): base, ("cnn", 0, "after"): base}  # fmt: skip
    arrays = _arrays(maps)
    found = likeness(arrays).set_index("arm")
    between = [
        np.corrcoef(1 - a.ravel(), b.ravel())[0, 1] for a, b in zip(base, other, strict=True)
    ]
    assert found.loc["llm", "before_after"] == pytest.approx(-1)
    assert found.loc["llm", "between_seeds"] == pytest.approx(np.mean(between))
    assert found.loc["cnn", "before_after"] == pytest.approx(1)
    assert pd.isna(found.loc["cnn", "between_seeds"])


def _arrays(maps: dict[tuple[str, int, str], np.ndarray]) -> MapArrays:
    arms, seeds, sites = (np.array(values) for values in zip(*maps, strict=True))
    runs = np.array([f"{arm}-{seed}" for arm, seed in zip(arms, seeds, strict=True)])
    none = np.array([], dtype=str)
    return MapArrays(
        image_names=np.array(["a", "b"]),
        images=np.zeros((2, 8, 8), np.uint8),
        masks=np.zeros((2, 8, 8), np.uint8),
        map_run=runs,
        map_arm=arms,
        map_seed=seeds,
        map_site=sites,
        maps=np.stack(list(maps.values())),
        prediction_run=none,
        prediction_arm=none,
        prediction_seed=none,
        prediction_bits=np.zeros((0, 2, 8, 1), np.uint8),
    )
