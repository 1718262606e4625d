"""Names that say more than the name of a score, and cells that no score can have."""

import numpy as np
import pandas as pd
import pytest
from strangers import OURS, UNET, paired_t, per_case, per_seed_csv, tell

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.score_names import direction, known


@pytest.mark.parametrize(
    "name",
    [
        "Dice drop", "accuracy_gap", "dice_std", "HD95 change", "loss reduction", "dice_rank",
        "brier skill score", "-HD95", "1 − IoU", "100-dice", "neg_dice", "Dice (best loss)",
        "distance accuracy", "energy efficiency", "delta_hd95", "error-free rate", "iou_threshold",
    ],
)  # fmt: skip
def test_a_word_that_turns_a_score_round_leaves_its_direction_open(name):
    with pytest.raises(ConfigError, match="add --higher-is-better or --lower-is-better"):
        direction(name)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("precision_at_95_recall", "precision"), ("FPR@95TPR", "fpr"), ("Dice@0.5", "dice"),
        ("dice_at_best_val_loss", "dice"), ("time to accuracy", "latency"),
        ("false positives per scan", "regret"), ("specificity at sensitivity", "specificity"),
        ("Hits@10", "bleu"), ("mean_effective_rank", "effective_rank"), ("clDice", "cldice"),
        ("val_loss_dice", "loss"), ("HD95 improvement", "gain"), ("recall error", "error"),
    ],
)  # fmt: skip
def test_what_is_measured_stands_before_what_it_is_measured_at(name, score):
    assert known(name).name == score


def test_a_setting_of_an_export_is_no_score(tmp_path):
    rows = [
        f"{arm},{seed},{value},0.5,0.25"
        for arm, values in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(values)
    ]
    text = "\n".join(["Model,Seed,AP,iou_threshold,config.dice_weight", *rows]) + "\n"
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text, "--baseline", "unet")
        assert "AP = score" in told.text
        assert told.row["difference"] == pytest.approx(np.mean(OURS) - np.mean(UNET))


@pytest.mark.parametrize(
    ("name", "value"),
    [("dice", -1), ("IoU (%)", -100), ("hd95", -1), ("ASSD [mm]", -99), ("mIoU", 999), ("mae", -1)],
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_mark_for_a_missing_value_is_no_score(tmp_path, name, value, command):
    scale = 100 if "%" in name else 1
    ours = [scale * each for each in OURS]
    ours[2] = value
    text = per_seed_csv(ours, [scale * each for each in UNET], header=f"method,seed,{name}")
    told = tell(tmp_path, command, text, "--baseline", "unet", "--margin", scale / 100)
    assert told.rows.empty
    assert "cannot be" in told.text
    assert f"ours 2: {value}" in told.text
    assert "Leave a cell empty that marks a missing value" in told.text


def test_a_loss_may_lie_below_zero(tmp_path):
    text = per_seed_csv([-v for v in OURS], [-v for v in UNET], header="method,seed,loss")
    assert tell(tmp_path, "compare", text, "--baseline", "unet").row["verdict"] == "supported"


def test_the_score_that_another_column_names_gives_the_direction(tmp_path):
    table = per_case()
    long = pd.concat(
        [
            table.rename(columns={"dice": "value"}).assign(metric="Dice"),
            table.rename(columns={"dice": "value"}).assign(metric="HD95"),
        ]
    )
    text = long.to_csv(index=False)
    refused = tell(tmp_path, "compare", text, "--baseline", "unet")
    assert refused.code == 2
    assert "column metric names several scores (Dice, HD95)" in refused.text
    for metric, verdict in (("Dice", "supported"), ("HD95", "contradicted")):
        told = tell(tmp_path, "compare", text, "--baseline", "unet", "--where", f"metric={metric}")
        assert f"value is {metric} (metric)" in told.text
        assert told.row["verdict"] == verdict
        assert told.row["difference"] == pytest.approx(paired_t(table)[0], rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "what"),
    [
        ("/results/ours/{}.nii.gz", "folders and endings of files"), ("{}.png", "endings of files"),
        ("{:upper}", "capitals"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_cases_that_arms_write_in_their_own_ways_are_matched(tmp_path, ours, what, command):
    table = per_case()
    own = table["method"] == "ours"
    changed = table.copy()
    changed.loc[own, "case"] = [
        name.upper() if "upper" in ours else ours.format(name) for name in table.loc[own, "case"]
    ]
    told = tell(tmp_path, command, changed.to_csv(index=False), "--baseline", "unet")
    difference, p = paired_t(table)
    assert told.row["difference"] == pytest.approx(difference, rel=1e-9)
    assert told.row["p_t"] == pytest.approx(p, rel=1e-9)
    assert told.row["n_cases"] == table["case"].nunique()
    assert f"case: names that differ in {what}" in told.text


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_hyphens_that_look_alike_are_one(tmp_path, command):
    text = per_seed_csv(names=("ours", "u-net")).replace("u-net,1", "u\u2011net,1")
    told = tell(tmp_path, command, text, "--baseline", "u-net")
    assert told.row["n_seeds"] == 5
    assert "names that differ in spaces or marks only" in told.text


@pytest.mark.parametrize("form", ["seed={}", "#{}", "run:{}", "Seed-{}"])
def test_seeds_written_in_another_way_are_paired(tmp_path, form):
    text = per_seed_csv()
    for seed in range(5):
        text = text.replace(f"ours,{seed},", f"ours,{form.format(seed)},")
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text, "--baseline", "unet")
        assert told.row["n_seeds"] == 5
        assert "are read as the number" in told.text


@pytest.mark.parametrize("name", ["ensemble", "all seeds", "Mean of all runs", "TOTAL"])
def test_a_row_over_all_seeds_is_no_seed(tmp_path, name):
    text = per_seed_csv() + f"unet,{name},0.9\nours,{name},0.7\n"
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text, "--baseline", "unet")
        assert told.row["difference"] == pytest.approx(np.mean(OURS) - np.mean(UNET))
        assert f"2 rows sum others up (seed {name.lower()}): left out" in told.text


def test_a_mean_over_classes_is_no_class(tmp_path):
    parts = [per_case(seed=k).assign(label=str(k)) for k in (1, 2)]
    mean = per_case(seed=9, effect=-0.3).assign(label="foreground_mean")
    told = tell(
        tmp_path, "audit", pd.concat([*parts, mean]).to_csv(index=False), "--baseline", "unet"
    )
    assert told.row["difference"] == pytest.approx(paired_t(pd.concat(parts))[0], rel=1e-9)
    assert "(label foreground_mean): left out" in told.text


def test_one_column_is_told_with_the_separators_that_are_read(tmp_path):
    told = tell(tmp_path, "audit", per_seed_csv().replace(",", " "))
    assert told.code == 2
    assert "it has one column ('method seed dice'). Separate its columns by commas" in told.text
