"""Folders and tables of other people: what is meant is read, what is left over is named."""

import json
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import write_series, write_slice
from PIL import Image

from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import listed_collection, open_collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.errors import DataError
from llm4seg_probe.training.predict import images_in, left_over


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path: Path, row: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((16, 16), np.uint8)
    pixels[row] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture
def plain(tmp_path):
    for number in range(6):
        picture(tmp_path / "images" / f"c{number}.png", number)
        mask(tmp_path / "masks" / f"c{number}.png")
    return tmp_path


def of_kind(collection: Collection, kind: str) -> list[Finding]:
    return [finding for finding in collection.noticed if finding.kind == kind]


# Folders inside masks/ (W01, W02).


@pytest.mark.parametrize(
    "inner", ["old", "v1 (backup)", ".ipynb_checkpoints", "__MACOSX", "@eaDir"]
)
def test_a_folder_beside_the_masks_is_not_read_in_their_place(plain, inner):
    for number in range(6):
        mask(plain / "masks" / inner / f"c{number}.png", row=9)
    opened = listed_collection(str(plain))
    assert {s.mask_files[0].parent.name for s in opened.samples} == {"masks"}
    left = of_kind(opened, "not used")
    assert [f.images for f in left] == ([] if inner[0] in "._@" else [(f"masks/{inner}",)])


@pytest.mark.parametrize("inner", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "notes"])
def test_a_folder_of_a_tool_is_no_class(plain, inner):
    (plain / "masks").rename(plain / "lesion")
    (plain / "lesion").rename(plain / "masks_of_it")
    (plain / "masks").mkdir()
    (plain / "masks_of_it").rename(plain / "masks" / "lesion")
    (plain / "masks" / inner).mkdir()
    opened = listed_collection(str(plain), classes=("lesion",))
    assert {s.mask_files[0].parent.name for s in opened.samples} == {"lesion"}


def classes_in(folder: Path, names: list[str]) -> None:
    picture(folder / "images" / "a.png")
    for row, name in enumerate(names):
        mask(folder / "masks" / name / "a.png", row)


@pytest.mark.parametrize(
    ("folders", "classes", "right"),
    [
        ([str(k) for k in range(11)], [f"organ {k}" for k in range(11)], list(range(11))),
        (["class 2", "class 10", "class 1"], ["a", "b", "c"], [2, 0, 1]),
        (["tumour", "liver"], ["tumour", "liver"], [0, 1]),
        (["Liver", "TUMOUR"], ["tumour", "liver"], [1, 0]),
        (["left_lung", "right-lung"], ["right lung", "left lung"], [1, 0]),
        (["0-liver", "1-tumour"], ["tumour", "liver"], [1, 0]),
        (["liver", "spleen", "tumour"], ["tumour", "liver"], [2, 0]),
        ([unicodedata.normalize("NFD", "œdème"), "noyau"], ["noyau", "œdème"], [1, 0]),
    ],
)
def test_folders_of_classes_go_by_name_else_in_natural_order(tmp_path, folders, classes, right):
    classes_in(tmp_path, folders)
    opened = listed_collection(str(tmp_path), classes=tuple(classes))
    rows = opened.read(opened.samples[0]).mask.any(-1).argmax(-1)
    assert rows.tolist() == right
    told = of_kind(opened, "classes of folders")[0].what
    assert f"{folders[right[0]]} is {classes[0]}" in told


def test_folders_that_have_some_of_the_names_are_refused(tmp_path):
    classes_in(tmp_path, ["liver", "tumor"])
    with pytest.raises(
        DataError, match=r"folders of classes \(liver, tumor\), but none for tumour"
    ):
        listed_collection(str(tmp_path), classes=("tumour", "liver"))


def test_masks_beside_folders_of_classes_are_refused(plain):
    for name in ("a", "b"):
        mask(plain / "masks" / name / "c0.png")
    with pytest.raises(DataError, match=r"holds masks, and folders that could be those of the cl"):
        listed_collection(str(plain), classes=("x", "y"))


# Tables of groups (W03).


