"""Preparing the paper's data sets, from miniatures of what their pages deliver (deliveries.py).

The miniatures have the layout and the traps of the real ones, a few noise images, and no patients.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from deliveries import DELIVERIES, SIZE, disc, isic2018, picture, save, save_volume, zipped
from PIL import Image
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.datasets import catalogue, open_collection
from llm4seg_probe.data.prepare import prepared
from llm4seg_probe.data.prepare.build import prepare
from llm4seg_probe.data.prepare.papers import SETS
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def page(tmp_path):
    """Folder for what is downloaded."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


def names(collection):
    return [sample.image for sample in collection.samples]


@pytest.mark.parametrize("name", DELIVERIES)
def test_a_set_is_prepared_from_its_folder_and_opened_by_its_name(name, page, cache):
    collection, folder = prepare(name, DELIVERIES[name](page))
    assert folder == cache / f"{name}-1"
    opened = open_collection(name)
    assert opened.fingerprint == collection.fingerprint
    assert (opened.name, opened.licence, opened.source) == (
        name,
        SETS[name].licence,
        SETS[name].page,
    )
    assert f"{len(opened.samples)} images with masks; {SETS[name].published} by its" in opened.note
    for sample in opened.samples:
        raw = opened.read(sample)
        assert raw.mask.any()
        assert not raw.mask.all()
    assert [entry.name for entry in catalogue() if entry.here] == [name]
    assert sorted(path.name for path in cache.iterdir()) == [f".{name}.lock", f"{name}-1"]


@pytest.mark.parametrize("name", DELIVERIES)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_gives_what_its_folder_gives(name, kind, page, tmp_path):
    delivered = DELIVERIES[name](page)
    archive = tmp_path / f"archive.{kind}"
    if kind == "zip":
        zipped(delivered, archive)
    else:
        with tarfile.open(archive, "w:gz") as out:
            out.add(delivered, arcname="top")
    from_archive, _ = prepare(name, archive)
    from_folder, _ = prepare(name, delivered, tmp_path / "out")
    assert from_archive.fingerprint == from_folder.fingerprint


def test_busi_merges_masks_and_keeps_copies_together(page):
    collection, _ = prepare("busi", DELIVERIES["busi"](page))
    assert names(collection) == ["benign (2)", "benign (10)", "malignant (1)"]
    two = collection.read(collection.sample("benign (2)")).mask[0]
    np.testing.assert_array_equal(two, (disc(3) | disc(12)) > 0)
    together = {sample.image: sample.together for sample in collection.samples}
    assert together["benign (2)"] == ""
    assert together["benign (10)"] == together["malignant (1)"] != ""
    assert "2 images are copies of one another, pixel by pixel, in 1 cluster" in collection.note


def test_busi_has_its_normal_images_only_where_they_are_asked_for(page):
    collection, _ = prepare("busi", DELIVERIES["busi"](page), include=("normal",))
    assert names(collection)[-1] == "normal (1)"
    assert not collection.read(collection.samples[-1]).mask.any()
    with pytest.raises(DataError, match=r"unknown images to include 'axilla'\. Valid: normal"):
        prepare("busi", page, include=("axilla",))
    with pytest.raises(DataError, match="kvasir has nothing more to include"):
        prepare("kvasir", page, include=("normal",))


def test_kvasirs_jpeg_noise_is_thresholded(page):
    delivered = DELIVERIES["kvasir"](page)
    noisy = np.asarray(Image.open(delivered / "masks" / "cju0.jpg"))
    assert len(np.unique(noisy)) > 2
    collection, folder = prepare("kvasir", delivered)
    np.testing.assert_array_equal(collection.read(collection.samples[0]).mask[0], disc(4) > 0)
    written = np.asarray(Image.open(folder / "masks" / "cju0.png"))
    assert np.unique(written).tolist() == [0, 255]


