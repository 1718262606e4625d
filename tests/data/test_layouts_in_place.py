"""Layouts that are read in place: nnU-Net, the Medical Decathlon, a table of paths, DICOM folders.

All folders are miniatures that the tests build; no real data set is here.
"""

import json
import shutil

import nibabel
import numpy as np
import pytest
from dicom_files import write_series
from PIL import Image

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.batches import ImageDataset
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import DataError

SHAPE = (6, 5, 4)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
LABELS = np.arange(120, dtype=np.uint8).reshape(SHAPE) % 4
"""Values 0 to 3."""


def save_volume(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(pixels, AFFINE), path)


def describe(folder, **changes):
    path = folder / "dataset.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **changes}))


@pytest.fixture
def nnunet(tmp_path):
    """nnU-Net's second version in miniature: two cases of two MR channels, three labels."""
    folder = tmp_path / "Dataset001_Toy"
    for number, case in enumerate(("toy_001", "toy_002")):
        for channel in (0, 1):
            pixels = np.full(SHAPE, 10 * number + channel, np.int16)
            save_volume(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", pixels)
        save_volume(folder / "labelsTr" / f"{case}.nii.gz", LABELS)
    save_volume(folder / "imagesTs" / "toy_003_0000.nii.gz", np.zeros(SHAPE, np.int16))
    describe(
        folder,
        channel_names={"0": "T1", "1": "FLAIR"},
        labels={"background": 0, "oedema": 1, "core": 2, "enhancing": 3},
        numTraining=2,
        file_ending=".nii.gz",
    )
    return folder


@pytest.fixture
def decathlon(tmp_path):
    """The Decathlon's layout in miniature: one CT of two channels in a fourth axis, two labels."""
    folder = tmp_path / "Task09_Toy"
    pixels = np.stack([np.full(SHAPE, 7, np.int16), np.full(SHAPE, 9, np.int16)], axis=-1)
    save_volume(folder / "imagesTr" / "toy_2.nii.gz", pixels)
    save_volume(folder / "labelsTr" / "toy_2.nii.gz", LABELS % 3)
    (folder / "imagesTr" / "._toy_2.nii.gz").write_text("left by another system")
    describe(
        folder,
        name="Toy",
        reference="nobody",
        licence="none",
        modality={"0": "CT"},
        labels={"0": "background", "1": "liver", "2": "tumour"},
        training=[{"image": "./imagesTr/toy_2.nii.gz", "label": "./labelsTr/toy_2.nii.gz"}],
        test=["./imagesTs/toy_3.nii.gz"],
    )
    return folder


def shown(values):
    """A RAS array in display order."""
    return values[::-1, ::-1].transpose(2, 1, 0)


def test_nnunet_channels_are_stacked_and_its_test_images_left_out(nnunet):
    collection = open_collection(str(nnunet), classes=("core",))
    assert collection.name == "Dataset001_Toy"
    assert [sample.image for sample in collection.samples] == ["toy_001", "toy_002"]
    assert {sample.modality for sample in collection.samples} == {"mr"}
    raw = collection.read(collection.samples[1])
    assert raw.image.shape == (2, 4, 5, 6)
    assert raw.image[:, 0, 0, 0].tolist() == [10.0, 11.0]
    assert raw.spacing == (3.0, 2.0, 1.0)
    np.testing.assert_array_equal(raw.mask, [shown(LABELS == 2)])


def test_classes_are_chosen_by_name_in_the_order_asked_for(nnunet):
    collection = open_collection(str(nnunet), classes=("enhancing", "oedema"))
    mask = collection.read(collection.samples[0]).mask
    np.testing.assert_array_equal(mask, [shown(LABELS == 3), shown(LABELS == 1)])
    together = open_collection(str(nnunet))
    np.testing.assert_array_equal(together.read(together.samples[0]).mask, [shown(LABELS > 0)])
    with pytest.raises(
        DataError, match=r"dataset\.json: unknown class 'cor'\. Did you mean 'core'"
    ):
        open_collection(str(nnunet), classes=("cor",))


def test_a_region_is_made_of_several_labels(nnunet):
    describe(nnunet, labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3})
    collection = open_collection(str(nnunet), classes=("whole", "core", "enhancing"))
    mask = collection.read(collection.samples[0]).mask
    np.testing.assert_array_equal(
        mask, [shown(np.isin(LABELS, region)) for region in ((1, 2, 3), (2, 3), (3,))]
    )