@pytest.mark.parametrize(
    "rows",
    [
        [f"c{i}.png,{' ' * (i % 2)}p{i // 2}" for i in range(6)],
        [f"c{i}.png,p{i // 2}{chr(0xA0) * (i % 2)}" for i in range(6)],
        [f"{'cC'[i % 2]}{i}.png,p{i // 2}" for i in range(6)],
        [f"c{i}.{('png', 'jpg', 'dcm')[i % 3]},p{i // 2}" for i in range(6)],
        [f"images/c{i}.png,{'pP'[i % 2]}{i // 2}" for i in range(6)],
        [f"images\\c{i},{i // 2}{'.0' * (i % 2)}" for i in range(6)],
        [f" c{i}_mask.png ,ward_{i // 2}" if i % 2 else f"c{i},Ward {i // 2}" for i in range(6)],
        [f"c{i}_0000.nii.gz,p{i // 2}" for i in range(6)],
    ],
    ids=["space", "no-break", "case", "suffix", "folder", "number", "mask", "channel"],
)
def test_rows_of_groups_find_their_images_and_their_patients(plain, rows):
    (plain / "groups.csv").write_text("image,group\n" + "\n".join(rows), encoding="utf-8")
    samples = listed_collection(str(plain)).samples
    groups = [sample.group for sample in samples]
    assert [groups.index(group) for group in groups] == [0, 0, 2, 2, 4, 4]


def test_rows_and_images_that_find_nothing_are_named(plain):
    rows = ["c0,p0", "c1,p0", "c2,", "z9,p1", "c4,p2"]
    (plain / "groups.csv").write_text("image,group\n" + "\n".join(rows))
    said = [f.sentence for f in of_kind(listed_collection(str(plain)), "groups")]
    assert said[0].startswith("error: groups: groups.csv: 1 row(s) name no image of the set: 'z9'")
    assert "2 image(s) have no row" in said[1]
    assert "(c3, c5)" in said[1]
    assert "1 image(s) have an empty group" in said[2]
    assert "(c2)" in said[2]


def test_one_image_in_two_groups_is_refused(plain):
    (plain / "groups.csv").write_text("image,group\nc0,p0\nc0.png,p1\n")
    with pytest.raises(DataError, match=r"groups\.csv: the image 'c0' is in two groups"):
        listed_collection(str(plain))


@pytest.mark.parametrize("column", ["patient", "Patient ID", "subject", "subject_id", "case"])
def test_a_column_of_patients_is_that_of_the_groups(plain, column):
    rows = [f"c{i},p{i // 2}" for i in range(6)]
    (plain / "groups.csv").write_text(f"image,{column}\n" + "\n".join(rows))
    opened = listed_collection(str(plain))
    assert [s.group for s in opened.samples] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert f"the column '{column}' says whose an image is" in of_kind(opened, "groups")[0].what


def test_a_table_of_paths_is_stripped_and_its_patients_and_sides_read(plain):
    rows = [
        f" images/c{i}.png ,masks/c{i}.png, p{i // 2} ,{('Train', 'validation', ' test')[i % 3]},x"
        for i in range(6)
    ]
    (plain / "t.csv").write_text("image, mask ,Subject,split,scanner\n" + "\n".join(rows))
    opened = listed_collection(str(plain / "t.csv"))
    assert [s.group for s in opened.samples] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert [s.side for s in opened.samples] == ["train", "val", "test"] * 2
    assert any("columns that are not used: scanner" in f.what for f in opened.noticed)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_spacing_in_a_table_is_above_zero(plain, value):
    (plain / "t.csv").write_text(
        f"image,mask,spacing_y,spacing_x\nimages/c0.png,masks/c0.png,1,{value}\n"
    )
    with pytest.raises(DataError, match="a spacing is a number of millimetres above zero"):
        listed_collection(str(plain / "t.csv"))


# What is left over (W04).


