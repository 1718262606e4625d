"""Folders and tables of other people, second round: what is there and cannot be read is told."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.errors import DataError
from llm4seg_probe.training.predict import images_in


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((16, 16), np.uint8)
    pixels[3:9] = 255
    Image.fromarray(pixels).save(path)


def pairs(images: Path, masks: Path, names: list[str] | None = None) -> None:
    for number, name in enumerate(names or ["c0", "c1", "c2", "c3"]):
        picture(images / f"{name}.png", number)
        mask(masks / f"{name}.png")


@pytest.fixture
def plain(tmp_path):
    pairs(tmp_path / "images", tmp_path / "masks")
    return tmp_path


def said(collection: Collection, kind: str) -> list[Finding]:
    return [finding for finding in collection.noticed if finding.kind == kind]


# A table or description that is there, and cannot be opened (C1).


def dead_link(path: Path) -> None:
    path.symlink_to(".git/annex/objects/xx")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["groups.csv", "samples.csv", "dataset.json"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        (dead_link, "is a link to a file that is not here"),
        (Path.mkdir, "is a folder; a file is expected"),
        (os.mkfifo, "is no regular file"),
        (device, "is no regular file"),
    ],
)
def test_what_cannot_be_opened_is_not_passed_over(plain, name, place, told):
    place(plain / name)
    with pytest.raises(DataError, match=f"{name}: {told}"):
        listed_collection(str(plain))


@pytest.mark.parametrize("place", [dead_link, Path.mkdir, os.mkfifo, device])
@pytest.mark.parametrize("name", ["dataset.json", "groups.csv"])
def test_nor_is_it_in_a_folder_of_nnunet(tmp_path, place, name):
    pairs(tmp_path / "imagesTr", tmp_path / "labelsTr", ["c0_0000"])
    if name != "dataset.json":
        (tmp_path / "dataset.json").write_text('{"labels": {"a": 1}}')
    place(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: is (a link|a folder|no regular file)"):
        listed_collection(str(tmp_path))


def test_a_link_that_leads_to_a_table_is_followed(plain, tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "g.csv"
    store.write_text("image,group\nc0,p0\nc1,p0\nc2,p1\nc3,p1\n")
    (plain / "groups.csv").symlink_to(store)
    assert [s.group for s in listed_collection(str(plain)).samples] == ["p0", "p0", "p1", "p1"]


def test_of_two_tables_the_one_that_is_not_read_is_told(plain):
    (plain / "groups.csv").write_text("image,group\nc0,p0\nc1,p0\nc2,p1\nc3,p1\n")
    (plain / "samples.csv").write_text("image,group\nc0,q0\nc1,q1\nc2,q1\nc3,q1\n")
    opened = listed_collection(str(plain))
    (left,) = said(opened, "not used")
    assert (left.images, left.what) == (
        ("samples.csv",), "1 file is not used: groups.csv says whose the images are"
    )  # fmt: skip
    assert {s.group for s in opened.samples} == {"p0", "p1"}


# Tables as Excel writes them (E2).

TABLE = "image,group\nc0,p0\nc1,p0\nc2,pä\nc3,pä\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode("utf-16"),
        TABLE.encode("utf-16-be").join([b"\xfe\xff", b""]),
        TABLE.replace(",", "\t").encode("utf-16"),
        TABLE.replace(",", ";").encode("utf-8-sig"),
        TABLE.replace(",", "\t").replace("\n", "\r\n").encode(),
    ],
    ids=["utf-16", "big-endian", "unicode text", "semicolons", "tabs"],
)
def test_tables_of_other_dialects_are_read(plain, content):
    (plain / "groups.csv").write_bytes(content)
    assert [s.group for s in listed_collection(str(plain)).samples] == ["p0", "p0", "pä", "pä"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TABLE.encode("latin-1"), r"is no UTF-8 text \(byte 28 is 0xe4\): save it as UTF-8 text"),
        (TABLE.encode("utf-16-le"), r"holds bytes that are no UTF-8 text \(UTF-16\?\): save it as"),
        (TABLE.encode("utf-32"), r"is UTF-32: save it as UTF-8 text"),
    ],
    ids=["latin-1", "no mark", "utf-32"],
)
def test_tables_of_other_encodings_are_refused_with_the_remedy(plain, content, told):
    (plain / "groups.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"groups.csv: {told}"):
        listed_collection(str(plain))


def test_semicolons_within_cells_stay_with_a_header_of_commas(plain):
    (plain / "t.csv").write_text("image,mask\nimages/c0.png;images/c1.png,masks/c0.png\n")
    (sample,) = listed_collection(str(plain / "t.csv")).samples
    assert [path.name for path in sample.channel_files] == ["c1.png"]


# Two columns of patients (C13).


def test_patients_that_a_column_of_groups_parts_are_told(plain):
    rows = "image,group,patient\nc0,a,P1\nc1,b,p1\nc2,b,p2\nc3,b,p2\n"
    (plain / "groups.csv").write_text(rows)
    (told,) = said(listed_collection(str(plain)), "groups")
    assert told.severity == "warning"
    assert told.what == (
        "groups.csv: the columns 'group' and 'patient' say different things: patient 'p1' is in "
        "a and in b (1 such in all)"
    )
    assert "a split may part such a patient" in told.advice


def test_groups_of_several_patients_are_told(plain):
    (plain / "groups.csv").write_text("image,group,patient\nc0,a,1\nc1,a,2\nc2,b,3\nc3,b,4\n")
    (told,) = said(listed_collection(str(plain)), "groups")
    assert told.severity == "note"
    assert "several of 'patient' are in one group" in told.what


def test_columns_that_agree_are_not_told(plain):
    (plain / "groups.csv").write_text("image,group,patient\nc0,a,1\nc1,a,01\nc2,b,3\nc3,b,NA\n")
    assert said(listed_collection(str(plain)), "groups") == []


def test_further_columns_of_patients_of_a_table_of_paths_are_told(plain):
    rows = "".join(f"images/c{n}.png,masks/c{n}.png,{'ab'[n % 2]},p\n" for n in range(4))
    (plain / "t.csv").write_text(f"image,mask,group,subject_id\n{rows}")
    (told,) = said(listed_collection(str(plain / "t.csv")), "groups")
    assert "subject_id 'p' is in a and in b" in told.what
    assert said(listed_collection(str(plain / "t.csv")), "not used") == []


# Images and masks in folders of other names (D1).


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("Images", "GroundTruth"), ("img", "label"), ("imgs", "gt"), ("image", "mask"),
        ("scans", "Segmentations"), ("Images", "Masks"), ("JPEGImages", "SegmentationClass"),
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        ("image", "annotations"), ("train_images", "train_labels"),
    ],
)  # fmt: skip
def test_images_and_masks_of_other_names_are_no_classes(tmp_path, images, masks):
    pairs(tmp_path / images, tmp_path / masks)
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError) as error:
        listed_collection(str(tmp_path))
    assert f"call {images}/ images/ and call {masks}/ masks/" in str(error.value)
    assert "data.classes" not in str(error.value)


def test_the_one_folder_that_is_called_otherwise_is_named(tmp_path):
    pairs(tmp_path / "images", tmp_path / "labels")
    with pytest.raises(DataError, match=r"has no folder 'masks': .*: call labels/ masks/$"):
        listed_collection(str(tmp_path))


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("img", "GT")])
def test_sides_of_images_and_masks_are_no_classes(tmp_path, images, masks):
    for side in ("train", "val", "test"):
        pairs(tmp_path / side / images, tmp_path / side / masks)
    with pytest.raises(DataError) as error:
        listed_collection(str(tmp_path))
    text = str(error.value)
    assert f"test/{images}/ and test/{masks}/ seem to hold images and their masks" in text
    assert "all 3 such folders to images/ and masks/" in text
    assert "(image, mask, split)" in text
    assert "data.classes" not in text


def test_folders_of_patients_say_what_to_do(tmp_path):
    for name in ("patient0", "patient1"):
        pairs(tmp_path / name / "images", tmp_path / name / "masks")
    with pytest.raises(DataError, match=r"\(image, mask, group\).*patient as the group"):
        listed_collection(str(tmp_path))


def test_a_folder_too_high_names_the_one_below(tmp_path):
    pairs(tmp_path / "MyData" / "images", tmp_path / "MyData" / "masks")
    with pytest.raises(DataError, match=r"give .*MyData as the data set"):
        listed_collection(str(tmp_path))


def test_the_table_that_is_advised_for_sides_is_read(tmp_path):
    rows = "image,mask,split\n"
    for side in ("train", "val", "test"):
        pairs(tmp_path / side / "img", tmp_path / side / "gt", [side])
        rows += f"{side}/img/{side}.png,{side}/gt/{side}.png,{side}\n"
    (tmp_path / "t.csv").write_text(rows)
    samples = listed_collection(str(tmp_path / "t.csv")).samples
    assert [sample.side for sample in samples] == ["train", "val", "test"]


@pytest.mark.parametrize("classes", [("benign", "malignant"), ("images_of_cats", "masked")])
def test_classes_in_folders_stay_classes(tmp_path, classes):
    for name in classes:
        for number in range(3):
            picture(tmp_path / name / f"{name}{number}.png", number)
    opened = listed_collection(str(tmp_path), classes=classes[:1])
    assert sum(sample.labels == (True,) for sample in opened.samples) == 3


# Images one folder deeper (E7).


def test_images_in_folders_below_are_told_with_what_to_do(tmp_path):
    for kind in ("images", "masks"):
        for patient in ("p0", "p1"):
            picture(tmp_path / kind / patient / "s0.png")
    with pytest.raises(DataError) as error:
        listed_collection(str(tmp_path))
    assert "no images in this folder itself" in str(error.value)
    assert "(p0/s0.png): move them up, each with its folder's name (p0_s0.png)" in str(error.value)
    with pytest.raises(DataError, match=r"there are some in folders below it \(p0/s0\.png\)"):
        images_in(tmp_path / "images")


def test_a_folder_without_any_image_names_the_formats(plain):
    for path in (plain / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no images \(\.png, .*\) in this folder"):
        listed_collection(str(plain))


# Tables of patients under other names, or elsewhere (D2).

HEADER = "image,group\nc0,p0\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Groups.csv", HEADER), ("groups.CSV", HEADER), ("groups.tsv", HEADER),
        ("groups.csv.txt", HEADER), ("groups.xlsx", "PK"), ("images/groups.csv", HEADER),
        ("patients.csv", ""), ("subjects_2024.csv", ""), ("clinical.csv", "Image ID;Patient ID\n"),
        ("masks/list.txt", "file\tpatient\n"),
    ],
)  # fmt: skip
def test_tables_of_patients_that_are_not_read_are_warned_of(plain, name, content):
    (plain / name).write_text(content)
    (left,) = said(listed_collection(str(plain)), "not used")
    assert (left.severity, left.images) == ("warning", (name,))
    assert "it looks like a table of patients" in left.what
    assert "call it groups.csv" in left.advice


@pytest.mark.parametrize("name", ["notes.txt", "clinical.csv", "LICENSE.txt"])
def test_other_texts_are_noted(plain, name):
    (plain / name).write_text("age;weight\n")
    (left,) = said(listed_collection(str(plain)), "not used")
    assert left.severity == "note"


def test_with_a_table_that_is_read_others_are_noted(plain):
    (plain / "groups.csv").write_text("image,group\nc0,p0\nc1,p0\nc2,p1\nc3,p1\n")
    (plain / "patients.csv").write_text("patient,age\np0,3\n")
    (left,) = said(listed_collection(str(plain)), "not used")
    assert (left.severity, left.images) == ("note", ("patients.csv",))


def test_a_table_beside_the_folders_of_nnunet_is_warned_of(tmp_path):
    pairs(tmp_path / "imagesTr", tmp_path / "labelsTr", ["c0_0000"])
    (tmp_path / "labelsTr" / "c0_0000.png").rename(tmp_path / "labelsTr" / "c0.png")
    (tmp_path / "dataset.json").write_text('{"labels": {"a": 1}}')
    (tmp_path / "Groups.csv").write_text(HEADER)
    (left,) = said(listed_collection(str(tmp_path)), "not used")
    assert (left.severity, left.images) == ("warning", ("Groups.csv",))


# Several images of one patient, by their names (D9).


@pytest.mark.parametrize(
    "names",
    [
        ["A_0001_LEFT_CC", "A_0001_RIGHT_CC", "A_0002_LEFT_MLO", "A_0002_RIGHT_MLO"],
        ["7-LCC", "7-RMLO", "8-LCC", "8-RMLO"],
        ["img0_x0_y0", "img0_x256_y0", "img1_x0_y0", "img1_x256_y0"],
        ["a1_patch_0", "a1_patch_1", "b2_patch_0", "b2_patch_1"],
        ["k7_r0c1", "k7_r1c0", "m8_tile3", "m8_tile4"],
    ],
)
def test_views_and_crops_are_asked_about(tmp_path, names):
    pairs(tmp_path / "images", tmp_path / "masks", names)
    (asked,) = said(listed_collection(str(tmp_path)), "groups")
    assert "the names look as if 4 images were of 2 patients" in asked.what
    assert asked.severity == "warning"


@pytest.mark.parametrize("names", [["case_x", "case_y"], ["scan1", "scan2"], ["a-xray", "b-xray"]])
def test_names_that_say_nothing_of_patients_are_not_asked_about(tmp_path, names):
    pairs(tmp_path / "images", tmp_path / "masks", names)
    assert said(listed_collection(str(tmp_path)), "groups") == []
