"""Rows that are not there: classes, folds and cases that a run, an arm or a data set lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strangers import summary, tell

CLASSES = ("--average-over", "class")


def lacking(*, written: bool) -> str:
    """Case a has classes 1 and 2, b and c class 1 alone: +0.03 in class 1, −0.05 in class 2."""
    rows = ["method,seed,case,class,dice"]
    for arm, gain in (("unet", 0), ("ours", 1)):
        for seed in (1, 2, 3):
            wobble = 0.001 * seed * (1 if gain else -1)
            for case in "abc":
                rows.append(f"{arm},{seed},{case},1,{0.90 + 0.03 * gain + wobble:.3f}")
                if case == "a":
                    rows.append(f"{arm},{seed},{case},2,{0.70 - 0.05 * gain + wobble:.3f}")
                elif written:
                    rows.append(f"{arm},{seed},{case},2,")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("absent", "difference"),
    [
        (None, -0.006),  # case a alone: (0.03 − 0.05) / 2 and twice the seed's 0.001, 2 on average
        ("per-case", 0.0207),  # b and c have +0.034, a −0.006
        ("per-class", -0.006),  # class 1 +0.034, class 2 −0.046
    ],
)
@pytest.mark.parametrize("written", [False, True])
def test_a_class_without_a_row_is_as_absent_as_one_without_a_score(
    tmp_path: Path, absent, difference, written
) -> None:
    options = CLASSES if absent is None else (*CLASSES, "--absent", absent)
    result = tell(tmp_path, "compare", lacking(written=written), *options)
    assert result.row["difference"] == pytest.approx(difference, abs=5e-5)
    assert "per-case" in result.text  # the doubt that shows all three


def test_the_audit_reads_absent_rows_as_compare_does(tmp_path: Path) -> None:
    by_rows = tell(tmp_path, "audit", lacking(written=False))
    by_cells = tell(tmp_path, "audit", lacking(written=True))
    assert by_rows.row["difference"] == pytest.approx(-0.006, abs=5e-5)
    assert by_cells.row["difference"] == by_rows.row["difference"]


def of_classes(unet: tuple[object, ...], ours: tuple[object, ...], name: str = "class") -> str:
    rows = [f"method,seed,case,{name},dice"]
    for arm, labels in (("unet", unet), ("ours", ours)):
        for seed in (1, 2, 3):
            for case in "ab":
                rows += [
                    f"{arm},{seed},{case},{label},{0.9 - 0.1 * place + 0.001 * seed:.3f}"
                    for place, label in enumerate(labels)
                ]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("unet", "ours", "told"),
    [
        ((1, 2), (1, 3), "ours has no rows of class 2, which unet has"),
        ((1, 2, 3), (1, 2), "ours has no rows of class 3, which unet has"),
        (("liver", "spleen"), ("Leber", "Milz"), "ours has no rows of class liver"),
    ],
)
def test_classes_are_matched_by_name_and_not_by_number(tmp_path: Path, unet, ours, told) -> None:
    table = of_classes(unet, ours)
    result = tell(tmp_path, "compare", table, *CLASSES)
    assert result.code == 2
    assert told in result.text
    assert "are they called alike in all arms?" in result.text
    assert told in tell(tmp_path, "audit", table).text


def test_folds_that_are_averaged_over_are_matched_by_name(tmp_path: Path) -> None:
    rows = ["method,seed,fold,dice"]
    for arm, folds in (("unet", (0, 1, 2)), ("ours", (0, 1, 3))):
        rows += [
            f"{arm},{seed},{fold},{0.9 - 0.1 * fold + 0.001 * seed:.3f}"
            for seed in (1, 2, 3)
            for fold in folds
        ]
    result = tell(tmp_path, "compare", "\n".join(rows) + "\n", "--average-over", "fold")
    assert result.code == 2
    assert "ours has no rows of fold 2, which unet has" in result.text


def test_a_run_that_lacks_a_class_in_a_table_without_cases(tmp_path: Path) -> None:
    rows = ["method,seed,class,dice"]
    rows += [
        f"{arm},{seed},{label},{0.8 + 0.01 * seed}"
        for arm in ("unet", "ours")
        for seed in (1, 2, 3)
        for label in (1, 2)
        if (arm, seed, label) != ("ours", 2, 2)
    ]
    result = tell(tmp_path, "compare", "\n".join(rows) + "\n", *CLASSES)
    assert result.code == 2
    assert "ours, seed 2 has no score of class 2, which other runs have" in result.text


def by_cases(ours: str) -> str:
    """Unet's cases are a, b and the hard c; ours is 0.01 worse on each of its own, minus seeds."""
    hard = {"a": 0.9, "b": 0.8, "c": 0.4}
    rows = ["method,seed,case,class,dice"]
    for arm, cases in (("unet", "abc"), ("ours", ours)):
        for seed in (1, 2, 3):
            wobble = 0.001 * seed * (1 if arm == "ours" else -1)
            rows += [
                f"{arm},{seed},{case},{label},{hard[case] - 0.01 * (arm == 'ours') + wobble:.3f}"
                for case in cases
                for label in (1, 2)
            ]
    return "\n".join(rows) + "\n"