def test_isic_takes_two_archives_lesion_ids_and_its_other_parts(page, tmp_path):
    isic2018(page)
    isic2018(page, "Validation", first=5)
    for folder in list(page.iterdir()):
        zipped(folder, page / f"{folder.name}.zip")
        shutil.rmtree(folder)
    (page / "metadata.csv").write_text(
        "isic_id,lesion_id\nISIC_0000000,IL_7\nISIC_0000002,IL_7\nISIC_0000001,IL_8\n"
    )
    collection, _ = prepare("isic2018", page, include=("validation",))
    assert [sample.group for sample in collection.samples[:3]] == ["IL_7", "IL_8", "IL_7"]
    assert [sample.side for sample in collection.samples] == ["train"] * 3 + ["val"] * 3
    assert not (tmp_path / "downloads" / "ISIC2018_Task1-2_Training_Input").exists()


def test_isic_masks_may_end_as_in_other_years(page):
    isic2018(page)
    masks = page / "ISIC2018_Task1_Training_GroundTruth"
    for path in list(masks.iterdir()):
        path.rename(path.with_name(path.name.replace("_segm", "_Segm")))
    assert len(prepare("isic2018", page)[0].samples) == 3


def test_btcv_is_volumes_with_thirteen_classes(page):
    prepare("btcv", DELIVERIES["btcv"](page))
    collection = open_collection("btcv", classes=("liver", "left adrenal gland"))
    assert names(collection) == ["img0001", "img0021"]
    raw = collection.read(collection.samples[1])
    assert raw.image.shape == (1, 4, 5, 6)
    assert (raw.modality, raw.spacing) == ("ct", (3.0, 1.0, 1.0))
    labels = (np.arange(120) % 14).reshape(6, 5, 4)[::-1, ::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(raw.mask, [labels == 6, labels == 13])


def test_btcv_is_read_as_users_rename_it(page):
    top = DELIVERIES["btcv"](page) / "Training"
    (top / "img").rename(page / "imagesTr")
    (top / "label").rename(page / "labelsTr")
    shutil.rmtree(page / "RawData")
    assert names(prepare("btcv", page)[0]) == ["img0001", "img0021"]


def test_a_split_by_group_keeps_copies_and_lesions_on_one_side(page):
    """A lesion of two images, one of which is a copy of an image of another lesion."""
    isic2018(page)
    folder = page / "ISIC2018_Task1-2_Training_Input"
    for number in range(3, 12):
        save(folder / f"ISIC_{number:07d}.jpg", np.stack([picture(number)] * 3, axis=-1))
        masks = page / "ISIC2018_Task1_Training_GroundTruth"
        save(masks / f"ISIC_{number:07d}_segmentation.png", disc(number))
    shutil.copy(folder / "ISIC_0000005.jpg", folder / "ISIC_0000001.jpg")
    rows = ["image,lesion_id", "ISIC_0000000,A", "ISIC_0000001,A", "ISIC_0000005,B"]
    (page / "lesions.csv").write_text("\n".join([*rows, "ISIC_0000006,B"]))
    collection, _ = prepare("isic2018", page)
    linked = {f"ISIC_000000{i}" for i in (0, 1, 5, 6)}
    units = {sample.unit for sample in collection.samples if sample.image in linked}
    assert len(units) == 1
    for seed in range(5):
        split = split_of(collection, DataConfig(split="groups", split_seed=seed))
        sides = [linked & set(split.side(side)) for side in ("train", "val", "test")]
        assert sum(map(bool, sides)) == 1


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "busi",
            "kvasir",
            r"expected the folders benign and malignant .*; found .*images/ \(2 \.j",
        ),
        ("kvasir", "busi", r"expected the folders images and masks of Kvasir-SEG.*; found benign/"),
        ("isic2018", "tnscui", r"expected the folders ISIC2018_Task1-2_Training_Input and .*found"),
        ("btcv", "busi", r"expected RawData/Training/img/img0001\.nii\.gz .*; found benign/ \(5 "),
        ("tnscui", "isic2018", r"expected a folder of images and a folder whose name holds 'mask'"),
    ],
)
def test_something_else_is_refused_with_what_was_expected_and_found(
    name, given, message, page, cache
):
    delivered = DELIVERIES[given](page)
    with pytest.raises(DataError, match=message) as raised:
        prepare(name, delivered)
    assert str(raised.value).startswith(f"{delivered}: ")
    assert sorted(path.name for path in cache.iterdir()) == [f".{name}.lock"]


