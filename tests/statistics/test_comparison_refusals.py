"""Tables and arguments that compare refuses, each with its reason."""

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.compare import compare


def spoiled(table, index, value):
    table = table.copy()
    table.loc[index, "iou"] = value
    return table


def without(table, **match):
    hit = np.logical_and.reduce([table[name] == value for name, value in match.items()])
    return table[~hit]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda t: t, {"score": "ious"},
            "unknown column 'ious'. Did you mean 'iou'? Valid: iou, run, dataset, arm, seed, "
            "image, group",
        ),
        (
            lambda t: t, {"arm": "arms"},
            "unknown column (arm) 'arms'. Did you mean 'arm'? Valid: arm, run, dataset, seed, "
            "image, group, iou",
        ),
        (lambda t: t, {"case": "slice"},
            "unknown column (case) 'slice'. Valid: run, dataset, arm, seed, image, group, iou"),
        (
            lambda t: t, {"baseline": "cn"},
            "unknown arm 'cn'. Did you mean 'cnn'? Valid: cnn, llm",
        ),
        (
            lambda t: t, {"where": {"arm": "lm"}},
            "unknown value of arm 'lm'. Did you mean 'llm'? Valid: llm, cnn",
        ),
        (
            lambda t: t[t["arm"] == "cnn"], {},
            "only one arm (cnn): there is nothing to compare it with",
        ),
        (lambda t: t[:0], {}, "the table has no rows"),
        (
            lambda t: without(t, arm="llm", seed=2), {},
            "llm against cnn: seeds 2 of cnn have no partner. Run them, or leave them out with "
            "drop_unpaired (--drop-unpaired)",
        ),
        (
            lambda t: without(without(t, arm="llm", seed=2), arm="cnn", seed=4), {},
            "llm against cnn: seeds 4 of llm have no partner; seeds 2 of cnn have no partner. Run "
            "them, or leave them out with drop_unpaired (--drop-unpaired)",
        ),
        (
            lambda t: t.assign(seed=t["seed"] + 100 * (t["arm"] == "llm")),
            {"drop_unpaired": True},
            "llm against cnn: no seed is in both (seeds 100, 101, 102, 103, 104 of llm have no "
            "partner; seeds 0, 1, 2, 3, 4 of cnn have no partner)",
        ),
        (
            lambda t: without(t, arm="llm", seed=2, image="image5"), {},
            "llm against cnn: no score (missing, NaN or infinite) for llm seed 2 case image5. "
            "Fill them, or leave those cases out of all runs with drop_unpaired "
            "(--drop-unpaired)",
        ),
        (
            lambda t: spoiled(t, 3, np.nan), {},
            "llm against cnn: no score (missing, NaN or infinite) for cnn seed 0 case image3. "
            "Fill them, or leave those cases out of all runs with drop_unpaired "
            "(--drop-unpaired)",
        ),
        (
            lambda t: spoiled(t, slice(0, 6), np.inf), {},
            "7 of 240 values of iou are infinite, all of cnn: leaving them out would hide what was "
            "missed there. Say what an infinite value counts as, --infinite-as VALUE, such as the "
            "images' diagonal",
        ),
        (
            lambda t: pd.concat([t, without(t, seed=0).head(1)]), {},
            "2 rows for dataset spine, arm cnn, seed 1, group patient0, image image0 (doubled in "
            "seeds 1): nothing tells them apart (names that differ in zeros, spaces, capitals or "
            "endings are one case); leave one row out, or name the cases apart",
        ),
        (
            lambda t: pd.concat([t, t.assign(run="again", llm="other")]), {},
            "2 rows for dataset spine, arm cnn, seed 0, group patient0, image image0 (doubled in "
            "seeds 0, 1, 2, 3, 4): they differ in run (cnn-0, again), llm (empty, other); choose "
            "one value of it first",
        ),
        (
            lambda t: pd.concat([t.assign(split="val"), t.assign(split="test")]), {},
            "the table has several values of split (val, test): choose one first, such as "
            "--where split=test (in Python where={'split': 'test'})",
        ),
        (
            # No two rows collide, and yet two checkpoints would be averaged.
            lambda t: t.assign(checkpoint=np.where(t["image"] < "image2", "best", "last")), {},
            "the table has several values of checkpoint (best, last): choose one first, such as "
            "--where checkpoint=best (in Python where={'checkpoint': 'best'})",
        ),
        (
            lambda t: t, {"case": None},
            "24 rows for dataset spine, arm cnn, seed 0, group patient0, image image0",
        ),
        (
            lambda t: t.assign(seed=t["seed"].astype(float).where(t["seed"] > 0)), {},
            "column seed is empty in 48 of 240 rows; fill it or leave those rows out",
        ),
        (
            lambda t: t.assign(iou=t["iou"].astype(str).where(t.index != 7, "about")), {},
            "row 9: iou 'about' is not a number: correct it, or leave it empty",
        ),
        (
            lambda t: t.assign(iou=t["iou"].where(t["arm"] == "cnn", 100 * t["iou"])), {},
            "iou mixes fractions and percentages: fractions in spine cnn 0, spine cnn 1, spine "
            "cnn 2, spine cnn 3, spine cnn 4, the other unit elsewhere. Bring all rows to one unit",
        ),
        (
            lambda t: t, {"test_share": 0.2},
            "--test-share goes with --fold: name the column of the folds",
        ),
        (
            lambda t: t, {"fold": "folds", "test_share": 0.2},
            "unknown column (fold) 'folds'. Valid: run, dataset, arm, seed, image, group, iou",
        ),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_compared_says_why(study, change, options, message):
    with pytest.raises(TableError) as refusal:
        compare(change(study()), **options)
    if options.get("case", "") is None:
        assert str(refusal.value).startswith("2 rows for dataset spine, arm cnn, seed 0, group")
    else:
        assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0}, "margin is 0: give a number above 0"),
        ({"margin": -1}, "margin is -1: give a number above 0"),
        ({"alpha": 0.7}, "alpha is 0.7: give a number between 0 and 0.5"),
        ({"bootstrap": -5}, "bootstrap is -5: give a number of resamples, or 0"),
        (
            {"fold": "fold", "test_share": 20},
            "test_share is 20: give a number between 0 and 1, such as 0.2 for five folds",
        ),
    ],
)
def test_an_argument_that_makes_no_sense_says_why(study, options, message):
    with pytest.raises(ConfigError) as refusal:
        compare(study(), **options)
    assert str(refusal.value) == message


