"""The probe `calibration`: its tables, its figure, its command, and the scores of the same name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke
from legible import legible

from llm4seg_probe.activations.passes import evaluating
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import DataError
from llm4seg_probe.models.heads import probabilities
from llm4seg_probe.probes.calibration import BINS_TABLE, CALIBRATION
from llm4seg_probe.probes.calibration import figure as calibration_figure
from llm4seg_probe.probes.calibration.table import calibration_tables, pooled_errors, summary
from llm4seg_probe.tables import SCORES, conform, read_table, write_table
from llm4seg_probe.training.scoring import predicted_logits, score

ARMS = ("cnn", "llm")


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


@pytest.fixture(scope="module")
def tables(run, collection):
    return calibration_tables(run, collection, collection.samples[:6])


def test_the_errors_are_those_of_the_scores_of_the_same_images(run, collection, tables) -> None:
    expected = score(run.network, run.config, collection, collection.samples[:6])
    table = tables[CALIBRATION.name]
    own = table[table["null"] == ""]
    for name in ("ece", "brier"):
        assert own[name].tolist() == [row[name] for row in expected]
        assert own[name].between(0, 1).all()
    assert own["image"].tolist() == [row["image"] for row in expected]
    assert set(own["pixels"]) == {32 * 32}


def test_bins_are_those_of_all_pixels_together(run, collection, tables, tmp_path) -> None:
    held: list[tuple[float, bool]] = []
    with evaluating(run.network):
        for sample, logits in predicted_logits(
            run.network, run.config, collection, collection.samples[:6]
        ):
            found = probabilities(logits[None], run.config).double().numpy().ravel()
            truth = collection.read(sample).mask.ravel()
            held += zip(np.maximum(found, 1 - found), (found >= 0.5) == truth, strict=True)
    confidence, right = (np.array(column) for column in zip(*held, strict=True))
    table = tables[BINS_TABLE.name]
    own = table[table["null"] == ""].set_index("bin")
    assert own.index.tolist() == list(range(1, 16))
    assert own["pixels"].sum() == len(held)
    for place, row in own.iterrows():
        inside = (confidence > row["confidence_from"]) & (confidence <= row["confidence_to"])
        assert row["pixels"] == inside.sum(), place
        if inside.any():
            assert row["confidence"] == pytest.approx(confidence[inside].mean())
            assert row["right"] == pytest.approx(right[inside].mean())
        else:
            assert math.isnan(row["right"])
    gap = confidence.mean() - right.mean()
    images = tables[CALIBRATION.name]
    found = images.loc[images["null"] == "", "overconfidence"].mean()
    assert found == pytest.approx(gap, abs=1e-6)
    for schema in (CALIBRATION, BINS_TABLE):
        write_table(tables[schema.name], tmp_path / schema.name, schema)
        assert read_table(tmp_path / schema.name, schema).equals(tables[schema.name])


def test_masks_drawn_from_the_probabilities_leave_next_to_no_error(tables) -> None:
    found = summary(tables).set_index("null")
    assert found.loc["calibrated", "ece_pooled"] < 0.02
    assert found.loc["calibrated", "ece"] < found.loc["", "ece"]
    assert found.loc["", "ece_pooled"] <= found.loc["", "ece"] + 1e-6  # single precision
    pooled = pooled_errors(tables[BINS_TABLE.name])
    assert pooled.xs("", level="null").iloc[0] == found.loc["", "ece_pooled"]


def test_the_network_is_left_as_it_was_and_no_images_are_refused(
    run, collection, fingerprint
) -> None:
    before = fingerprint(run.network)
    calibration_tables(run, collection, collection.samples[:2])
    assert fingerprint(run.network) == before
    with pytest.raises(DataError, match="there are no images to probe run llm-0 on"):
        calibration_tables(run, collection, [])


def test_scores_of_earlier_versions_are_read_without_them() -> None:
    stored = Path(__file__).parents[1] / "stored" / "run" / "scores.csv"
    assert "ece" not in pd.read_csv(stored).columns
    found = read_table(stored, SCORES)
    assert found["ece"].isna().all()
    assert found["brier"].isna().all()
    assert found["iou"].notna().all()


def test_an_image_without_numbers_has_no_scores(run, collection) -> None:
    network = torch.nn.Sequential(run.network, torch.nn.Identity()).eval()
    network[1].register_forward_hook(lambda module, inputs, output: output * torch.nan)
    rows = score(network, run.config, collection, collection.samples[:1])
    assert math.isnan(rows[0]["ece"])
    assert math.isnan(rows[0]["brier"])


def drawn_bins(arms=ARMS) -> pd.DataFrame:
    """Bins of two runs of each arm: the one is right as often as it says, the other 0.1 less."""
    rows = []
    for place, arm in enumerate(arms):
        for seed in (0, 1):
            for number in range(1, 16):
                middle = (number - 0.5) / 15
                pixels = 10**number // 10**7 if number >= 8 else 0
                right = middle - 0.1 * (place % 2) + 0.02 * seed
                rows.append(
                    {
                        "run": f"{arm}-{seed}", "dataset": "d", "arm": arm, "seed": seed,
                        "class": "c", "null": "", "bin": number, "pixels": pixels,
                        "confidence_from": (number - 1) / 15, "confidence_to": number / 15,
                        "confidence": middle if pixels else None,
                        "right": right if pixels else None, "gap": middle - right,
                    }
                )  # fmt: skip
    return conform(pd.DataFrame(rows), BINS_TABLE)


def test_lines_are_of_the_pooled_pixels_and_the_legend_has_their_error() -> None:
    drawn = calibration_figure.figure(drawn_bins())
    upper, lower = drawn.axes
    lines = {line.get_gid(): line for line in upper.lines}
    middles = [(number - 0.5) / 15 for number in range(8, 16)]
    assert list(lines["cnn"].get_xdata()) == pytest.approx(middles)
    assert list(lines["cnn"].get_ydata()) == pytest.approx([m + 0.01 for m in middles])
    assert list(lines["llm"].get_ydata()) == pytest.approx([m - 0.09 for m in middles])
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert texts == ["CNN (0.0100)", "LLM, frozen (0.0900)", "calibrated"]
    assert sum(lower.lines[0].get_ydata()) == pytest.approx(1)


def test_its_figure_is_legible_at_a_columns_width() -> None:
    legible(calibration_figure.figure(drawn_bins()))


def test_the_command_writes_bins_and_the_diagram(trained: dict[str, Path], tmp_path: Path) -> None:
    result = invoke(
        "calibration", "--ckpt", trained["llm-0"], "--ckpt", trained["cnn-0"], "--out", tmp_path,
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = invoke("calibration", "--ckpt", trained["llm-0"], "--out", tmp_path / "again").stdout
    assert "ece_pooled" in said
    assert "calibrated" in said
    found = json.loads(result.stdout)
    assert Path(found["bins"]).name == BINS_TABLE.name
    assert {Path(path).stem for path in found["figures"]} == {"reliability"}
    written = read_table(trained["llm-0"].parent / "scores.csv", SCORES)
    written = written[(written["checkpoint"] == "best") & (written["split"] == "test")]
    table = read_table(tmp_path / "calibration.csv", CALIBRATION)
    own = table[(table["arm"] == "llm") & (table["null"] == "")]
    for name in ("ece", "brier"):
        assert own[name].tolist() == written[name].tolist()
