"""What a table leaves open (direction, patients, baseline, margin), and impossible numbers."""

from __future__ import annotations

import pandas as pd
import pytest
from strangers import OURS, UNET

import llm4seg_probe as lp
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.score_names import direction
from llm4seg_probe.statistics.audit.checks import unknown_patients

# -- directions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Dice-Fehler", "perte Dice", "Dice-Verlust", "IoU-Abweichung", "écart Dice", "Δ Dice",
        "∆Dice", "Dice inverse", "complement of Dice", "Dice dissimilarity", "erreur de Dice",
        "Dice ↓", "IoU (lower is better)", "Loss ↑", "ASSD (higher is better)", "Dice ↑↓",
    ],
)  # fmt: skip
def test_names_that_do_not_tell_a_direction_are_asked_about(name: str) -> None:
    with pytest.raises(ConfigError, match="is a higher or a lower"):
        direction(name)
    assert direction(name, stated=True).lower_is_better


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("Dice ↑", False), ("HD95 ↓ (mm)", True), ("HD95 (lower is better)", True),
        ("Irgendwas ↓", True), ("quelquechose (higher is better)", False),
        ("False negatives", True),
    ],
)  # fmt: skip
def test_an_arrow_in_the_name_counts(name: str, lower: bool) -> None:
    assert direction(name).lower_is_better is lower


# -- numbers, names ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [lp.compare, lp.plan, lp.audit])
@pytest.mark.parametrize("number", ["1e155", "-1e308", "9" * 120])
def test_what_nobody_measures_is_refused_by_row(table, number: str, command) -> None:
    lines = [f"unet,{k},4" for k in range(3)] + [f"ours,{k},3" for k in range(2)]
    path = table("method,seed,hd95", *lines, f"ours,2,{number}")
    with pytest.raises(TableError, match=r"table\.csv: row 7: hd95 .* larger than anything"):
        command(path)


@pytest.mark.parametrize(
    "names",
    [
        "P001-S000 P001-S001 P002-S000 P002-S001",
        "data/patient0/img1.png data/patient0/img2.png data/patient1/img1.png data/patient1/b.png",
        "s0_L s0_R s1_L s1_R",
        "0001_OD 0001_OS 0002_OD 0002_OS",
        "A_0001_LEFT_CC A_0001_LEFT_MLO A_0002_LEFT_CC A_0002_RIGHT_CC",
        "1_ED 1_ES 2_ED 2_ES",
        "img0_x256_y0 img0_x0_y0 img1_x0_y0 img1_x0_y256",
        "patient_001_slice_03 patient_001_slice_04 patient_002_slice_1 patient_002_slice_2",
    ],
)
def test_names_of_images_of_one_patient_are_doubted(names: str) -> None:
    doubts = [one.what for one in unknown_patients(pd.Series(names.split()))]
    assert any("look like 2 patients with several images each" in doubt for doubt in doubts)


@pytest.mark.parametrize("names", ["case_1 case_2 case_3", "a b c", "benign malignant", "x1 y1 x2"])
def test_names_of_images_that_share_nothing_are_not(names: str) -> None:
    levels = {one.level for one in unknown_patients(pd.Series(names.split()))}
    assert levels == {"note"}


# -- baseline and margin -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "base", "how"),
    [
        (("Ours", "UNet"), "UNet", "by its name"), (("Ours", "Theirs"), "Ours", "the first"),
        (("unet", "cnn"), "cnn", ""),
    ],
)  # fmt: skip
def test_the_baseline_is_found_alike_everywhere(table, arms, base: str, how: str) -> None:
    lines = [f"{arms[0]},{k},{value}" for k, value in enumerate(OURS)]
    lines += [f"{arms[1]},{k},{value}" for k, value in enumerate(UNET)]
    path = table("method,seed,dice", *lines)
    for command in (lp.compare, lp.plan, lp.audit):
        result = command(path)
        assert set(result.table["b"]) == {base}
        notes = [one.what for one in result.findings if one.what.startswith("baseline:")]
        assert how in (notes or [""])[0]


def test_a_plan_takes_the_margin_in_the_tables_unit(table) -> None:
    lines = [f"unet,{k},{100 * value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},{100 * value + k % 2}" for k, value in enumerate(OURS)]
    result = lp.plan(table("method,seed,Dice (%)", *lines))
    assert set(result.table["margin"]) == {0.5}
    assert any("a difference of 0.5 is taken to matter" in one.what for one in result.findings)