def test_a_fraction_s_margin_on_percentages_is_refused(per_seed):
    table = per_seed(cnn=[63.1, 64.0, 63.7], llm=[64.0, 65.2, 63.3])
    with pytest.raises(ConfigError) as refusal:
        compare(table, margin=0.005)
    assert compare(table)["margin"].tolist() == [0.5]
    assert str(refusal.value) == (
        "iou is in per cent here (values up to 65.2), but the margin is 0.005: give it in the "
        "same unit, such as 0.5"
    )


def test_a_data_set_without_an_arm_is_named(study):
    other = study(seed=1).assign(dataset="phantoms")
    with pytest.raises(
        TableError, match=r"^data set 'phantoms' has no rows of arm 'llm': leave it"
    ):
        compare(pd.concat([study(), other[other["arm"] == "cnn"]]))


def test_averaging_over_unequal_parts_is_refused(study):
    table = pd.concat([study(**{"class": name}) for name in ("liver", "spleen")])
    lacking = table.reset_index(drop=True).drop(index=0)
    with pytest.raises(TableError) as refusal:
        compare(lacking, average_over=["class"])
    assert str(refusal.value) == (
        "llm against cnn: no score (missing, NaN or infinite) for cnn seed 0 case image0. Fill "
        "them, or leave those cases out of all runs with drop_unpaired (--drop-unpaired)"
    )