def test_nnunets_first_version_is_read_too(nnunet):
    """It wrote the Decathlon's lists, without the channels' numbers in the names of the files."""
    (nnunet / "dataset.json").unlink()
    describe(
        nnunet,
        modality={"0": "MRI", "1": "MRI"},
        labels={"0": "background", "1": "oedema", "2": "core", "3": "enhancing"},
        training=[
            {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
            for case in ("toy_001", "toy_002")
        ],
    )
    collection = open_collection(str(nnunet), classes=("core",))
    assert collection.read(collection.samples[0]).image.shape[0] == 2
    assert collection.samples[0].modality == "mr"


def test_groups_join_cases_of_one_patient(nnunet, decathlon):
    (nnunet / "groups.csv").write_text("image,group\ntoy_001,p1\ntoy_002,p1\n")
    assert {sample.group for sample in open_collection(str(nnunet)).samples} == {"p1"}
    (decathlon / "groups.csv").write_text("image,group,together\ntoy_2,p1,x\n")
    assert open_collection(str(decathlon)).samples[0].unit == "x"


def test_nnunet_pictures_in_colour_are_one_file(tmp_path):
    folder = tmp_path / "Dataset002_Colour"
    colours = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    labels = np.zeros((20, 24), np.uint8)
    labels[3:9, 4:8], labels[10:12] = 1, 2
    for kind, name, pixels in (("imagesTr", "a_0000", colours), ("labelsTr", "a", labels)):
        (folder / kind).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / kind / f"{name}.png")
    describe(folder, channel_names={"0": "R", "1": "G", "2": "B"}, labels={"one": 1, "two": 2})
    collection = open_collection(str(folder))
    raw = collection.read(collection.samples[0])
    np.testing.assert_array_equal(raw.image, np.moveaxis(colours, -1, 0))
    np.testing.assert_array_equal(raw.mask, [labels > 0])
    assert raw.modality == "photo"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda f: (f / "labelsTr/toy_002.nii.gz").unlink(),
            r"toy_002_0000.*: has no mask toy_002",
        ),
        (
            lambda f: (f / "imagesTr/toy_002_0001.nii.gz").unlink(),
            r"imagesTr: case 'toy_002' has no file toy_002_0001 \(FLAIR\)",
        ),
        (
            lambda f: (f / "imagesTr/toy_002_0000.nii.gz").rename(f / "imagesTr/odd.nii.gz"),
            r"odd\.nii\.gz: the name ends in no channel, such as odd_0000",
        ),
        (
            lambda f: describe(f, channel_names={"0": "T1", "1": "T2", "2": "ADC"}),
            r"cases have 2 files each, but dataset\.json names 3 channels \(T1, T2, ADC\)",
        ),
        (lambda f: (f / "dataset.json").unlink(), r"has imagesTr, but no dataset\.json, which"),
        (lambda f: shutil.rmtree(f / "labelsTr"), r"Toy: has imagesTr, but no labelsTr"),
        (lambda f: describe(f, labels={}), r"dataset\.json: has no 'labels'"),
        (lambda f: describe(f, labels={"a": "x"}), r"the label 'a' is 'x'; expected a number"),
        (lambda f: describe(f, labels={"background": 0}), r"'labels' names the background only"),
        (
            lambda f: describe(f, labels={"a": 1, "ignore": 2}),
            r"dataset\.json: the label 'ignore' marks voxels without truth",
        ),
        (lambda f: (f / "dataset.json").write_text("["), r"dataset\.json: not readable"),
    ],
)
def test_what_is_wrong_in_an_nnunet_folder_is_named(nnunet, wrong, message):
    wrong(nnunet)
    with pytest.raises(DataError, match=message) as raised:
        open_collection(str(nnunet))
    assert "\n" not in str(raised.value)


