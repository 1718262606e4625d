"""Columns of other people's tables: by name, by content, as given, and in doubt."""

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.column_words import plain
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.columns import recognise


def taken(found):
    return {role: match.column for role, match in found.matches.items()}


def test_our_own_table(study):
    assert taken(recognise(study())) == {
        "arm": "arm", "seed": "seed", "case": "image", "group": "group", "dataset": "dataset",
        "score": "iou",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("arm", "Method"), ("arm", "network"), ("seed", "Random Seed"), ("seed", "trial"),
        ("case", "Case ID"), ("case", "filename"), ("group", "Patient"), ("group", "subject_id"),
        ("dataset", "Benchmark"), ("score", "IoU (%)"), ("score", "Dice score"),
        ("score", "HD95 [mm]"),
    ],
)  # fmt: skip
def test_other_names(study, role, name):
    ours = {"arm": "arm", "seed": "seed", "case": "image", "group": "group", "dataset": "dataset",
            "score": "iou"}[role]  # fmt: skip
    table = study().drop(columns="run").rename(columns={ours: name})
    match = recognise(table).matches[role]
    assert (match.column, match.how) == (name, "name")


def test_the_order_of_columns_does_not_matter(study):
    table = study().drop(columns="run").rename(columns={"arm": "Model", "image": "Slice"})
    backwards = table[table.columns[::-1]]
    assert taken(recognise(table)) == taken(recognise(backwards))


def test_a_patient_without_images_is_the_case(study):
    table = study(per_group=1).drop(columns=["run", "image"])
    matches = recognise(table).matches
    assert matches["case"].column == "group"
    assert "group" not in matches


def test_columns_without_telling_names_are_known_by_what_they_hold(study):
    table = study()[["arm", "seed", "image", "iou"]]
    table.columns = ["one", "two", "three", "four"]
    matches = recognise(table).matches
    assert taken(recognise(table)) == {
        "arm": "one", "seed": "two", "case": "three", "score": "four",
    }  # fmt: skip
    assert {match.how for match in matches.values()} == {"content"}


def test_a_column_may_be_named_by_hand(study):
    table = study().drop(columns="run").assign(dice=0.5)
    matches = recognise(table, {"score": "dice"}).matches
    assert (matches["score"].column, matches["score"].how) == ("dice", "given")


def test_overlap_is_preferred_to_other_scores(study):
    assert recognise(study().assign(hd95=1.0, precision=0.5)).matches["score"].column == "iou"


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (
            lambda t: t.drop(columns="iou"), {},
            "which column holds the score? Of run, dataset, arm, seed, image, group it is not "
            "among them: name it, --score COLUMN (in Python columns={'score': …})",
        ),
        (
            lambda t: t.rename(columns={"iou": "x"}).assign(y=0.5), {},
            "which column holds the score? Of run, dataset, arm, seed, image, group, x, y it could "
            "be x, y: name it, --score COLUMN (in Python columns={'score': …}); or, if they are "
            "cases, classes or arms of one score, write a row for each",
        ),
        (
            lambda t: t.drop(columns=["run", "image"]).assign(arm=0.5), {"arms": "arm"},
            "unknown role 'arms'. Did you mean 'arm'? Valid: arm, case, seed, group, dataset, "
            "fold, split, class, epoch, stratum, mean, sd, n, score",
        ),
        (
            lambda t: t, {"arm": "modle"},
            "unknown column (arm) 'modle'. Valid: run, dataset, arm, seed, image, group, iou",
        ),
    ],
)  # fmt: skip
def test_a_column_in_doubt_is_asked_for(study, change, given, message):
    with pytest.raises(TableError) as refusal:
        recognise(change(study()), given)
    assert str(refusal.value) == message


def test_two_columns_that_could_be_the_arm_are_not_chosen_between():
    table = pd.DataFrame(
        {"x": ["a", "b"] * 6, "y": ["c"] * 6 + ["d"] * 6, "iou": np.linspace(0, 1, 12)}
    )
    with pytest.raises(TableError, match=r"^which column holds the arm\? Of x, y, iou it could be"):
        recognise(table)


def test_names_are_compared_without_units_and_punctuation():
    assert [plain(name) for name in ("IoU (%)", " HD95 [mm]", "Mean-Dice", 3)] == [
        "iou", "hd95", "mean_dice", "3",
    ]  # fmt: skip