def overlay(path):
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[3:6, 3:6] = (200, 10, 0)
    save(path, colours)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        (
            "busi",
            lambda f: (f / "benign/benign (10)_mask.png").unlink(),
            r"benign \(10\)\.png: has",
        ),
        (
            "busi",
            lambda f: (f / "benign/benign (2).png").unlink(),
            r"_mask\.png: is the mask of 'b",
        ),
        (
            "busi",
            lambda f: overlay(f / "benign/benign (2)_mask_1.png"),
            r"_mask_1\.png: a mask has ",
        ),
        (
            "busi",
            lambda f: save(f / "benign/benign (2)_mask_1.png", disc(3)[1:]),
            r"benign \(2\)_mask_1\.png: the mask is 19 x 24, its image benign .* 20 x 24",
        ),
        (
            "busi",
            lambda f: (f / "malignant/malignant (1).png").write_bytes(b""),
            r"malignant \(1\)\.png: the file is empty",
        ),
        (
            "kvasir",
            lambda f: (f / "images/cju1.jpg").write_bytes(
                (f / "images/cju1.jpg").read_bytes()[:99]
            ),
            r"cju1\.jpg: not readable",
        ),
        ("kvasir", lambda f: (f / "masks/cju1.jpg").unlink(), r"cju1\.jpg: has no mask cju1 in "),
        (
            "btcv",
            lambda f: (f / "Training/label/label0021.nii.gz").unlink(),
            r"img0021\.nii\.gz: has no label of its number in .*label",
        ),
        (
            "btcv",
            lambda f: save_volume(
                f / "Training/label/label0021.nii.gz", np.full((6, 5, 4), 14, np.uint8)
            ),
            r"label0021\.nii\.gz: its labels go from 14 to 14; expected 0 to 13",
        ),
        (
            "btcv",
            lambda f: save_volume(
                f / "Training/label/label0021.nii.gz", np.ones((6, 5, 4), np.uint8), turned=True
            ),
            r"label0021\.nii\.gz: its axes run LAS, those of img0021\.nii\.gz RAS",
        ),
    ],
)
def test_one_wrong_file_is_named_and_nothing_is_left(name, wrong, message, page, cache):
    delivered = DELIVERIES[name](page)
    wrong(delivered)
    with pytest.raises(DataError, match=message) as raised:
        prepare(name, delivered)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in cache.iterdir()) == [f".{name}.lock"]


def test_large_pictures_are_stored_smaller_where_asked(page):
    delivered = DELIVERIES["isic2018"](page)
    images = delivered / "ISIC2018_Task1-2_Training_Input"
    masks = delivered / "ISIC2018_Task1_Training_GroundTruth"
    for path in (images / "ISIC_0000000.jpg", masks / "ISIC_0000000_segmentation.png"):
        small = Image.open(path)
        small.resize((small.width * 8, small.height * 8), Image.Resampling.NEAREST).save(path)
    small = disc(0) > 0
    collection, folder = prepare("isic2018", delivered, longest_side=96)
    raw = collection.read(collection.sample("ISIC_0000000"))
    assert raw.image.shape == (3, 80, 96)
    np.testing.assert_array_equal(raw.mask[0], small.repeat(4, axis=0).repeat(4, axis=1))
    assert (folder / "images" / "ISIC_0000001.jpg").is_file()
    assert "Stored smaller, at 96 pixels on the longer side, are 1 of the images" in collection.note
    with pytest.raises(DataError, match="the longest side is 5: give at least 64 pixels"):
        prepare("isic2018", delivered, longest_side=5)
    with pytest.raises(DataError, match="btcv is made of volumes; a longest side is for pictures"):
        prepare("btcv", delivered, longest_side=96)


def test_16_bit_pictures_are_fine(page):
    delivered = DELIVERIES["tnscui"](page)
    wide = picture(1).astype(np.uint16) * 257
    (delivered / "train/image/1.PNG").unlink()
    save(delivered / "train/image/1.PNG", wide)
    collection, _ = prepare("tnscui", delivered)
    np.testing.assert_array_equal(collection.read(collection.samples[0]).image[0], picture(1))


