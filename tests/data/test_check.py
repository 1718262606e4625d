import dataclasses
import json
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.checks import Checked, check_collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.findings import Finding, findings_table, merged
from llm4seg_probe.data.phantoms import phantom
from llm4seg_probe.data.places import affine_of, orientation_of
from llm4seg_probe.data.splits import Split, split_of, unchecked_split
from llm4seg_probe.tables import CHECK, conform

SHAPE = (48, 64)


def write(folder: Path, name: str, image: np.ndarray | None, mask: np.ndarray | None) -> None:
    for part, pixels in (("images", image), ("masks", mask)):
        if pixels is not None:
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"{name}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve different grey images of six patients, two each, with masks of 0 and 255."""
    folder = tmp_path / "photos"
    rows = ["image,group"]
    for i in range(12):
        image, mask = phantom("texture", i, size=SHAPE)
        grey = np.clip(100 + 20 * image, 0, 255).astype(np.uint8)
        write(folder, f"p{i:02d}", grey, mask.astype(np.uint8) * 255)
        rows.append(f"p{i:02d},patient{i // 2}")
    (folder / "groups.csv").write_text("\n".join(rows))
    return folder


def checked(folder: Path, *classes: str, split: Split | None = None) -> Checked:
    return check_collection(open_collection(str(folder), classes=classes or ("foreground",)), split)


def found(result: Checked, kind: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.kind == kind]


def test_nothing_is_found_where_nothing_is_wrong(photos):
    split = split_of(open_collection(str(photos)), DataConfig(split="groups"))
    result = checked(photos, split=split)
    assert result.findings == []
    assert result.errors == 0
    assert result.clusters == ()
    assert len(result.readable) == 12


def test_every_bad_file_is_listed_and_the_good_ones_are_read(photos):
    grey = np.zeros(SHAPE, np.uint8)
    (photos / "images" / "p00.png").write_bytes(b"")
    (photos / "images" / "p01.png").write_bytes(b"no picture")
    (photos / "masks" / "p01.png").write_bytes(b"")
    write(photos, "p02", None, np.zeros((24, 32), np.uint8))
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    write(photos, "p03", None, colours)
    write(photos, "p04", None, grey + 7)
    result = checked(photos)
    assert result.readable == tuple(f"p{i:02d}" for i in range(5, 12))
    assert [(f.images, f.what.split(": ", 1)[1][:24]) for f in found(result, "unreadable")] == [
        (("p00",), "the file is empty"),
        (("p01",), "not readable (cannot ide"),
        (("p01",), "the file is empty"),
    ]
    (size,) = found(result, "size")
    assert size.images == ("p02",)
    assert "masks/p02.png: the mask is 24 x 32, its image p02.png is 48 x 64" in size.what
    colour, label = found(result, "mask values")
    assert "p03.png: a mask has one channel; this one has 3 that differ" in colour.what
    assert "p04.png: a mask of one class holds 0 and 1, or 0 and 255" in label.what
    assert result.errors == len(result.findings) == 6


def test_odd_images_and_masks_are_warned_about_together(photos):
    grey = np.zeros(SHAPE, np.uint8)
    for name in ("p01", "p05"):
        write(photos, name, None, grey)
    write(photos, "p02", None, grey + 255)
    write(photos, "p03", grey + 80, None)
    rows, columns = np.mgrid[:48, :64]
    distance = np.hypot(rows - 24, columns - 32)
    soft = (255 / (1 + np.exp(distance - 12))).astype(np.uint8)
    write(photos, "p04", None, soft)
    result = checked(photos)
    assert result.errors == 0
    assert {f.kind: f.images for f in result.findings} == {
        "empty mask": ("p01", "p05"),
        "full mask": ("p02",),
        "constant image": ("p03",),
        "mask values": ("p04",),
    }
    assert "grey levels between nothing and foreground" in found(result, "mask values")[0].what


def test_a_mask_of_fractions_is_warned_about_and_the_rest_is_read(photos):
    soft = np.zeros(SHAPE, np.float32)
    soft[5:20, 5:20] = 200.5
    Image.fromarray(soft).save(photos / "masks" / "p02.tif")
    (photos / "masks" / "p02.png").unlink()
    result = checked(photos)
    (values,) = result.findings
    assert (values.severity, values.kind, values.images) == ("warning", "mask values", ("p02",))
    assert "p02.tif: a mask holds whole numbers, this one has 200.5" in values.what
    assert len(result.readable) == 12


