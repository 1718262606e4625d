"""Percentages beside fractions are refused under any name; a margin is for what it can be."""

import numpy as np
import pandas as pd
import pytest
from strangers import OURS, UNET, per_case, per_seed_csv, tell

PERCENT = [100 * value for value in OURS]
FRACTIONS = [
    "mIoU", "Dice (%)", "Dice_pct", "test_dice", "mean_dice", "dice", "DSC", "F1 score", "accuracy",
    "val/dice", "Jaccard", "recall", "NSD", "AUC", "error_rate", "metrics.dice", "Dice liver",
]  # fmt: skip


@pytest.mark.parametrize("name", [*FRACTIONS, "thing", "result", "score"])
@pytest.mark.parametrize("command", ["compare", "plan", "audit"])
def test_an_arm_in_per_cent_beside_one_in_fractions_is_refused(tmp_path, name, command):
    text = per_seed_csv(PERCENT, header=f"method,seed,{name}")
    options = ["--higher-is-better"] if name == "thing" else []
    options += ["--margin", "0.5"] if command == "plan" else []
    told = tell(tmp_path, command, text, "--baseline", "unet", "--score", name, *options)
    assert told.rows.empty
    assert "mixes fractions and percentages: fractions in unet 0" in told.text
    assert told.code == (0 if command == "audit" else 2)


@pytest.mark.parametrize("values", [[0.31, 0.42, 0.55, 0.31, 0.44], [40.0, 30.5, 61.0, 45.0, 52.0]])
def test_scores_that_are_no_fractions_may_differ_a_lot(tmp_path, values):
    text = per_seed_csv(values, [value * 70 for value in values], header="method,seed,hd95")
    told = tell(tmp_path, "compare", text, "--baseline", "unet")
    assert told.row["verdict"] == "supported"


def test_printed_means_in_two_units_are_refused(tmp_path):
    for name in ("Dice", "mIoU (%)", "test_dice"):
        text = f"Method,{name},n\nunet,0.811 ± 0.012,5\nours,82.1 ± 1.1,5\n"
        told = tell(tmp_path, "audit", text)
        assert (told.code, "mixes fractions and percentages" in told.text) == (2, True)


@pytest.mark.parametrize(("unit", "stray"), [(100.0, 0.01), (1.0, 100.0)])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_three_cells_of_a_run_in_another_unit_are_named(tmp_path, unit, stray, command):
    table = per_case()
    table["dice"] *= unit
    hit = (
        (table["method"] == "ours")
        & (table["seed"] == 3)
        & table["case"].isin(["p01", "p04", "p05"])
    )
    text = table.assign(dice=table["dice"].where(~hit, table["dice"] * stray)).to_csv(index=False)
    told = tell(
        tmp_path, command, text, "--baseline", "unet", "--margin", "0.5" if unit > 1 else "0.005"
    )
    assert told.rows.empty
    assert (
        "of dice are in another unit than the rest of their run" in told.text
        or "mixes" in told.text
    )
    assert "ours 3" in told.text


def test_a_case_that_failed_is_no_fraction_among_percentages(tmp_path):
    table = per_case()
    table["dice"] *= 100
    table.loc[table["case"] == "p03", "dice"] = 0.4
    told = tell(
        tmp_path, "compare", table.to_csv(index=False), "--baseline", "unet", "--margin", "0.5"
    )
    assert told.code == 0, told.text


@pytest.mark.parametrize("name", ["mIoU", "Dice (%)", "test_dice", "dice"])
def test_percentages_take_no_margin_of_fractions(tmp_path, name):
    text = per_seed_csv(PERCENT, [100 * value for value in UNET], header=f"method,seed,{name}")
    options = ("--baseline", "unet", "--score", name)
    told = tell(tmp_path, "compare", text, *options, "--margin", 0.005)
    assert told.code == 2
    assert f"{name} is in per cent here" in told.text
    assert "give it in the same unit, such as 0.5" in told.text
    for command in ("compare", "audit"):
        assert tell(tmp_path, command, text, *options).row["margin"] == 0.5


@pytest.mark.parametrize("name", ["loss", "perplexity", "hd95", "mae", "psnr", "result"])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_without_a_margin_nothing_is_said_about_equivalence(tmp_path, name, command):
    same = [value + 0.0001 * k for value, k in zip(UNET, (1, -1, 2, -2, 0), strict=True)]
    text = per_seed_csv(same, header=f"method,seed,{name}")
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.row[["margin", "p_equivalence", "seeds_needed", "equivalence_power"]].isna().all()
    assert told.row["verdict"] != "equivalent"
    assert "no margin was named (--margin): nothing is said about equivalence" in told.text
    assert "said to matter" not in told.text
    given = tell(tmp_path, command, text, "--baseline", "unet", "--margin", "0.05")
    assert given.row["verdict"] == "equivalent"


def test_a_plan_for_what_is_no_fraction_asks_for_its_margin(tmp_path):
    text = per_seed_csv([1.2, 1.4, 1.1, 1.5], [1.0, 1.3, 1.2, 1.1], header="method,seed,loss")
    told = tell(tmp_path, "plan", text, "--baseline", "unet")
    assert (
        told.code,
        "name the difference that matters, in its own unit, --margin" in told.text,
    ) == (2, True)
    assert tell(tmp_path, "plan", text, "--baseline", "unet", "--margin", "0.1").code == 0


@pytest.mark.parametrize("size", [1e-9, 1e-5, 1.0, 1e6])
def test_tiny_and_huge_scores_are_shown_with_their_digits(tmp_path, size):
    text = per_seed_csv(
        [size * v for v in (2.1, 2.4, 1.9, 2.2, 2.0)],
        [size * v for v in (1.0, 1.1, 1.3, 0.9, 1.2)],
        header="method,seed,loss", form="{:.6e}",
    )  # fmt: skip
    told = tell(tmp_path, "compare", text, "--baseline", "unet")
    assert told.row["verdict"] == "contradicted"
    assert told.row["difference"] == pytest.approx(1.02 * size)
    assert "0.000000 [" not in told.text
    assert "identical scores" not in tell(tmp_path, "audit", text, "--baseline", "unet").text


def test_python_checks_units_too():
    from llm4seg_probe.errors import TableError
    from llm4seg_probe.statistics.compare import compare

    table = pd.DataFrame(
        {
            "arm": ["cnn"] * 3 + ["llm"] * 3,
            "seed": [0, 1, 2] * 2,
            "mIoU": [0.8, 0.81, 0.79, 81, 82, 80],
        }
    )
    with pytest.raises(TableError, match="mIoU mixes fractions and percentages"):
        compare(table, score="mIoU")
    assert np.isnan(compare(table.assign(loss=table["mIoU"]), score="loss").iloc[0]["margin"])