def test_every_file_that_is_not_used_is_named_with_its_reason(plain):
    (plain / "images" / "c1.png").unlink()
    (plain / "images" / "c1.png").symlink_to("../.git/annex/objects/c1.png")
    Image.new("L", (16, 16)).save(plain / "images" / "c2.webp")
    (plain / "images" / "c2.png").unlink()
    write_series(plain / "images" / "deep" / "series", np.zeros((3, 16, 16), np.uint16))
    (plain / "images" / "empty").mkdir()
    (plain / "images" / "README.txt").write_text("ours")
    (plain / "images" / "Thumbs.db").touch()
    left = of_kind(listed_collection(str(plain)), "not used")
    found = {f.images: (f.severity, f.what.split(": ", 1)[1]) for f in left}
    assert found == {
        ("images/c1.png",): (
            "warning", "a link to a file that is not here (git annex get, datalad get)"
        ),
        ("images/c2.webp",): ("warning", "the format .webp is not read (convert it)"),
        ("images/deep",): (
            "warning", "a folder whose DICOM files lie one folder deeper (move them up)"
        ),
        ("images/empty",): ("warning", "a folder without images"),
        ("images/README.txt",): ("note", "no image"),
        ("masks/c1.png", "masks/c2.png"): ("warning", "no image has its name"),
    }  # fmt: skip


@pytest.mark.parametrize("second", ["c0_mask_1", "c0_mask1", "c0_mask (2)", "c0_seg-2"])
def test_a_second_mask_of_an_image_is_refused(plain, second):
    for number in range(6):
        (plain / "masks" / f"c{number}.png").rename(plain / "masks" / f"c{number}_mask.png")
    mask(plain / "masks" / f"{second}.png", 9)
    with pytest.raises(DataError, match=r"are both masks of 'c0'; merge them into one"):
        listed_collection(str(plain))


def test_what_is_not_used_is_said_at_opening_once(plain, capfd):
    mask(plain / "masks" / "z.png")
    for _ in range(2):
        open_collection(str(plain))
    assert capfd.readouterr().err.count("masks/z.png") == 1


def test_new_images_that_are_not_read_are_named(plain):
    (plain / "images" / "c1.png").rename(plain / "images" / "c1.gif")
    found = images_in(plain / "images")
    (left,) = left_over(plain / "images", found)
    assert left.images == ("c1.gif",)


@pytest.fixture
def nnunet(tmp_path):
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    for case in ("patient001_frame01", "patient001_frame12", "patient002_frame01"):
        for part, name in (("imagesTr", f"{case}_0000"), ("labelsTr", case)):
            (tmp_path / part).mkdir(exist_ok=True)
            pixels = (np.arange(120).reshape(6, 5, 4) % 2).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / part / f"{name}.nii.gz")
    return tmp_path


def test_labels_and_images_of_nnunet_that_are_not_used_are_named(nnunet):
    (nnunet / "labelsTr" / "patient009.nii.gz").write_bytes(b"x")
    (nnunet / "imagesTr" / "patient010_0000.mgz").write_bytes(b"x")
    names = [name for f in of_kind(listed_collection(str(nnunet)), "not used") for name in f.images]
    assert names == ["imagesTr/patient010_0000.mgz", "labelsTr/patient009.nii.gz"]


# Whose they are (patients).


def test_names_that_look_like_one_patient_are_asked_about(nnunet):
    (asked,) = of_kind(listed_collection(str(nnunet)), "groups")
    assert asked.severity == "warning"
    assert (
        "as if 2 images were of 1 patients (patient001_frame01, patient001_frame12)" in asked.what
    )
    (nnunet / "groups.csv").write_text(
        "image,patient\npatient001_frame01,1\npatient001_frame12,1\npatient002_frame01,2\n"
    )
    assert [s.group for s in listed_collection(str(nnunet)).samples] == ["1", "1", "2"]


@pytest.mark.parametrize(
    "names",
    [["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"], ["001_L", "001_R", "002_L"],
     ["case_07_slice3", "case_07_slice4", "case_08_slice3"], ["p1-a", "p1-b", "p2-a"]],
)  # fmt: skip
def test_other_ways_of_naming_a_patient_are_asked_about(tmp_path, names):
    for name in names:
        picture(tmp_path / "images" / f"{name}.png")
        mask(tmp_path / "masks" / f"{name}.png")
    (asked,) = of_kind(listed_collection(str(tmp_path)), "groups")
    assert "2 images were of 1 patients" in asked.what
    kinds = [f.kind for f in check_collection(listed_collection(str(tmp_path))).findings]
    assert kinds.count("groups") == 1