def test_images_without_groups_are_patients_of_their_own(photos):
    (photos / "groups.csv").unlink()
    (groups,) = checked(photos).findings
    assert (groups.severity, groups.kind, groups.images) == ("warning", "groups", ())


def test_a_set_without_foreground_or_without_a_class_is_wrong(photos):
    for path in (photos / "masks").iterdir():
        with Image.open(path) as mask:
            Image.fromarray(np.asarray(mask) // 255).save(path)
    result = checked(photos, "lesion", "cyst")
    assert [f.what for f in found(result, "classes")] == ["no mask holds the class 'cyst'"]
    for path in (photos / "masks").iterdir():
        Image.new("L", SHAPE[::-1]).save(path)
    assert checked(photos).errors == 1
    for path in (photos / "images").iterdir():
        path.write_bytes(b"")
    assert found(checked(photos), "classes")[0].what == "no image could be read"


def test_labels_that_nobody_named_are_reported(tmp_path):
    folder = tmp_path / "labelled"
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:20, 5:20], mask[30:40, 30:40] = 1, 2
    write(
        folder,
        "a",
        np.clip(phantom("shape", 0, size=SHAPE)[0] * 20 + 90, 0, 255).astype("u1"),
        mask,
    )
    (folder / "samples.csv").write_text(
        "image,image_file,mask_file,modality\na,images/a.png,masks/a.png,photo\n"
    )
    named = {"low": 1, "high": 3}
    (folder / "dataset.json").write_text(json.dumps({"name": "labelled", "classes": named}))
    (values,) = found(checked(folder, "low"), "mask values")
    assert values.what == "masks hold labels that dataset.json does not name: 2"
    assert values.severity == "warning"


def volume(
    folder: Path, name: str, affine: np.ndarray, mask_affine: np.ndarray, labels: int
) -> None:
    image, mask = phantom("shape", int(name), size=(32, 32, 32))
    for part, pixels, place in (
        ("images", image.astype(np.float32), affine),
        ("masks", mask.astype(np.uint8), mask_affine),
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
        if part == "masks":
            pixels[0, 0, :labels] = np.arange(1, labels + 1)
        nibabel.save(nibabel.Nifti1Image(pixels, place), folder / part / f"{name}.nii.gz")


def test_grids_that_differ_are_reported(tmp_path):
    folder = tmp_path / "volumes"
    ras, las = np.eye(4), np.diag([-1.0, 1, 1, 1])
    moved, coarse = np.eye(4), np.diag([1.0, 1, 3, 1])
    moved[:3, 3] = 5
    for name, image, mask, labels in [
        ("0", ras, ras, 1), ("1", ras, ras, 3), ("2", las, las, 1), ("3", ras, las, 1),
        ("4", ras, moved, 1), ("5", coarse, coarse, 1),
    ]:  # fmt: skip
        volume(folder, name, image, mask, labels)
    result = checked(folder)
    turned, shifted, mixed = found(result, "orientation")
    assert (turned.severity, turned.images) == ("error", ("3",))
    assert "masks/3.nii.gz: its axes run LAS, those of its image RAS" in turned.what
    assert (shifted.severity, shifted.images) == ("warning", ("4",))
    assert "lies elsewhere in space than its image (up to 5 mm)" in shifted.what
    assert mixed.what == "axes of the files run differently: RAS (5), LAS (1)"
    (spacing,) = found(result, "spacing")
    assert spacing.what == "spacings in mm differ: 1 x 1 x 1 (5), 3 x 1 x 1 (1)"
    (values,) = found(result, "mask values")
    assert values.what == "masks hold several labels, all taken as one class: 1, 2, 3"
    assert values.images == ("1",)
    (modality,) = found(result, "modality")
    assert (modality.severity, len(modality.images)) == ("error", 6)


def test_places_in_space_are_read_from_every_format_that_has_them(tmp_path):
    pixels, place = np.zeros((4, 5, 6), np.uint8), np.diag([2.0, 2, 3, 1])
    nibabel.save(nibabel.Nifti1Image(pixels, place), tmp_path / "a.nii")
    header = {"space": "right-anterior-superior", "space directions": place[:3, :3]}
    nrrd.write(str(tmp_path / "a.nrrd"), pixels, header)
    (tmp_path / "a.raw").write_bytes(pixels.tobytes(order="F"))
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "CompressedData = False\nTransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = 0 0 0\n"
        "ElementSpacing = 2 2 3\nDimSize = 4 5 6\nElementType = MET_UCHAR\n"
        "ElementDataFile = a.raw\n"
    )
    for name in ("a.nii", "a.nrrd", "a.mhd"):
        np.testing.assert_allclose(affine_of(tmp_path / name), place, err_msg=name)
        assert orientation_of(tmp_path / name) == "RAS"
    write(tmp_path, "flat", np.zeros(SHAPE, np.uint8), None)
    assert affine_of(tmp_path / "images" / "flat.png") is None
    assert orientation_of(tmp_path / "images" / "flat.png") == ""


