"""Files of other people, second round: what a file states is told, in our words, with its name."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import write_series
from PIL import Image

from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import listed_collection, open_collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.formats import read_image
from llm4seg_probe.data.mask_files import write_mask
from llm4seg_probe.data.quality import check_data, split_data
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import DataError
from llm4seg_probe.training.predict import images_in


def found(folder: Path, kind: str) -> list[Finding]:
    return [f for f in check_collection(listed_collection(str(folder))).findings if f.kind == kind]


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def square() -> np.ndarray:
    pixels = np.zeros((16, 16), np.uint8)
    pixels[3:9, 3:9] = 255
    return pixels


# Names that are no text (B1).


@pytest.fixture
def oddly_named(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(6):
        save(tmp_path / "images" / f"c{number}.png", draw.integers(0, 255, (16, 16), np.uint8))
        save(tmp_path / "masks" / f"c{number}.png", square())
    for part in ("images", "masks"):
        place = os.fsencode(tmp_path / part)
        os.rename(place + b"/c0.png", place + b"/c\xff0.png")  # noqa: PTH104  (bytes)
    return tmp_path


def test_names_that_are_no_utf8_are_an_error_of_check(oddly_named, tmp_path_factory):
    for split in (None, "groups"):
        result = check_data(str(oddly_named), split=split)
        (named,) = [finding for finding in result.findings if finding.kind == "names"]
        assert (named.severity, named.images) == ("error", ("c?0.png",))
        assert "1 file has a name not in UTF-8" in named.what
        assert "Rename them" in named.advice
        assert all(finding.sentence.encode() for finding in result.findings)
    assert result.save_sheets(tmp_path_factory.mktemp("sheets"))


def test_names_that_are_no_utf8_are_refused_in_one_line(oddly_named):
    told = r"1 file has a name not in UTF-8 \(c\?0\.png\)\. Rename them"
    for refuse in (open_collection, split_data):
        with pytest.raises(DataError, match=told):
            refuse(str(oddly_named))
    with pytest.raises(DataError, match=r"c\?0\.png: its name is not in UTF-8.*rename it"):
        images_in(oddly_named)
    with pytest.raises(DataError, match="the image 'c\\?0' is not in UTF-8"):
        _ = listed_collection(str(oddly_named)).fingerprint


# What DICOM states (C9, D17).


def dicom_set(folder: Path, stated: str, **tags: object) -> Path:
    draw = np.random.default_rng(0)
    for number in range(2):
        write_series(folder / "images" / f"p{number}", draw.integers(0, 4000, (3, 16, 16)), **tags)
        labels = np.zeros((16, 16, 3), np.uint8)
        labels[3:9, 3:9] = 1
        (folder / "masks").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), folder / "masks" / f"p{number}.nii.gz")
    (folder / "dataset.json").write_text(f'{{"modality": "{stated}"}}')
    return folder


@pytest.mark.parametrize(
    ("own", "stated", "severity"),
    [
        ("MR", "ct", "error"), ("PT", "ct", "error"), ("US", "ct", "error"),
        ("CT", "mr", "warning"), ("MR", "photo", "warning"), ("PT", "mr", None),
        ("CT", "ct", None), ("MR", "mr", None), ("OT", "ct", None), ("", "ct", None),
    ],
)  # fmt: skip
def test_a_modality_that_contradicts_the_file_is_told(tmp_path, own, stated, severity):
    told = found(dicom_set(tmp_path, stated, Modality=own), "modality")
    if severity is None:
        assert told == []
        return
    (finding,) = told
    assert (finding.severity, finding.images) == (severity, ("p0", "p1"))
    assert finding.what == f"the file says Modality {own}, the data set says {stated}"
    assert ("cut by CT's window" in finding.advice) == (severity == "error")


def test_missing_spacing_of_a_series_is_not_known_and_told(tmp_path):
    folder = dicom_set(tmp_path, "ct", PixelSpacing=None)
    (told,) = found(folder, "header")
    assert "its PixelSpacing is missing or empty: it is not known" in told.what
    assert read_image(folder / "images" / "p0", None, "ct")[1] is None


def test_spacing_at_the_detector_is_taken_and_told(tmp_path):
    folder = dicom_set(tmp_path, "ct", PixelSpacing=None, ImagerPixelSpacing=[0.5, 0.25])
    (told,) = found(folder, "header")
    assert "ImagerPixelSpacing, at the detector, is taken" in told.what
    assert read_image(folder / "images" / "p0", None, "ct")[1] == pytest.approx((3.0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"ImagePositionPatient": None}, "its ImagePositionPatient is missing or empty"),
        ({"ImageOrientationPatient": None}, "its ImageOrientationPatient is missing or empty"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "its ImageOrientationPatient is not 6 numbers"),
    ],
)
def test_a_slice_without_a_place_is_named_with_the_remedy(tmp_path, tags, why):
    folder = dicom_set(tmp_path, "ct")
    write_series(folder / "images" / "p0", np.zeros((3, 16, 16)), **tags)
    with pytest.raises(DataError) as error:
        read_image(folder / "images" / "p0", None, "ct")
    text = str(error.value)
    assert "p0/0.dcm does not say where it lies" in text
    assert why in text
    assert text.endswith("export it again, or convert it to NIfTI")
    assert "object" not in text


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "the file is empty"), (b"GIF89a" * 40, "is no DICOM file, whatever its name")],
)
def test_what_is_no_dicom_is_told_in_our_words(tmp_path, content, why):
    folder = dicom_set(tmp_path, "ct")
    (folder / "images" / "p0" / "0.dcm").write_bytes(content)
    (told,) = found(folder, "unreadable")
    assert "0.dcm: " in told.what
    assert why in told.what
    assert "fetch or export it again, or take it out" in told.what
    assert "force" not in told.what


# Transparency (C13).


@pytest.mark.parametrize("part", ["images", "masks"])
def test_transparency_is_told(tmp_path, part):
    draw = np.random.default_rng(0)
    for number in range(2):
        for kind, grey in (
            ("images", draw.integers(0, 255, (16, 16), np.uint8)),
            ("masks", square()),
        ):
            alpha = np.full((16, 16), 255, np.uint8)
            if kind == part and number:
                alpha[:4] = 9
            save(tmp_path / kind / f"c{number}.png", np.stack([grey] * 3 + [alpha], axis=-1))
    (told,) = found(tmp_path, "transparency")
    assert (told.severity, told.images) == ("warning", ("c1",))
    assert told.what == f"25% of the pixels of the {part[:-1]} are not opaque; that is left out"


def test_a_transparent_colour_of_a_palette_is_told_and_an_opaque_picture_is_not(tmp_path):
    pixels = np.tile(np.arange(16, dtype=np.uint8), (16, 1))
    for number in range(2):
        picture = Image.fromarray(pixels).convert("P")
        path = tmp_path / "images" / f"c{number}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path, **({"transparency": 0} if number else {}))
        save(tmp_path / "masks" / f"c{number}.png", square())
    (told,) = found(tmp_path, "transparency")
    assert told.images == ("c1",)
    assert told.what.startswith("6% of the pixels of the image are not opaque")


# Volumes: labels below 0 (D18), NIfTI-2 (D19).


def volumes(folder: Path, labels: list[int], kind: type = nibabel.Nifti1Image) -> Collection:
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(2):
        pixels = np.zeros((8, 8, 8), np.int16)
        for place, label in enumerate(labels):
            pixels[2 * place : 2 * place + 2] = label
        scan = draw.integers(-900, 900, (8, 8, 8)).astype(np.int16)
        nibabel.save(
            kind(scan, np.diag([1.0, 2.0, 3.0, 1.0])), folder / "images" / f"p{number}.nii"
        )
        nibabel.save(
            kind(pixels, np.diag([1.0, 2.0, 3.0, 1.0])), folder / "masks" / f"p{number}.nii"
        )
    (folder / "dataset.json").write_text('{"modality": "ct"}')
    return listed_collection(str(folder))


@pytest.mark.parametrize("labels", [[-1], [-1, 1]])
def test_labels_below_0_are_named(tmp_path, labels):
    volumes(tmp_path, labels)
    (told,) = found(tmp_path, "mask values")
    assert told.what == "masks hold labels below 0, which are taken as background: -1"
    assert told.images == ("p0", "p1")
    assert "several labels" not in told.what


def test_labels_below_0_beside_several_above_are_both_named(tmp_path):
    volumes(tmp_path, [-1, 1, 2])
    told = [finding.what for finding in found(tmp_path, "mask values")]
    assert told == [
        "masks hold labels below 0, which are taken as background: -1",
        "masks hold several labels, all taken as one class: 1, 2",
    ]


def test_nifti_2_is_read_as_nifti_1_and_without_a_word_of_the_library(tmp_path, capfd):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = volumes(tmp_path / "one", [0, 1])
    second = volumes(tmp_path / "two", [0, 1], nibabel.Nifti2Image)
    assert nibabel.load(second.samples[0].image_file).header["sizeof_hdr"] == 540
    for one, two in zip(first.samples, second.samples, strict=True):
        here, there = first.read(one), second.read(two)
        assert here.spacing == there.spacing == (3.0, 2.0, 1.0)
        assert (here.image == there.image).all()
        assert (here.mask == there.mask).all()
    assert check_collection(second).errors == 0
    image = second.samples[0].image_file
    write_mask(np.ones((8, 8, 8), np.uint8), image, tmp_path / "out.nii")
    assert nibabel.load(tmp_path / "out.nii").header["sizeof_hdr"] == 540
    assert "sizeof_hdr" not in "".join(capfd.readouterr())


# Masks that are there, in a format that is not read, or not there yet.


def pairs(folder: Path, ending: str, content: bytes) -> Path:
    for number in range(3):
        save(folder / "images" / f"a{number}.png", np.full((16, 16), 40 * number + 9, np.uint8))
        (folder / "masks").mkdir(exist_ok=True)
        (folder / "masks" / f"a{number}{ending}").write_bytes(content)
    return folder


@pytest.mark.parametrize("ending", [".gif", ".webp", ".npz", "_mask.svg"])
def test_masks_in_a_format_that_is_not_read_are_named(tmp_path: Path, ending: str) -> None:
    pairs(tmp_path, ending, b"GIF89a")
    told = f"has no mask in .*a0{ending} is in a format that is not read here; convert it to PNG"
    with pytest.raises(DataError, match=told):
        open_collection(str(tmp_path))


def test_images_in_formats_that_are_not_read_are_counted(tmp_path: Path) -> None:
    for side in ("images", "masks"):
        (tmp_path / side).mkdir()
        for name in ("a.hdr", "a.img", "b.hdr", "b.img"):
            (tmp_path / side / name).write_bytes(bytes(348))
    told = r"images: no images .*; its files end in other ways \(2 \.hdr, 2 \.img\): convert them"
    with pytest.raises(DataError, match=told):
        open_collection(str(tmp_path))


def test_masks_as_3d_slicer_calls_them(tmp_path: Path) -> None:
    header = b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 16 16\nencoding: raw\n\n"
    pairs(tmp_path, ".seg.nrrd", header + square().T.tobytes())
    samples = open_collection(str(tmp_path)).samples
    assert [sample.mask_files[0].name for sample in samples] == [
        "a0.seg.nrrd", "a1.seg.nrrd", "a2.seg.nrrd",
    ]  # fmt: skip


def test_a_pointer_of_git_lfs_says_how_to_get_the_file(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    pairs(tmp_path, ".png", pointer)
    unreadable = found(tmp_path, "unreadable")
    assert len(unreadable) == 3
    for finding in unreadable:
        assert "holds a pointer of Git LFS and not the file itself; git lfs pull" in finding.what


@pytest.mark.parametrize(
    ("stated", "severity", "told"),
    [("", "warning", "State mr"), ("ct", "error", "ct is stated"), ("mr", None, "")],
)
def test_a_ct_beside_a_pet(tmp_path: Path, stated: str, severity: str | None, told: str) -> None:
    folder = tmp_path / "Dataset501_PETCT"
    for place, names in (("imagesTr", ("_0000", "_0001")), ("labelsTr", ("",))):
        (folder / place).mkdir(parents=True)
        for name in names:
            pixels = np.zeros((8, 8, 4), np.int16 if name else np.uint8)
            pixels[2:5, 2:5] = 1
            image = nibabel.Nifti1Image(pixels, np.eye(4))
            nibabel.save(image, folder / place / f"p1{name}.nii.gz")
    modality = f'"modality": "{stated}", ' if stated else ""
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "CT", "1": "PET"}, ' + modality + '"labels": {"background": 0, '
        '"lesion": 1}, "numTraining": 1, "file_ending": ".nii.gz"}'
    )
    noticed = [each for each in open_collection(str(folder)).noticed if each.kind == "modality"]
    assert [each.severity for each in noticed] == ([severity] if severity else [])
    assert all(told in f"{each.what} {each.advice}" for each in noticed)
    assert all("the channels are CT, PET" in each.what for each in noticed)


# Pixels in files of their own, masks of several images, spacings beside TIFF.


def test_the_pixels_of_a_header_are_used(tmp_path: Path) -> None:
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
        for number in range(2):
            pixels = square() // 255 * (number + 1 if place == "images" else 1)
            (tmp_path / place / f"c{number}.raw").write_bytes(pixels.tobytes())
            (tmp_path / place / f"c{number}.mhd").write_text(
                "ObjectType = Image\nNDims = 2\nDimSize = 16 16\nElementSpacing = 1 1\n"
                f"ElementType = MET_UCHAR\nElementDataFile = c{number}.raw\n"
            )
    assert not found(tmp_path, "not used")


def test_two_images_of_one_mask_file(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "x" / f"i{number}.png", np.full((16, 16), 40 * number + 9, np.uint8))
    save(tmp_path / "y" / "m1.png", square())
    table = tmp_path / "samples.csv"
    table.write_text("image,mask\nx/i0.png,y/m1.png\nx/i1.png,y/m1.png\n")
    collection = listed_collection(str(table))
    told = [f for f in check_collection(collection).findings if "several images" in f.what]
    assert [(f.severity, f.images) for f in told] == [("warning", ("i0", "i1"))]


def test_one_mask_copied_for_every_image(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"a{number}.png", np.full((16, 16), 40 * number, np.uint8))
        save(tmp_path / "masks" / f"a{number}.png", square())
    assert any(
        "the masks of all 3 images are equal" in f.what for f in found(tmp_path, "mask values")
    )


def test_two_labels_of_one_value(tmp_path: Path) -> None:
    for place in ("imagesTr", "labelsTr"):
        (tmp_path / place).mkdir()
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 10, "tumour": 10}}'
    )
    with pytest.raises(DataError, match="the labels 'liver' and 'tumour' have one value, 10"):
        open_collection(str(tmp_path))


def test_the_spacing_that_nnunet_keeps_beside_a_tiff(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr" / "c0_0000.tif", square())
    save(tmp_path / "labelsTr" / "c0.tif", square() // 255)
    for place in ("imagesTr", "labelsTr"):
        (tmp_path / place / "c0.json").write_text('{"spacing": [0.5, 0.5]}')
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "zscore"}, "labels": {"background": 0, "cell": 1}, '
        '"numTraining": 1, "file_ending": ".tif"}'
    )
    noticed = open_collection(str(tmp_path)).noticed
    assert any("beside TIFF images is not read" in finding.what for finding in noticed)
    assert not any("c0.json" in " ".join(finding.images) for finding in noticed)


def test_splits_of_nnunet_are_told_from_ours(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text('[{"train": ["a"], "val": ["b"]}]')
    with pytest.raises(DataError, match="nnU-Net's splits hold folds of another kind"):
        Split.load(path)
    path.write_text('{"train": ["a"]}')
    with pytest.raises(DataError, match="it has no name"):
        Split.load(path)
