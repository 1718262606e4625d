"""Training and test rows, epochs and checkpoints are never averaged together."""

import numpy as np
import pandas as pd
import pytest
from strangers import paired_t, per_case, tell

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.compare import compare


def both_sides(column, sides=("train", "test")):
    """Train rows that favour ours, test rows that do not; other images on each side."""
    train = per_case(seed=1, effect=0.08).assign(case=lambda t: "tr" + t["case"])
    test = per_case(seed=2, effect=-0.02).assign(case=lambda t: "te" + t["case"])
    parts = [part.assign(**{column: side}) for part, side in zip((train, test), sides, strict=True)]
    return pd.concat(parts), test


@pytest.mark.parametrize(
    ("column", "sides"),
    [
        ("Split", ("train", "test")), ("split", ("Train", "Test")), ("Dataset", ("train", "test")),
        ("mode", ("train", "test")), ("Phase", ("val", "test")), ("which", ("training", "testing")),
        ("Subset", ("TRAIN", "TEST")), ("part", ("tr", "ts")), ("run_type", ("dev", "test")),
        ("Data set", ("Training", "Validation")), ("fold_kind", ("valid", "holdout")),
        ("Evaluation", ("Training set", "Test set")), ("tag", ("train_eval", "test_eval")),
        ("is_test", ("False", "True")), ("held out", ("no", "yes")), ("group", ("train", "test")),
        ("in_training_set", (1, 0)), ("source", ("internal validation", "external test")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["compare", "plan", "audit"])
def test_sides_are_refused_whatever_the_column_is_called(tmp_path, column, sides, command):
    table, test = both_sides(column, sides)
    text = table.to_csv(index=False)
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.code == (0 if command == "audit" else 2)
    assert told.rows.empty
    assert f"several values of {column}" in told.text
    # The advice names the test side where there is one, and never the training side.
    assert f"--where {column}={sides[1]}" in told.text
    chosen = tell(tmp_path, command, text, "--baseline", "unet", "--where", f"{column}={sides[1]}")
    assert chosen.code == 0, chosen.text
    if command != "plan":
        difference, p = paired_t(test)
        assert chosen.row["difference"] == pytest.approx(difference, rel=1e-9)
        assert chosen.row["p_t"] == pytest.approx(p, rel=1e-9)
        assert chosen.row["verdict"] == "contradicted"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Dice (train)", "Dice (test)"), ("train_dice", "test_dice"), ("val_dice", "test_dice"),
        ("train/dice", "test/dice"), ("metrics.val_dice", "metrics.test_dice"),
        ("Dice training", "Dice testing"), ("dice_val", "dice_test"),
    ],
)  # fmt: skip
def test_of_columns_by_side_the_test_s_is_compared_and_the_other_named(tmp_path, train, test):
    draw = np.random.default_rng(0)
    rows = [
        {"method": arm, "seed": seed, train: 0.9 + 0.03 * (arm == "ours") + draw.normal(0, 0.002),
         test: 0.8 - 0.03 * (arm == "ours") + draw.normal(0, 0.002)}
        for arm in ("unet", "ours") for seed in range(5)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
        assert told.row["difference"] == pytest.approx(paired_t(table, test)[0], rel=1e-9)
        assert told.row["verdict"] == "contradicted"
        assert f"doubt: not compared: {train} (--score names another)" in told.text


def test_rows_per_epoch_are_refused_with_the_last_one(tmp_path):
    rows = [
        f"{arm},{seed},{epoch},{0.5 + 0.1 * epoch + 0.01 * (arm == 'ours') + 0.001 * seed * epoch}"
        for arm in ("unet", "ours") for seed in range(3) for epoch in range(4)
    ]  # fmt: skip
    for name in ("epoch", "Epoch", "step", "global_step"):
        text = "\n".join([f"method,seed,{name},dice", *rows])
        for command in ("compare", "audit"):
            told = tell(tmp_path, command, text, "--baseline", "unet")
            assert told.rows.empty
            assert f"several values of {name} (0, 1, 2, 3)" in told.text
            assert f"--where {name}=3" in told.text
            last = tell(tmp_path, command, text, "--baseline", "unet", "--where", f"{name}=3")
            assert last.row["difference"] == pytest.approx(0.01)


def test_an_epoch_of_each_run_s_own_is_no_side(tmp_path):
    table = per_case(best_epoch=lambda row: 10 + row["seed"] + 3 * (row["method"] == "ours"))
    told = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert told.row["difference"] == pytest.approx(paired_t(table)[0], rel=1e-9)
    assert "the runs report 8 different epochs" in told.text


def test_the_data_set_that_is_named_by_hand_may_be_a_side(tmp_path):
    table, _ = both_sides("Dataset")
    told = tell(
        tmp_path, "compare", table.to_csv(index=False), "--baseline", "unet", "--dataset", "Dataset"
    )
    assert sorted(told.rows["dataset"]) == ["test", "train"]
    assert told.rows.set_index("dataset")["difference"]["test"] < 0


def test_python_refuses_sides_too():
    table, _ = both_sides("kind")
    with pytest.raises(TableError, match="several values of kind"):
        compare(table, score="dice", arm="method", case="case", baseline="unet")