def test_what_is_not_prepared_says_how_and_where_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = r"busi is not prepared\. Get it from the Cairo .*: llm4seg-probe data prepare busi "
    with pytest.raises(DataError, match=expected) as raised:
        open_collection("busi")
    assert "./busi" not in str(raised.value)
    (tmp_path / "busi").mkdir()
    with pytest.raises(DataError, match=r"The folder busi that is here is opened as \./busi"):
        open_collection("busi")


def test_an_unknown_name_an_absent_source_and_a_target_that_is_there(page, tmp_path):
    with pytest.raises(DataError, match=r"unknown data set 'bus'\. Did you mean 'busi'"):
        prepare("bus", page)
    with pytest.raises(
        DataError, match=r"no\.zip: no such file or folder; expected the folders be"
    ):
        prepare("busi", tmp_path / "no.zip")
    delivered = DELIVERIES["busi"](page)
    prepare("busi", delivered, tmp_path / "out")
    with pytest.raises(DataError, match=r"out: is there already; remove it to prepare busi anew"):
        prepare("busi", delivered, tmp_path / "out")


def test_the_source_is_left_as_it_was(page):
    delivered = DELIVERIES["busi"](page)
    before = {path: path.read_bytes() for path in delivered.rglob("*.png")}
    prepare("busi", delivered)
    assert {path: path.read_bytes() for path in delivered.rglob("*.png")} == before


def test_what_an_interrupted_preparation_left_is_not_taken_for_whole(page, cache, capfd):
    left = cache / ".busi-1.preparing-x"
    left.mkdir(parents=True)
    (left / "half.png").touch()
    with pytest.raises(DataError, match="busi is not prepared"):
        open_collection("busi")
    prepare("busi", DELIVERIES["busi"](page))
    assert not left.exists()
    assert "Removing what an interrupted preparation left" in capfd.readouterr().err
    assert len(open_collection("busi").samples) == 3


@pytest.mark.slow
def test_a_killed_preparation_leaves_nothing_that_is_taken_for_whole(page, cache):
    """A real process, killed without warning while it writes; the next one does the work."""
    delivered = DELIVERIES["kvasir"](page)
    for number in range(500):
        shutil.copy(delivered / "images/cju0.jpg", delivered / f"images/more{number}.jpg")
        shutil.copy(delivered / "masks/cju0.jpg", delivered / f"masks/more{number}.jpg")
    command = "import sys; from pathlib import Path; "
    command += "from llm4seg_probe.data.prepare.build import prepare; "
    command += "prepare('kvasir', Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", command, str(delivered)], env=os.environ)
    deadline = time.monotonic() + 60
    while not list(cache.glob(".kvasir-1.preparing-*/built/masks/more10.png")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not prepared.is_here("kvasir")
    assert list(cache.glob(".kvasir-1.preparing-*"))
    assert len(prepare("kvasir", delivered)[0].samples) == 502
    assert sorted(path.name for path in cache.iterdir()) == [".kvasir.lock", "kvasir-1"]


def test_the_commands(page, tmp_path):
    archive = zipped(DELIVERIES["busi"](page), tmp_path / "archive.zip")
    run = CliRunner()
    told = run.invoke(app, ["data", "prepare", "busi", str(archive)])
    assert told.exit_code == 0
    assert "3 images with masks; 647 by its page." in told.stdout
    assert "train on it with data.name=busi" in told.stdout
    again = run.invoke(app, ["data", "prepare", "busi", str(archive)])
    assert again.exit_code == 2
    assert "busi-1: is there already; remove it" in again.stderr
    out = ["--out", str(tmp_path / "out"), "--include", "normal", "--json"]
    result = json.loads(run.invoke(app, ["data", "prepare", "busi", str(archive), *out]).stdout)
    assert (result["images"], result["data_name"]) == (4, str(tmp_path / "out"))
    listed = json.loads(run.invoke(app, ["data", "list", "--json"]).stdout)["data"]
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["busi"]["here"]
    assert not by_name["btcv"]["here"]
    assert by_name["btcv"]["download_mb"] is None
    text = run.invoke(app, ["data", "list"]).stdout
    assert "not here: get it from its page, then: llm4seg-probe data prepare kvasir" in text