def test_class_means_are_over_the_same_cases_in_all_arms(tmp_path: Path) -> None:
    options = (*CLASSES, "--absent", "per-class")
    refused = tell(tmp_path, "compare", by_cases("ab"), *options)
    assert refused.code == 2
    assert "1 cases were not scored in every arm (c)" in refused.text
    dropped = tell(tmp_path, "compare", by_cases("ab"), *options, "--drop-unpaired")
    assert dropped.row["difference"] == pytest.approx(-0.006, abs=5e-5)
    assert "left out of all (c)" in dropped.text


def nnunet(folder: Path, ours: dict[int, str], labels: str = "12") -> list[Path]:
    """Summaries of two trainers: cases by fold, of two labels or more."""
    files = []
    for arm, folds in (("A__p__2d", {0: "ab", 1: "cd", 2: "ef"}), ("B__p__2d", ours)):
        for fold, cases in folds.items():
            gain = 0.02 * (1 + fold) if arm[0] == "B" else 0
            scores = {
                case: {
                    label: 0.6 + 0.05 * place + gain + 0.01 * int(label)
                    for label in (labels if arm[0] == "B" else "12")
                }
                for place, case in enumerate(cases)
            }
            files.append(
                summary(folder / "Dataset001_X" / arm / f"fold_{fold}" / "validation", scores)
            )
    return files


def test_a_case_that_one_trainer_lacks_is_left_out_of_both(tmp_path: Path) -> None:
    result = tell(tmp_path, "audit", nnunet(tmp_path, {0: "ab", 1: "cd", 2: "e"}))
    assert "1 cases without a score in some arm are left out of all (f)" in result.text
    assert result.row["difference"] == pytest.approx(np.mean([0.02, 0.04, 0.06]))


def test_trainers_of_other_splits_are_not_compared(tmp_path: Path) -> None:
    files = nnunet(tmp_path, {0: "ac", 1: "bd", 2: "ef"})
    for command, options in (("audit", ()), ("compare", CLASSES)):
        result = tell(tmp_path, command, files, *options)
        assert "are in another fold in one arm than in another (b, c)" in result.text.replace(
            "(c, b)", "(b, c)"
        )
        assert result.rows.empty


def test_trainers_of_other_labels_are_not_compared(tmp_path: Path) -> None:
    result = tell(tmp_path, "audit", nnunet(tmp_path, {0: "ab", 1: "cd", 2: "ef"}, "13"))
    assert "has no rows of class 2" in result.text
    assert result.rows.empty


def test_a_data_set_that_one_arm_lacks_is_named(tmp_path: Path) -> None:
    rows = ["method,seed,dataset,dice"]
    for arm, sets in (("unet", "AB"), ("ours", "A")):
        rows += [f"{arm},{s},{name},{0.8 + 0.01 * s * (arm == 'ours')}" for s in (1, 2, 3)
                 for name in sets]  # fmt: skip
    table = "\n".join(rows) + "\n"
    refused = tell(tmp_path, "compare", table)
    assert refused.code == 2
    assert "data set 'B' has no rows of arm 'ours': leave it out with drop_unpaired" in refused.text
    dropped = tell(tmp_path, "compare", table, "--drop-unpaired")
    assert "data set 'B' has no rows of arm 'ours': it is left out" in dropped.text


@pytest.mark.parametrize("name", ["0", "background", "BG"])
def test_a_background_among_the_classes_is_doubted(tmp_path: Path, name: str) -> None:
    result = tell(tmp_path, "compare", of_classes((name, 1, 2), (name, 1, 2)), *CLASSES)
    assert f"class {name} is averaged with the others: if it is the background" in result.text


def test_a_column_of_countless_values_is_nothing_to_average_over(tmp_path: Path) -> None:
    rows = ["method,seed,case,class,dice"]
    rows += [
        f"{arm},1,c{case},k{2 * case + half},0.5"
        for arm in ("unet", "ours")
        for case in range(1600)
        for half in (0, 1)
    ]
    result = tell(tmp_path, "compare", "\n".join(rows) + "\n", *CLASSES, "--case", "case")
    assert "has 3200 values, of which most runs and cases lack most" in result.text
