"""Tables of the same kinds as those that were told, found by somebody who had not mended them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import llm4seg_probe as lp
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.cells import read_numbers
from llm4seg_probe.statistics.robust import outlying


def numbers(*cells: str, **options: object) -> list[float]:
    return read_numbers(pd.Series(cells, name="mse"), **options).values.tolist()  # type: ignore[arg-type]


def said(result: lp.results.comparisons.Comparison, level: str) -> list[str]:
    return [finding.what for finding in result.findings if finding.level == level]


def by_case(path: Path, column: str, train: str, test: str, folders: bool = False) -> Path:
    """Two methods, five seeds, 24 cases: better on the first twelve, worse on the others."""
    draw = random.Random(3)
    rows = []
    for seed in range(5):
        for number in range(24):
            side, gain = (train, 0.05) if number < 12 else (test, -0.02)
            base = 0.8 + draw.gauss(0, 0.01)
            name = f"{side}/im{number}.png" if folders else f"im{number}"
            for method, value in (("unet", base), ("ours", base + gain + draw.gauss(0, 0.004))):
                row = {"method": method, "seed": seed, "image": name, "dice": round(value, 4)}
                rows.append(row if folders else {**row, column: side})
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_dots_are_thousands_where_the_comma_is_the_decimal_mark(tmp_path: Path) -> None:
    assert numbers("1.234", "998,5", "991,25", "995") == [1234, 998.5, 991.25, 995]
    path = tmp_path / "mse.csv"
    unet, ours = (1234.0, 1250, 1240, 1239, 1244), (998.5, 991.25, 1002, 987.5, 995)
    lines = [f"unet;{seed};{value:.0f}"[:-3] + "." + f"{value:.0f}"[-3:]
             for seed, value in enumerate(unet)]  # fmt: skip
    lines += ["ours;0;998,5", "ours;1;991,25", "ours;2;1.002", "ours;3;987,5", "ours;4;995"]
    path.write_text("\n".join(["arm;seed;mse", *lines]) + "\n")
    (row,) = lp.compare(path, baseline="unet").table.to_dict("records")
    expected = stats.ttest_rel(ours, unet)
    assert row["verdict"] == "supported"
    assert row["difference"] == pytest.approx(np.mean(ours) - np.mean(unet))
    assert row["p_t"] == pytest.approx(expected.pvalue)


def test_dots_beside_whole_numbers_are_asked_about() -> None:
    with pytest.raises(TableError, match=r"mse '1\.234' may be 1\.234 or 1234: say which mark"):
        numbers("1.234", "1.250", "998")
    assert numbers("1.234", "998", decimal=",") == [1234, 998]
    assert numbers("1.234", "998", decimal=".") == [1.234, 998]
    assert numbers("1.234", "12.5", "998") == [1.234, 12.5, 998]
    with pytest.raises(TableError, match=r"row 2: mse '0\.5' has a decimal dot, but --decimal ,"):
        numbers("0.5", "1,2", decimal=",")


@pytest.mark.parametrize("cell", ["0.81⁹", "0.81<sup>9</sup>", "0.81<sub>9</sub>", "0.822¹"])
def test_raised_digits_are_no_digits_of_the_number(cell: str) -> None:
    with pytest.raises(TableError, match=r"row 3: mse '0\.8.*' is not a number"):
        numbers("0.80", cell)


def test_powers_and_marks_are_read_as_before() -> None:
    assert numbers("1.2×10⁻³", "3×10<sup>-3</sup>", "0.5<sup>*</sup>") == [0.0012, 0.003, 0.5]


@pytest.mark.parametrize(
    ("column", "train", "test"),
    [
        ("usage", "development", "evaluation"),
        ("kind", "entrenamiento", "prueba"),
        ("训练", "训练集", "测试集"),
        ("is_train", "True", "False"),
        ("held_out", "no", "yes"),
        ("stage", "tr", "te"),
    ],
)
def test_sides_by_other_words_are_refused_and_the_remedy_points_at_the_test_side(
    tmp_path: Path, column: str, train: str, test: str
) -> None:
    path = by_case(tmp_path / "t.csv", column, train, test)
    with pytest.raises(TableError, match=rf"several values of {column} .*--where {column}={test} "):
        lp.compare(path, baseline="unet")
    chosen = lp.compare(path, baseline="unet", where={column: test})
    assert chosen.table["verdict"].tolist() == ["contradicted"]


@pytest.mark.parametrize(("column", "one", "other"), [("seen", "yes", "no"), ("clinic", "A", "B")])
def test_what_parts_the_cases_is_a_doubt(tmp_path: Path, column: str, one: str, other: str) -> None:
    found = lp.compare(by_case(tmp_path / "t.csv", column, one, other), baseline="unet")
    (doubt,) = said(found, "doubt")
    assert doubt.startswith(f"cases of {column} {one}, {other} are averaged together")


def test_cases_in_folders_of_two_sides_are_a_doubt(tmp_path: Path) -> None:
    path = by_case(tmp_path / "t.csv", "", "train", "test", folders=True)
    doubts = said(lp.compare(path, baseline="unet"), "doubt")
    assert any("folders of several sides (train, test)" in one for one in doubts)


def test_a_split_drawn_anew_over_such_folders_is_judged(tmp_path: Path) -> None:
    table = pd.read_csv(by_case(tmp_path / "t.csv", "", "train", "test", folders=True))
    found = lp.compare(table, score="dice", arm="method", case="image", baseline="unet")
    assert found.table["n_cases"].tolist() == [24]


def test_arms_that_are_numbers_are_names(tmp_path: Path) -> None:
    path = tmp_path / "versions.csv"
    versions = {"1.1": 0.80, "1.10": 0.90, "1.2": 0.82, "1e3": 0.7, "1000": 0.6}
    rows = [f"{name},{seed},{level + 0.001 * seed**2}" for name, level in versions.items()
            for seed in range(5)]  # fmt: skip
    path.write_text("\n".join(["version,seed,dice", *rows]).replace("version", "method", 1))
    found = lp.compare(path, baseline="1.2").table.set_index("a")
    assert found["n_seeds"].to_dict() == dict.fromkeys(("1.1", "1.10", "1e3", "1000"), 5)
    assert found.loc["1.10", "difference"] == pytest.approx(0.08)


def test_a_header_in_per_cent_over_fractions_is_a_doubt(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{arm},{seed},{0.8 + 0.01 * seed + gain}" for arm, gain in (("a", 0), ("b", 0.01))
            for seed in range(3)]  # fmt: skip
    path.write_text("\n".join(["arm,seed,Dice [%]", *rows]))
    doubts = said(lp.compare(path, baseline="a"), "doubt")
    assert any("'Dice [%]' speaks of per cent, and its largest value is 0.83" in one
               for one in doubts)  # fmt: skip


def test_a_unit_of_the_last_digit_is_no_outlier() -> None:
    assert not outlying(np.array([0.020, 0.021, 0.020, 0.020, 0.020])).any()
    assert outlying(np.array([0.020, 0.021, 0.020, 0.020, -0.3])).tolist()[-1]


@pytest.mark.parametrize(
    "name", ["entropy", "mean entropy", "volume difference", "rel. abs. volume difference",
             "mean rank"]
)  # fmt: skip
def test_what_a_name_does_not_tell_is_asked(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{arm},{seed},{1 + 0.1 * seed + gain}" for arm, gain in (("a", 0), ("b", 0.02))
            for seed in range(4)]  # fmt: skip
    path.write_text("\n".join([f"arm,seed,{name}", *rows]))
    with pytest.raises(ConfigError, match=r"is a higher or a lower .* better"):
        lp.compare(path, baseline="a", score=name)


def test_images_of_a_series_lie_within_patients(tmp_path: Path) -> None:
    path = tmp_path / "dicom.csv"
    draw = random.Random(5)
    lines = ["arm,seed,PatientID,SOPInstanceUID,dice"]
    for arm in ("a", "b"):
        for seed in range(3):
            for image in range(24):
                lines.append(f"{arm},{seed},P{image // 2},1.2.{image},{draw.uniform(0.7, 0.8)}")
    path.write_text("\n".join(lines))
    found = lp.compare(path, baseline="a")
    roles = {match.column: match.role for match in found.matches}
    assert (roles["PatientID"], roles["SOPInstanceUID"]) == ("group", "case")
    assert found.table["n_groups"].tolist() == [12]


def test_what_was_not_compared_allows_no_test(tmp_path: Path) -> None:
    path = by_case(tmp_path / "t.csv", "usage", "train", "test")
    found = lp.audit(path, baseline="unet")
    assert found.findings[0].level == "fault"
    assert found.tests == ()
