"""Images with labels instead of masks: tables, folders of classes, files of MedMNIST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.batches import ImageDataset, batches
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import DataError

THREE = ("cat", "dog", "eel")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def table(folder: Path, rows: list[str]) -> Path:
    for number in range(40):
        picture(folder / "pictures" / f"c{number}.png", number)
    path = folder / "labels.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def arrays(count: int = 6, classes: int = 3, shape: tuple[int, ...] = (8, 8)) -> dict:
    draw = np.random.default_rng(0)
    found = {}
    for side in ("train", "val", "test"):
        found[f"{side}_images"] = draw.integers(0, 255, (count, *shape), dtype=np.uint8)
        found[f"{side}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    return found


def npz(folder: Path, found: dict) -> Path:
    np.savez_compressed(folder / "some.npz", **found)
    return folder / "some.npz"


def test_a_column_of_names(tmp_path):
    rows = [f"pictures/c{n}.png,{THREE[n % 3].upper()},p{n // 2}" for n in range(12)]
    path = table(tmp_path, ["image,label,patient", *rows])
    found = listed_collection(str(path), classes=THREE)
    assert found.of_labels
    assert len(found.samples) == 12
    assert found.sample("c4").labels == (False, True, False)
    assert found.sample("c4").group == found.sample("c5").group == "p2"
    raw = found.read(found.sample("c4"))
    assert raw.image.shape == (1, 16, 16)
    assert raw.mask.shape == (3, 1, 1)
    assert raw.mask[1, 0, 0]
    assert raw.mask.sum() == 1


def test_one_class_and_its_absence(tmp_path):
    rows = [f"pictures/c{n}.png,{'ill' if n % 3 else 'well'}" for n in range(6)]
    found = listed_collection(str(table(tmp_path, ["image,label", *rows])), classes=("ill",))
    assert [sample.labels for sample in found.samples][:2] == [(False,), (True,)]
    assert any("'well' is taken for images without ill" in one.what for one in found.noticed)
    plain = table(tmp_path, ["image,label", "pictures/c0.png,0", "pictures/c1.png,1"])
    assert [s.labels for s in listed_collection(str(plain)).samples] == [(False,), (True,)]


def test_a_column_for_each_class_of_images_with_several(tmp_path):
    rows = ["pictures/c0.png,1,yes,train", "pictures/c1.png,0,no,val", "pictures/c2.png,1,0,test"]
    path = table(tmp_path, ["image,cat,dog,split", *rows])
    found = listed_collection(str(path), classes=("dog", "cat"))
    assert [s.labels for s in found.samples] == [(True, True), (False, False), (False, True)]
    assert [s.side for s in found.samples] == ["train", "val", "test"]


@pytest.mark.parametrize("sides", [False, True])
def test_a_folder_for_each_class(tmp_path, sides):
    for number in range(12):
        above = ("train", "val", "Test")[number % 3] if sides else "."
        picture(tmp_path / above / ("sick", "healthy")[number % 2] / f"a{number}.png", number)
    (tmp_path / "groups.csv").write_text(
        "image,group\n" + "".join(f"a{n},g{n // 4}\n" for n in range(12))
    )
    found = listed_collection(str(tmp_path), classes=("sick", "healthy"))
    assert found.sample("a3").labels == (False, True)
    assert found.sample("a3").group == "g0"
    assert {s.side for s in found.samples} == ({"train", "val", "test"} if sides else {""})
    assert not [one for one in found.noticed if one.severity != "note"]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (8, 9, 10)])
def test_medmnist_in_two_and_three_dimensions(tmp_path, shape):
    given = arrays(shape=shape)
    found = listed_collection(str(npz(tmp_path, given)), classes=THREE)
    raw = found.read(found.sample("val-000004"))
    image = given["val_images"][4].astype(np.float32)
    np.testing.assert_array_equal(
        raw.image, np.moveaxis(image, -1, 0) if shape[-1] == 3 else image[None]
    )
    assert raw.mask.flatten().tolist() == [False, True, False]
    assert raw.mask.ndim == raw.image.ndim
    split = split_of(found, DataConfig(split="own"))
    assert len(split.train) == len(split.val) == len(split.test) == 6


def test_medmnist_with_several_labels_and_with_two(tmp_path):
    given = arrays()
    for side in ("train", "val", "test"):
        given[f"{side}_labels"] = np.array([[0, 1], [1, 1], [0, 0]] * 2)
    found = listed_collection(str(npz(tmp_path, given)), classes=("a", "b"))
    assert [s.labels for s in found.samples][:3] == [(False, True), (True, True), (False, False)]
    two = listed_collection(str(npz(tmp_path, arrays(classes=2))))
    assert [s.labels for s in two.samples][:2] == [(False,), (True,)]


def edit(name: str, value: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        given = arrays()
        if value is None:
            del given[name]
        else:
            given[name] = value
        return npz(folder, given)

    return write


def rows(*lines: str) -> Callable[[Path], Path]:
    return lambda folder: table(folder, list(lines))


def class_folders(*names: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for number, name in enumerate(names):
            picture(folder / "set" / name, number)
        return folder / "set"

    return write


BAD: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], str]] = {
    "one class only": (
        rows("image,label", "pictures/c0.png,cat", "pictures/c1.png,cat"), ("cat",),
        "all images have the same label, cat: there is one class only",
    ),
    "an empty cell": (
        rows("image,label", "pictures/c0.png,cat", "pictures/c1.png,"), ("cat",),
        "image 'c1': has no label",
    ),
    "a label that is none": (
        rows("image,label", "pictures/c0.png,cat", "pictures/c1.png,dig"), ("cat", "dog"),
        "'dig' is no label: data.classes names cat, dog",
    ),
    "two further labels of one class": (
        rows("image,label", *[f"pictures/c{n}.png,{THREE[n]}" for n in range(3)]), ("cat",),
        "'dog' is no label",
    ),
    "classes that were not named": (
        rows("image,label", *[f"pictures/c{n}.png,{THREE[n]}" for n in range(3)]), ("foreground",),
        "say which are classes, such as data.classes=[cat, dog]",
    ),
    "a cell that is neither yes nor no": (
        rows("image,cat", "pictures/c0.png,1", "pictures/c1.png,maybe"), ("cat",),
        "row 2: 'maybe' in the column cat is no label",
    ),
    "neither labels nor masks": (
        rows("image,what", "pictures/c0.png,cat"), ("cat",), "lacks the columns mask",
    ),
    "an image that is not there": (
        rows("image,label", "pictures/c0.png,cat", "pictures/c99.png,dog"), ("cat", "dog"),
        "image 'c99': there is no file",
    ),
    "an image twice": (
        rows("image,label", "pictures/c0.png,cat", "pictures/c0.png,dog"), ("cat", "dog"),
        "c0' stands in more than one row",
    ),
    "folders of other names": (
        class_folders("cat/a.png", "dog/b.png", "eel/c.png"), ("cat", "dog"), "'eel' is no label",
    ),
    "masks between the images": (
        class_folders("cat/a.png", "cat/a_mask.png", "dog/b.png"), ("cat", "dog"),
        "looks like a mask of a",
    ),
    "an array of objects": (
        edit("val_labels", np.array([{"a": 1}] * 6, dtype=object)), THREE,
        "val_labels: not readable (it holds values of type object, no plain numbers)",
    ),
    "a missing side": (edit("test_images", None), THREE, "lacks test_images: a file of MedMNIST"),
    "labels of other images": (
        edit("val_labels", np.zeros((5, 1), int)), THREE, "val_images are 6, but val_labels 5",
    ),
    "a label beyond the classes": (
        edit("val_labels", np.full((6, 1), 7)), THREE, "hold 7, but data.classes names 3",
    ),
    "labels that are no whole numbers": (
        edit("val_labels", np.full((6, 1), 0.5)), THREE, "of type float64, no labels",
    ),
    "several labels of another number": (
        edit("val_labels", np.zeros((6, 2), int)), THREE, "are of 2 classes",
    ),
    "several labels that are neither 0 nor 1": (
        edit("val_labels", np.full((6, 3), 2)), THREE, "hold 2, no label: 0 or 1 are",
    ),
    "images of another type": (
        edit("val_images", np.zeros((6, 8, 8), np.int32)), THREE, "of type uint8",
    ),
    "images of another size": (
        edit("val_images", np.zeros((6, 9, 9), np.uint8)), THREE, "are [9, 9] each",
    ),
    "no image": (edit("val_images", np.zeros((0, 8, 8), np.uint8)), THREE, "hold no image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_what_and_where(tmp_path, case):
    write, classes, said = BAD[case]
    path = write(tmp_path)
    with pytest.raises(DataError) as error:
        listed_collection(str(path), classes=classes)
    text = str(error.value)
    assert "\n" not in text
    assert str(tmp_path) in text
    assert said in text


def test_another_label_is_another_set(tmp_path):
    first = ["image,label", *[f"pictures/c{n}.png,{THREE[n % 2]}" for n in range(6)]]
    one = listed_collection(str(table(tmp_path, first)), classes=THREE[:2]).fingerprint
    first[1] = "pictures/c0.png,dog"
    other = listed_collection(str(table(tmp_path, first)), classes=THREE[:2]).fingerprint
    assert one != other


def test_groups_are_dealt_by_label(tmp_path):
    lines = [f"pictures/c{n}.png,{'cat' if n < 30 else 'dog'}" for n in range(40)]
    path = table(tmp_path, ["image,label", *lines])
    found = listed_collection(str(path), classes=("cat", "dog"))
    for seed in range(5):
        split = split_of(found, DataConfig(split="groups", split_seed=seed))
        for side, cats, dogs in (("train", 18, 6), ("val", 6, 2), ("test", 6, 2)):
            labels = np.array([found.sample(image).labels for image in split.side(side)])
            assert abs(labels[:, 0].sum() - cats) <= 1
            assert abs(labels[:, 1].sum() - dogs) <= 1


@pytest.mark.parametrize("augmentation", ["reference", "mild", "nnunet-like"])
def test_labels_stay_as_they_are_while_images_move(tmp_path, augmentation):
    found = listed_collection(str(npz(tmp_path, arrays(shape=(16, 16)))), classes=THREE)
    images = tuple(sample.image for sample in found.samples[:6])
    data = DataConfig(image_size=(32, 32), augmentation=augmentation)
    still = next(batches(ImageDataset(found, images, data, None), 6))
    moved = next(batches(ImageDataset(found, images, data, 0), 6))
    assert still.masks.shape == (6, 3, 1, 1)
    assert torch.equal(still.masks, moved.masks)
    assert not torch.equal(still.images, moved.images)
