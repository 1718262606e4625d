"""Pages and tables that are shared need not name patients."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.report.report import KEY, pseudonyms, rewrite, write_pseudonymous_report

ROWS = [
    {"run": "a", "image": "meyer-001", "group": "Meyer, A.", "iou": "0.123456789012345678"},
    {"run": "a", "image": "meyer-002", "group": "Meyer, A.", "iou": "1e-05"},
    {"run": "a", "image": "7", "group": "7", "iou": ""},
]


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "shared"
    (folder / "probe").mkdir(parents=True)
    pd.DataFrame(ROWS).to_csv(folder / "scores.csv", index=False)
    pd.DataFrame([{"note": "worst in meyer-001 of 7 seeds", "value": "7"}]).to_csv(
        folder / "probe" / "claims.csv", index=False
    )
    np.savez(folder / "maps.npz", image_names=np.array(["meyer-001", "7"]), images=np.zeros(2))
    (folder / "figures").mkdir()
    (folder / "figures" / "old.svg").write_text("meyer-001")
    return folder


def test_names_are_numbers_everywhere_and_values_as_they_were(results, tmp_path):
    names = pseudonyms(results)
    rewrite(results, names)
    for path in results.rglob("*"):
        if path.is_file() and path.suffix != ".npz":
            assert "eyer" not in path.read_text()
    with (results / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["iou"] for row in rows] == [row["iou"] for row in ROWS]
    assert rows[0]["group"] == rows[1]["group"] != rows[2]["group"]
    assert rows[0]["group"].startswith("patient-")
    with np.load(results / "maps.npz") as arrays:
        assert arrays["image_names"].tolist() == [rows[0]["image"], rows[2]["image"]]
    claims = pd.read_csv(results / "probe" / "claims.csv", dtype=str)
    assert claims["note"][0] == f"worst in {rows[0]['image']} of 7 seeds"
    assert claims["value"][0] == "7"  # a number is no name of a patient
    assert not (results / "figures" / "old.svg").exists()
    key = names.write_key(tmp_path / KEY)
    assert f"meyer-001,{rows[0]['image']}" in key.read_text()


def test_a_page_without_names_goes_to_another_folder(tmp_path):
    for out in (None, tmp_path):
        with pytest.raises(ConfigError, match="name another folder for it"):
            write_pseudonymous_report(tmp_path, out)


def test_the_page_of_a_study_names_no_patient(tmp_path):
    import shutil

    demo = Path(__file__).parents[2] / "reports" / "demo-2-cores"
    source = Path(shutil.copytree(demo, tmp_path / "study"))
    scores = pd.read_csv(source / "scores.csv", dtype=str)
    page = write_pseudonymous_report(source, tmp_path / "shared")
    text = page.read_text(encoding="utf-8")
    assert not [
        name for name in scores["image"].unique() if f"{name}<" in text or f'{name}"' in text
    ]
    shared = pd.read_csv(tmp_path / "shared" / "scores.csv", dtype=str)
    assert not set(shared["group"]) & set(scores["group"])
    assert (source / KEY).exists()
    assert not (tmp_path / "shared" / KEY).exists()
