"""The probe `robustness`: its table, its figure and its command."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused
from legible import legible

from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import DataError, UserError
from llm4seg_probe.probes.robustness import ROBUSTNESS
from llm4seg_probe.probes.robustness import figure as robustness_figure
from llm4seg_probe.probes.robustness.corruptions import CORRUPTIONS
from llm4seg_probe.probes.robustness.table import robustness_table, worse
from llm4seg_probe.tables import read_table, write_table
from llm4seg_probe.training.scoring import score

ARMS = ("cnn", "llm")


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


@pytest.fixture(scope="module")
def table(run, collection):
    return robustness_table(run, collection, collection.samples[:6])


def test_every_corruption_strength_and_image_has_a_row(table, tmp_path) -> None:
    assert len(table) == 5 * 6 * 6
    assert set(table.groupby(["corruption", "strength"]).size()) == {6}
    stated = table.groupby("corruption", sort=False)["parameter"].unique()
    for kind, parameters in stated.items():
        assert tuple(parameters[1:]) == CORRUPTIONS[kind].parameters
        assert parameters[0] != parameters[0]  # strength 0 has none
    write_table(table, tmp_path / "robustness.csv", ROBUSTNESS)
    assert len(read_table(tmp_path / "robustness.csv", ROBUSTNESS)) == len(table)


def test_strength_zero_is_evaluate_to_the_bit(run, collection, table) -> None:
    expected = score(run.network, run.config, collection, collection.samples[:6])
    for kind in CORRUPTIONS:
        rows = table[(table["corruption"] == kind) & (table["strength"] == 0)]
        for name in ("iou", "dice"):
            assert rows[name].tolist() == [row[name] for row in expected]
        assert rows["image"].tolist() == [row["image"] for row in expected]


def test_scores_are_those_of_evaluate_on_the_worse_images(run, collection, table) -> None:
    seen = worse(collection, "blur", 5)
    expected = score(run.network, run.config, seen, collection.samples[:6])
    rows = table[(table["corruption"] == "blur") & (table["strength"] == 5)]
    assert rows["iou"].tolist() == [row["iou"] for row in expected]


def test_images_are_the_same_for_every_reader_and_masks_untouched(collection) -> None:
    again = open_collection(collection.source or str(collection.samples[0].image_file.parents[1]))
    for sample in collection.samples[:2]:
        raw = collection.read(sample)
        first = worse(collection, "noise", 3).read(sample)
        second = worse(again, "noise", 3).read(again.sample(sample.image))
        assert (first.image == second.image).all()
        assert (first.mask == raw.mask).all()
        assert (first.image != raw.image).any()
        other = worse(collection, "noise", 4).read(sample)
        pattern = (torch.from_numpy(one.image - raw.image).flatten() for one in (first, other))
        assert torch.corrcoef(torch.stack(list(pattern)))[0, 1].abs() < 0.2
    a, b = (worse(collection, "noise", 3).read(sample) for sample in collection.samples[:2])
    assert (a.image != b.image).any()


def test_noise_on_ct_is_in_hounsfield_units(collection) -> None:
    samples = tuple(dataclasses.replace(one, modality="ct") for one in collection.samples)
    ct = dataclasses.replace(collection, samples=samples)
    clean = ct.read(samples[0]).image
    noise = worse(ct, "noise", 1).read(samples[0]).image - clean
    assert noise.std() == pytest.approx(20, rel=0.1)


def test_the_network_is_left_as_it_was(run, collection, fingerprint) -> None:
    before = fingerprint(run.network)
    robustness_table(run, collection, collection.samples[:2], ["jpeg"], [0, 5])
    assert fingerprint(run.network) == before


def test_bad_input_is_named(run, collection) -> None:
    with pytest.raises(UserError, match=r"unknown corruption 'nois'\. Did you mean 'noise'\?"):
        robustness_table(run, collection, collection.samples[:1], ["nois"])
    with pytest.raises(UserError, match="strength is 6: give whole numbers from 0 to 5"):
        robustness_table(run, collection, collection.samples[:1], ["noise"], [6])
    with pytest.raises(DataError, match="there are no images to probe run llm-0 on"):
        robustness_table(run, collection, [])


def test_images_without_any_foreground_are_refused(run, collection) -> None:
    class Empty(type(collection)):
        def read(self, sample):
            raw = super().read(sample)
            return dataclasses.replace(raw, mask=np.zeros_like(raw.mask))

    empty = Empty(collection.name, collection.samples, collection.classes)
    with pytest.raises(DataError, match="run llm-0 was probed on has any foreground: give images"):
        robustness_table(run, empty, collection.samples[:2])


def drawn_table() -> pd.DataFrame:
    rows = []
    for arm in ARMS:
        for seed in (0, 1):
            for kind, row in CORRUPTIONS.items():
                for strength in range(6):
                    score = 0.8 - 0.1 * strength + 0.05 * seed - 0.02 * (arm == "cnn")
                    rows.append(
                        {
                            "run": f"{arm}-{seed}", "dataset": "d", "arm": arm, "seed": seed,
                            "corruption": kind, "strength": strength, "image": "i", "group": "g",
                            "class": "c", "iou": score, "dice": score, "unit": row.unit,
                            "parameter": row.parameters[strength - 1] if strength else None,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def test_robustness_lines_are_means_of_the_runs_and_bands_their_range() -> None:
    panels = robustness_figure.figure(drawn_table()).axes[:5]
    for axes in panels:
        cnn, llm = axes.lines
        assert list(llm.get_ydata()) == pytest.approx([0.825 - 0.1 * step for step in range(6)])
        assert list(cnn.get_ydata()) == pytest.approx([0.805 - 0.1 * step for step in range(6)])
        band = axes.collections[1].get_paths()[0].vertices[:, 1]
        assert (band.max(), band.min()) == pytest.approx((0.85, 0.3))
    assert panels[0].get_title(loc="left") == "Noise\nSD / range: 0.02 to 0.4"
    assert panels[0].get_ylabel() == "IoU (0 to 1)"


@pytest.mark.slow
def test_the_command_begins_with_the_scores_that_training_wrote(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = ("--ckpt", trained["llm-0"], "--corruptions", "noise,jpeg", "--out", tmp_path)
    result = invoke("robustness", *given)
    assert result.exit_code == 0, result.output
    written = pd.read_csv(trained["llm-0"].parent / "scores.csv")
    written = written[(written["checkpoint"] == "best") & (written["split"] == "test")]
    found = pd.read_csv(tmp_path / "robustness.csv")
    for kind in ("noise", "jpeg"):
        clean = found[(found["strength"] == 0) & (found["corruption"] == kind)]
        for name in ("iou", "dice"):
            assert clean[name].to_list() == written[name].to_list()
    assert " 0 " in result.stdout
    assert (tmp_path / "figures" / "robustness.svg").stat().st_size > 1000


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("--ckpt", trained["cnn-0"], "--out", tmp_path)
    assert "unknown corruption 'fog'" in refused("robustness", *given, "--corruptions", "fog")
    assert list(tmp_path.iterdir()) == []


def test_its_figures_are_legible_at_a_columns_width() -> None:
    legible(robustness_figure.figure(drawn_table()))