def test_images_and_volumes_do_not_mix(tmp_path):
    write(tmp_path / "mixed", "flat", np.eye(32, dtype=np.uint8) * 200, np.eye(32, dtype=np.uint8))
    volume(tmp_path / "mixed", "0", np.eye(4), np.eye(4), 1)
    (axes,) = found(checked(tmp_path / "mixed"), "axes")
    assert axes.what == "images and volumes are mixed: 3D (1), 2D (1)"


def sides(photos: Path, within_case: bool = False, **images: tuple[int, ...]) -> Split:
    collection = open_collection(str(photos))
    split = split_of(collection, DataConfig(split="groups"))
    chosen = {side: tuple(f"p{i:02d}" for i in those) for side, those in images.items()}
    return dataclasses.replace(split, name="mine", within_case=within_case, **chosen)


def test_channels_are_one_number_or_grey_and_colour(tmp_path):
    rows = ["image,modality,image_file,mask_file"]
    for i in range(4):
        image, mask = phantom("texture", i, size=SHAPE)
        grey = np.clip(100 + 20 * image, 0, 255).astype(np.uint8)
        write(tmp_path, f"p{i}", grey, mask.astype(np.uint8) * 255)
        rows.append(f"p{i},mr,images/p{i}.png;images/p{i}.png,masks/p{i}.png")
    (tmp_path / "samples.csv").write_text("\n".join(rows))
    (two,) = found(checked(tmp_path), "channels")
    assert two.severity == "warning"
    assert two.sentence == ("warning: channels: images have 2 channels. Train with data.channels=2")
    rows[1] = "p0,mr,images/p0.png,masks/p0.png"
    (tmp_path / "samples.csv").write_text("\n".join(rows))
    (one,) = found(checked(tmp_path), "channels")
    assert (one.severity, one.images) == ("error", ("p0",))
    assert one.what == "the image has 1 channel, most have 2"


def test_grey_and_colour_pictures_mix_and_16_bits_are_named(photos):
    grey = np.asarray(Image.open(photos / "images" / "p00.png"))
    write(photos, "p01", np.dstack([grey[::-1]] * 3), None)
    write(photos, "p02", grey[:, ::-1].astype(np.uint16) * 16, None)
    result = checked(photos)
    assert result.errors == 0
    assert found(result, "channels") == []
    (deep,) = found(result, "16 bits")
    assert deep.images == ("p02",)
    assert f"p02.png: has 16 bits, up to {int(grey.max()) * 16} of 65535" in deep.what


def test_every_leak_between_sides_is_listed(photos):
    parts = {"train": (0, 1, 2, 4, 6), "val": (5, 8, 9), "test": (0, 3, 10, 11)}
    leaks = found(checked(photos, split=sides(photos, **parts)), "leak")
    assert [f.images for f in leaks] == [("p04", "p05"), ("p00",), ("p00", "p01"), ("p02", "p03")]
    assert all(f.severity == "error" for f in leaks)
    assert "group 'patient1' is in train and in test, which would leak" in leaks[3].what
    # Declared, the same patients may be on both sides; the same image never.
    declared = checked(photos, split=sides(photos, within_case=True, **parts))
    assert [f.images for f in found(declared, "leak")] == [("p00",)]
    assert "The same people are in training and test" in found(declared, "split")[0].what


