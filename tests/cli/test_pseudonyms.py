"""``--pseudonyms`` of compare, audit and data check: no name in what is written or said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import studies
from PIL import Image
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def table(folder: Path, patients: bool) -> Path:
    cases = [(f"Meyer_{case:02d}", f"Meyer {case // 2}") for case in range(24)]
    columns = {"arm": "method", "seed": "seed", "group": "Patient", "image": "case", "dice": "dice"}
    drawn = studies.per_case({"unet": 0.0, "ours": 0.02}, 4, cases, score="dice", level=0.8)
    found = drawn[list(columns)].rename(columns=columns)
    found["scan"] = "/scans/" + found["case"] + ".nii.gz"
    lost = (found["method"] == "ours") & (found["case"] == "Meyer_03")
    found["dice"] = found["dice"].round(4).mask(lost)
    path = folder / "results.csv"
    (found if patients else found.drop(columns="Patient")).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("patients", [True, False])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_comparison_names_nobody(tmp_path: Path, command: str, patients: bool) -> None:
    path, folder = table(tmp_path, patients), tmp_path / "shared"
    options = [
        "--baseline",
        "unet",
        *(["--drop-unpaired", "--bootstrap", 200] if command == "compare" else []),
    ]
    said = run(command, path, *options, "--out", folder, "--pseudonyms")
    plain = run(command, path, *options, "--out", tmp_path / "plain")
    assert "Meyer" not in said
    shared = [file for file in folder.rglob("*") if file.is_file()]
    assert shared
    for file in shared:
        assert "eyer" not in file.read_text(encoding="utf-8"), file
    name = {"compare": "comparison.csv", "audit": "audit.csv"}[command]
    ours, theirs = (pd.read_csv(place / name) for place in (folder, tmp_path / "plain"))
    for column in ("difference", "p_t", "n_cases", "n_groups"):
        assert ours[column].tolist() == pytest.approx(theirs[column].tolist(), abs=1e-12)
    key = pd.read_csv(tmp_path / "shared-pseudonyms-key.csv")
    assert key["name"].str.contains("Meyer").all()
    assert key["pseudonym"].is_unique
    assert plain


def test_a_check_names_nobody(tmp_path: Path) -> None:
    data, out = tmp_path / "set", tmp_path / "shared"
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
        for number in range(4):
            pixels = draw.integers(0, 255, (32, 32)) if part == "images" else np.eye(32) * 255
            Image.fromarray(pixels.astype(np.uint8)).save(data / part / f"meyer_{number}.png")
    Image.fromarray(np.full((32, 32), 90, np.uint8)).save(data / "images" / "meyer_0.png")
    (data / "masks" / "meyer_1_old.png").write_bytes((data / "masks" / "meyer_1.png").read_bytes())
    (data / "groups.csv").write_text(
        "image,group\n" + "".join(f"meyer_{n},Meyer {n // 2}\n" for n in range(3))
    )
    said = run("data", "check", data, "--out", out, "--pseudonyms")
    assert "eyer" not in said
    assert "image-" in said
    assert "eyer" not in (out / "check.csv").read_text(encoding="utf-8")
    assert (out / "contact-sheet.png").is_file()
    assert not list(out.glob("*key*"))
    assert "meyer_0" in (tmp_path / "shared-pseudonyms-key.csv").read_text(encoding="utf-8")