def test_names_that_say_nothing_of_patients_are_not(plain):
    assert of_kind(listed_collection(str(plain)), "groups") == []


def dicom_set(folder: Path, patients: list[str]) -> Path:
    for number, patient in enumerate(patients):
        pixels = np.random.default_rng(number).integers(0, 4095, (16, 16)).astype(np.uint16)
        write_slice(folder / "images" / f"s{number}.dcm", pixels, (0, 0, 0), PatientID=patient)
        mask(folder / "masks" / f"s{number}.png")
    return folder


def test_files_of_one_patient_id_are_one_group(tmp_path):
    opened = listed_collection(str(dicom_set(tmp_path, ["P1", "P1 ", "P2", "p2", "P3"])))
    groups = [s.group for s in opened.samples]
    assert [groups.index(group) for group in groups] == [0, 0, 2, 2, 4]
    assert "5 images are of 3 patients, by the PatientID" in of_kind(opened, "groups")[-1].what


def test_groups_that_part_a_patient_id_are_an_error(tmp_path):
    dicom_set(tmp_path, ["P1", "P1", "P2", "P3"])
    (tmp_path / "groups.csv").write_text("image,group\ns0,a\ns1,b\ns2,c\ns3,c\n")
    (wrong,) = of_kind(listed_collection(str(tmp_path)), "groups")
    assert (wrong.severity, wrong.images) == ("error", ("s0", "s1"))


def test_one_patient_id_for_all_is_asked_about(tmp_path):
    opened = listed_collection(str(dicom_set(tmp_path, ["ANON"] * 4)))
    (asked,) = of_kind(opened, "groups")
    assert "all files have one PatientID ('ANON')" in asked.what
    assert len({s.group for s in opened.samples}) == 4


# Names on disk (A8, A10, A11).


def test_a_name_may_be_composed_or_decomposed(tmp_path):
    name = "é1"
    picture(tmp_path / "images" / (unicodedata.normalize("NFC", name) + ".png"))
    mask(tmp_path / "masks" / (unicodedata.normalize("NFD", name) + "_mask.png"))
    (tmp_path / "groups.csv").write_text(
        f"image,group\n{unicodedata.normalize('NFD', name)},p\n", encoding="utf-8"
    )
    (sample,) = listed_collection(str(tmp_path)).samples
    assert sample.group == "p"
    (tmp_path / "t.csv").write_text(
        f"image,mask\nimages/{unicodedata.normalize('NFD', name)}.png,"
        f"masks/{unicodedata.normalize('NFC', name)}_mask.png\n",
        encoding="utf-8",
    )
    assert len(listed_collection(str(tmp_path / "t.csv")).samples) == 1


def test_a_byte_order_mark_in_dataset_json_is_read(plain):
    (plain / "dataset.json").write_text('{"modality": "mr"}', encoding="utf-8-sig")
    assert listed_collection(str(plain)).samples[0].modality == "mr"


def test_a_decathlon_folder_may_be_linked(tmp_path):
    real = tmp_path / "store"
    for part in ("imagesTr", "labelsTr"):
        (real / part).mkdir(parents=True)
        volume = nibabel.Nifti1Image((np.arange(120).reshape(6, 5, 4) % 2).astype("u1"), np.eye(4))
        nibabel.save(volume, real / part / "p0.nii.gz")
    task = tmp_path / "Task01"
    task.mkdir()
    for part in ("imagesTr", "labelsTr"):
        (task / part).symlink_to(real / part)
    entry = {"image": "./imagesTr/p0.nii.gz", "label": "./labelsTr/p0.nii.gz"}
    described = {"labels": {"0": "background", "1": "a"}, "modality": {"0": "CT"}}
    (task / "dataset.json").write_text(json.dumps({**described, "training": [entry]}))
    assert len(listed_collection(str(task)).samples) == 1
    entry["image"] = "../store/imagesTr/p0.nii.gz"
    (task / "dataset.json").write_text(json.dumps({**described, "training": [entry]}))
    with pytest.raises(DataError, match="lies outside the folder"):
        listed_collection(str(task))