@pytest.mark.parametrize(
    ("test", "within_case", "severity", "where"),
    [
        ((8, 9), False, "error", "in train and test"),
        ((8, 9), True, "warning", "in train and test"),
        ((10, 11), False, "warning", "all in train"),
    ],
)
def test_near_duplicates_are_wrong_across_sides(photos, test, within_case, severity, where):
    with Image.open(photos / "images" / "p00.png") as image:
        image.resize((128, 96)).save(photos / "images" / "p08.png")
    with Image.open(photos / "masks" / "p00.png") as mask:
        mask.resize((128, 96), Image.Resampling.NEAREST).save(photos / "masks" / "p08.png")
    left = tuple(i for i in range(12) if i not in (2, 3, *test))
    split = sides(photos, within_case, train=left, val=(2, 3), test=test)
    (alone,) = checked(photos).findings
    assert (alone.severity, alone.images) == ("warning", ("p00", "p08"))
    result = checked(photos, split=split)
    (twins,) = found(result, "duplicates")
    assert (twins.severity, twins.images) == (severity, ("p00", "p08"))
    assert twins.what.startswith(f"cluster 1, 2 nearly equal images of different groups, {where}")
    assert result.clusters == (("p00", "p08"),)
    assert result.errors == (severity == "error")


def test_two_images_of_one_patient_may_be_alike(photos):
    (photos / "images" / "p01.png").write_bytes((photos / "images" / "p00.png").read_bytes())
    assert checked(photos).findings == []


def test_validation_that_is_test_is_one_side(photos):
    (photos / "images" / "p08.png").write_bytes((photos / "images" / "p00.png").read_bytes())
    split = dataclasses.replace(
        sides(photos, train=(2, 3, 4, 5, 6, 7), val=(0, 1, 8, 9), test=(0, 1, 8, 9)),
        validation_is_test=True,
    )
    result = checked(photos, split=split)
    (twins,) = found(result, "duplicates")
    assert (twins.severity, twins.advice) == ("warning", "They count more than once")
    assert "all in test" in twins.what
    assert found(result, "leak") == []
    assert found(result, "split")[0].what == (
        "Validation is test: the reported images also chose the epoch"
    )


def test_a_side_without_foreground_is_reported(photos):
    for i in (0, 1, 2, 3, 8, 9):
        write(photos, f"p{i:02d}", None, np.zeros(SHAPE, np.uint8))
    for train, val, severity in [((0, 1, 2, 3), (4, 5), "error"), ((4, 5), (0, 1), "warning")]:
        result = checked(photos, split=sides(photos, train=train, val=val, test=(10, 11)))
        (empty,) = found(result, "split")
        side = "train" if severity == "error" else "val"
        assert (empty.severity, empty.what) == (
            severity,
            f"no mask in {side} holds the class 'foreground'",
        )


def test_a_split_with_missing_images_lists_them(photos):
    split = sides(photos, train=(0, 1, 77), val=(4, 5), test=())
    missing, empty = found(checked(photos, split=split), "split")
    assert missing.images == ("p77",)
    assert "no images in test (train 3, val 2, test 0)" in empty.what


def test_a_split_is_read_whatever_is_wrong_with_it(photos, tmp_path):
    wrong = sides(photos, train=(0, 1), val=(0, 1), test=(4,))
    wrong.save(tmp_path / "wrong.json")
    config = DataConfig(split=str(tmp_path / "wrong.json"))
    assert unchecked_split(open_collection(str(photos)), config) == wrong


def test_findings_that_say_the_same_are_one_row_errors_first():
    a = Finding("warning", "empty mask", ("x",), "the mask is empty", "Keep it")
    b = Finding("error", "size", ("y",), "too small", "Mend it")
    rows = merged([a, b, dataclasses.replace(a, images=("z", "x"))])
    assert [(row.severity, row.images) for row in rows] == [
        ("error", ("y",)),
        ("warning", ("x", "z")),
    ]
    table = conform(findings_table(rows), CHECK)
    assert list(table["images"]) == ["y", "x; z"]
    many = dataclasses.replace(a, images=tuple("abcdef"))
    assert many.sentence == "warning: empty mask: the mask is empty (a, b, c and 3 more). Keep it"
    assert conform(findings_table([]), CHECK).empty
