import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.phantoms import PHANTOMS, phantom, write_phantoms
from llm4seg_probe.data.splits import Split
from llm4seg_probe.tables import CHECK, read_table


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten phantoms, of which two are copies of others."""
    write_phantoms(tmp_path / "set", "shape", 10, size=(48, 48))
    for copy, of in (("shape-0007", "shape-0001"), ("shape-0009", "shape-0001")):
        for part in ("images", "masks"):
            content = (tmp_path / "set" / part / f"{of}.png").read_bytes()
            (tmp_path / "set" / part / f"{copy}.png").write_bytes(content)
    (tmp_path / "set" / "dataset.json").unlink()
    return tmp_path / "set"


def test_check_writes_a_table_and_sheets_and_ends_with_two(folder, tmp_path):
    out = tmp_path / "out"
    said = run("check", folder, "--out", out)
    assert "set: 10 of 10 images can be read; errors: 0, warnings: 2" in said
    table = read_table(out / "check.csv", CHECK)
    assert list(table["kind"]) == ["groups", "duplicates"]
    assert table["images"].iloc[1] == "shape-0001; shape-0007; shape-0009"
    for sheet in ("contact-sheet.png", "duplicates.png"):
        with Image.open(out / sheet) as opened:
            assert opened.width > 100
    for copy in ("shape-0007", "shape-0009"):
        Image.new("L", (48, 48), 9).save(folder / "images" / f"{copy}.png")
    (folder / "masks" / "shape-0003.png").write_bytes(b"")
    found = json.loads(run("check", folder, "--out", out, "--json", code=2))
    assert (found["images"], found["readable"], found["errors"]) == (10, 9, 1)
    assert found["findings"][0]["images"] == ["shape-0003"]
    assert found["findings"][0]["what"].endswith("masks/shape-0003.png: the file is empty")
    # Nothing is left of what is no longer true.
    assert found["sheets"] == [str(out / "contact-sheet.png")]
    assert not (out / "duplicates.png").exists()


def test_check_says_what_is_wrong_with_a_split(folder, tmp_path):
    out = tmp_path / "out"
    # This seed parts the three copies.
    texts = [run("check", folder, "--out", out, "--split", "groups", "--seed", 1, code=2)]
    texts.append(run("check", folder, "--out", out, "--split", "blocks", code=2))
    assert "error: duplicates: cluster 1, 3 nearly equal images" in texts[0]
    assert "error: split: set: split 'blocks' is for slices of volumes" in texts[1]
    run("split", folder, "--group-duplicates", "--seed", 1, "--out", out)
    run("check", folder, "--out", out, "--split", out / "split.json")


@pytest.mark.parametrize("folds", [None, 3])
def test_split_keeps_copies_together(folder, tmp_path, folds):
    out = tmp_path / "splits"
    options = [] if folds is None else ["--folds", folds]
    said = run("split", folder, "--group-duplicates", "--out", out, *options)
    assert "1 clusters of near-duplicates are kept together" in said
    paths = sorted(out.iterdir())
    wanted = ["split.json"] if folds is None else [f"fold-{i}.json" for i in range(folds)]
    assert [path.name for path in paths] == wanted
    copies = {"shape-0001", "shape-0007", "shape-0009"}
    splits = [Split.load(path) for path in paths]
    for split in splits:
        assert sum(bool(copies & set(side)) for side in (split.train, split.val, split.test)) == 1
        assert split.dataset_fingerprint == open_collection(str(folder)).fingerprint
    if folds:
        assert sorted(i for split in splits for i in split.test) == [
            f"shape-{i:04d}" for i in range(10)
        ]


def test_split_prints_what_training_takes(folder, tmp_path):
    said = run("split", folder, "--kind", "reference", "--out", tmp_path)
    assert "train 7 images of 7 groups, val 3 images of 3 groups, test 3 images" in said
    assert "Validation is test" in said
    assert f"data.split={tmp_path / 'split.json'}" in said
    found = json.loads(run("split", folder, "--seed", 4, "--out", tmp_path, "--json"))
    (split,) = found["splits"].values()
    assert Split.from_dict(split).seed == 4
    assert Split.from_dict(split) == Split.load(tmp_path / "split.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["split", "SET", "--kind", "grops"], "unknown split 'grops'. Did you mean 'groups'"),
        (["split", "SET", "--kind", "reference", "--folds", "3"], "'reference' has no folds"),
        (
            ["split", "SET", "--kind", "own", "--group-duplicates"],
            "split 'own' parts groups, so that it cannot keep near-duplicates together",
        ),
        (["split", "SET", "--duplicate-distance", "200"], "200 of 256 bits: choose 0 to 127"),
        (["split", "SET", "--folds", "11"], "10 groups that may be parted: too few for 11 folds"),
        (["check", "nowhere"], "no such folder: nowhere"),
        (["phantoms", "--kind", "contxt"], "unknown phantom 'contxt'. Did you mean 'context'"),
        (["phantoms", "--size", "96"], "'96' is no size: write 96x96"),
        (["phantoms", "--size", "64x64", "--three-dimensional"], "'64x64' has two sides"),
        (["phantoms", "--kind", "noise", "--count", "0"], "0 phantoms: write at least one"),
    ],
)
def test_wrong_words_get_one_line(folder, tmp_path, words, message):
    words = [str(folder) if word == "SET" else word for word in words]
    said = run(*words, "--out", tmp_path / "out", code=2)
    assert message in said
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_phantoms_are_written_as_asked(tmp_path):
    run("phantoms", "--kind", "noise", "--count", 2, "--size", "40x48", "--dial", 4, "--seed", 3,
        "--out", tmp_path / "noise")  # fmt: skip
    collection = open_collection(str(tmp_path / "noise"))
    raw = collection.read(collection.samples[1])
    image, mask = phantom("noise", 1, size=(40, 48), seed=3, dial=4.0)
    np.testing.assert_array_equal(raw.mask, [mask])
    np.testing.assert_allclose(raw.image[0], 100 + 12 * image, atol=0.51)


def test_every_kind_is_written_where_none_is_named(tmp_path):
    words = ["--three-dimensional", "--size", "32x32x32", "--count", 1, "--out", tmp_path / "all"]
    found = json.loads(run("phantoms", *words, "--json"))
    assert [entry["name"] for entry in found["sets"]] == [
        f"phantoms-{kind}-3d" for kind in PHANTOMS
    ]
    for entry in found["sets"]:
        (sample,) = open_collection(entry["folder"]).samples
        assert sample.image_file.name.endswith(".nii.gz")