def test_a_channel_of_another_size_and_a_label_without_a_name_are_named(nnunet):
    save_volume(nnunet / "imagesTr" / "toy_001_0001.nii.gz", np.zeros((6, 5, 3), np.int16))
    describe(nnunet, labels={"background": 0, "oedema": 1, "core": 2})
    collection = open_collection(str(nnunet))
    with pytest.raises(DataError, match=r"toy_001_0001.*: this channel is 3 x 5 x 6, toy_001_0000"):
        collection.read(collection.samples[0])
    with pytest.raises(DataError, match=r"toy_002\.nii\.gz: holds the label 3, but only 2 classes"):
        collection.read(collection.samples[1])


def test_the_decathlon_lists_its_images_and_has_channels_in_a_fourth_axis(decathlon):
    collection = open_collection(str(decathlon), classes=("tumour", "liver"))
    assert (collection.name, collection.licence, collection.source) == ("Toy", "none", "nobody")
    assert [(s.image, s.modality, s.side) for s in collection.samples] == [("toy_2", "ct", "")]
    raw = collection.read(collection.samples[0])
    assert raw.image[:, 0, 0, 0].tolist() == [7.0, 9.0]
    np.testing.assert_array_equal(raw.mask, [shown(LABELS % 3 == 2), shown(LABELS % 3 == 1)])


def test_a_validation_list_says_on_which_side_its_images_are(decathlon):
    for kind in ("imagesTr", "labelsTr"):
        shutil.copy(decathlon / kind / "toy_2.nii.gz", decathlon / kind / "toy_4.nii.gz")
    entry = {"image": "imagesTr/toy_4.nii.gz", "label": "labelsTr/toy_4.nii.gz"}
    describe(decathlon, validation=[entry])
    assert [s.side for s in open_collection(str(decathlon)).samples] == ["train", "val"]
    describe(decathlon, validation=[{**entry, "image": "imagesTr/toy_2.nii.gz"}])
    with pytest.raises(DataError, match=r"the image 'toy_2' is listed more than once"):
        open_collection(str(decathlon))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"image": "imagesTr/no.nii.gz", "label": "labelsTr/toy_2.nii.gz"},
            r"there is no file .*no",
        ),
        ({"image": "../secret.nii.gz", "label": "x"}, r"'\.\./secret\.nii\.gz' lies outside"),
        ({"image": "imagesTr/toy_2.nii.gz"}, r"an entry of its lists is .*; expected image and la"),
    ],
)
def test_a_wrong_entry_of_the_decathlon_is_named(decathlon, entry, message):
    describe(decathlon, training=[entry])
    with pytest.raises(DataError, match=rf"dataset\.json: {message}"):
        open_collection(str(decathlon))


@pytest.fixture
def table(tmp_path, pictures):
    """A table of paths beside the folder of pictures, two of one person."""
    path = tmp_path / "list.csv"
    path.write_text(
        "image,mask,group,split,spacing_y,spacing_x\n"
        "pictures/images/scan 1.png,pictures/masks/scan 1.png,p1,train,0.5,0.25\n"
        "pictures/images/scan 2.png,pictures/masks/scan 2.png,p2,val,0.5,0.25\n"
        f"{pictures}/images/scan 10.png,pictures/masks/scan 10.png,p3,test,,\n"
    )
    return path


def test_a_table_names_files_groups_sides_and_spacing(table):
    collection = open_collection(str(table))
    assert collection.name == "list"
    assert [(s.image, s.group, s.side) for s in collection.samples] == [
        ("scan 1", "p1", "train"),
        ("scan 2", "p2", "val"),
        ("scan 10", "p3", "test"),
    ]
    first = collection.read(collection.samples[0])
    assert first.spacing == (0.5, 0.25)
    assert first.mask.sum() == 2 * 10
    assert collection.read(collection.samples[2]).spacing is None


def test_the_sides_of_a_table_are_a_split(table):
    collection = open_collection(str(table))
    split = split_of(collection, DataConfig(split="own"))
    assert (split.train, split.val, split.test) == (("scan 1",), ("scan 2",), ("scan 10",))


def test_a_table_may_give_several_files_names_and_classes(tmp_path, pictures):
    path = tmp_path / "list.csv"
    both = "pictures/images/scan 1.png;pictures/images/scan 2.png"
    masks = "pictures/masks/scan 1.png;pictures/masks/scan 2.png"
    path.write_text(f"name,image,mask,modality\nfirst,{both},{masks},mr\n")
    collection = open_collection(str(path), classes=("a", "b"))
    raw = collection.read(collection.sample("first"))
    assert raw.image.shape == raw.mask.shape == (2, 20, 24)
    assert raw.mask.sum(axis=(1, 2)).tolist() == [20, 30]
    assert raw.modality == "mr"


def test_equal_names_in_two_folders_are_told_apart_by_their_paths(tmp_path, pictures):
    shutil.copytree(pictures, tmp_path / "other")
    rows = [f"{f}/images/scan 1.png,{f}/masks/scan 1.png" for f in ("pictures", "other")]
    (tmp_path / "list.csv").write_text("\n".join(["image,mask", *rows]))
    names = [sample.image for sample in open_collection(str(tmp_path / "list.csv")).samples]
    assert names == ["pictures/images/scan 1", "other/images/scan 1"]


def test_a_table_of_slices_trains_a_2d_network(tmp_path, volume):
    rows = [f"volumes/images/a.nii.gz,volumes/masks/a.nii.gz,a,{i}" for i in range(4)]
    (tmp_path / "slices.csv").write_text("\n".join(["image,mask,group,slice", *rows]))
    (tmp_path / "dataset.json").write_text('{"modality": "ct", "classes": {"one": 1, "two": 2}}')
    collection = open_collection(str(tmp_path / "slices.csv"), classes=("two",))
    names = tuple(sample.image for sample in collection.samples)
    assert names == ("a-000", "a-001", "a-002", "a-003")
    config = DataConfig(image_size=(32, 32), classes=("two",))
    image, mask, _ = ImageDataset(collection, names[:1], config, None)[0]
    assert image.shape == mask.shape == (1, 32, 32)
    assert mask.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,what\na,b\n", r"lacks the columns mask; it has image, what"),
        ("image,mask\n", r"has no rows"),
        ("image,mask\npictures/images/scan 1.png,\n", r"image 'scan 1': has no mask"),
        (
            "image,mask\npictures/images/scan 1.png,no.png\n",
            r"image 'scan 1': there is no file .*no\.png",
        ),
        (
            "image,mask,split\npictures/images/scan 1.png,pictures/masks/scan 1.png,dev\n",
            r"image 'scan 1': unknown side 'dev'",
        ),
        (
            "image,mask,spacing_y\npictures/images/scan 1.png,pictures/masks/scan 1.png,2\n",
            r"image 'scan 1': give spacing_y and spacing_x",
        ),
        (
            "image,mask,name\n" + "pictures/images/scan 1.png,pictures/masks/scan 1.png,x\n" * 2,
            r"the image 'x' stands in more than one row",
        ),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path, pictures, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=rf"list\.csv: {message}"):
        open_collection(str(tmp_path / "list.csv"))


def test_a_folder_of_dicom_slices_is_an_image(tmp_path, volume):
    shutil.rmtree(volume / "images")
    write_series(volume / "images" / "a", np.arange(120, dtype=np.uint16).reshape(4, 5, 6))
    collection = open_collection(str(volume))
    assert [(s.image, s.modality) for s in collection.samples] == [("a", "ct")]
    raw = collection.read(collection.samples[0])
    assert raw.image.shape == raw.mask.shape == (1, 4, 5, 6)
    before = collection.fingerprint
    write_series(volume / "images" / "a", np.ones((4, 5, 6), np.uint16))
    assert open_collection(str(volume)).fingerprint != before


def test_a_series_with_a_missing_slice_is_named_when_it_is_read(volume):
    shutil.rmtree(volume / "images")
    write_series(volume / "images" / "a", np.zeros((5, 5, 6), np.uint16), named=True)
    (volume / "images" / "a" / "I2").unlink()
    collection = open_collection(str(volume))
    with pytest.raises(DataError, match=r"images/a: a slice is missing between I1 and I3"):
        collection.read(collection.samples[0])


def test_images_of_two_channels_reach_the_network_as_two(nnunet):
    collection = open_collection(str(nnunet))
    config = DataConfig(channels=2, image_size=(16, 16, 16))
    image, mask, _ = ImageDataset(collection, ("toy_001",), config, None)[0]
    assert image.shape == (2, 16, 16, 16)
    assert mask.shape == (1, 16, 16, 16)
