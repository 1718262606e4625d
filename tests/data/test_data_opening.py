"""On miniature folders that the tests build, in each layout that is read in place."""

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.layouts.documented import write_layout
from llm4seg_probe.errors import DataError


def names(collection: Collection) -> list[str]:
    return [sample.image for sample in collection.samples]


def test_a_plain_folder_is_opened_in_natural_order(pictures):
    collection = open_collection(str(pictures))
    assert collection.name == "pictures"
    assert names(collection) == ["scan 1", "scan 2", "scan 10", "scan 11"]
    first = collection.samples[0]
    assert (first.group, first.modality) == ("scan 1", "photo")
    raw = collection.read(first)
    assert raw.image.shape == raw.mask.shape == (1, 20, 24)
    assert raw.image.dtype == np.float32
    assert raw.mask.dtype == bool
    assert raw.mask.sum() == 2 * 10
    assert raw.spacing is None


def test_mask_names_may_have_an_ending(pictures):
    for path in list((pictures / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_Segmentation.png"))
    assert len(open_collection(str(pictures)).samples) == 4


def test_files_that_are_no_images_do_not_disturb(pictures):
    (pictures / "images" / "LICENSE.txt").write_text("CC-0")
    (pictures / "images" / ".hidden.png").touch()
    assert len(open_collection(str(pictures)).samples) == 4


def test_groups_come_from_a_table(pictures):
    (pictures / "groups.csv").write_text("image,group\nscan 1,p1\nscan 2.png,p1\nscan 10,007\n")
    groups = [sample.group for sample in open_collection(str(pictures)).samples]
    assert groups == ["p1", "p1", "007", "scan 11"]


def test_a_table_of_groups_without_groups_is_refused(pictures):
    (pictures / "groups.csv").write_text("image,ward\nscan 1,p1\n")
    with pytest.raises(
        DataError, match=r"groups\.csv: lacks the columns group; it has image, ward"
    ):
        open_collection(str(pictures))


def test_the_reference_layout_has_a_folder_per_class(pictures):
    (pictures / "masks").rename(pictures / "0")
    (pictures / "masks").mkdir()
    (pictures / "0").rename(pictures / "masks" / "0")
    assert open_collection(str(pictures)).read(open_collection(str(pictures)).samples[1]).mask.any()
    shutil.copytree(pictures / "masks" / "0", pictures / "masks" / "1")
    with pytest.raises(DataError, match=r"masks: holds 2 folders of masks \(0, 1\), .* names 1"):
        open_collection(str(pictures))
    both = open_collection(str(pictures), classes=("lesion", "vessel"))
    mask = both.read(both.samples[0]).mask
    assert mask.shape == (2, 20, 24)
    np.testing.assert_array_equal(mask[0], mask[1])


def test_labels_become_one_channel_per_class(volume):
    three = open_collection(str(volume), classes=("one", "two"))
    raw = three.read(three.samples[0])
    labels = raw.image[0].astype(int) % 3
    np.testing.assert_array_equal(raw.mask, [labels == 1, labels == 2])
    together = open_collection(str(volume))
    np.testing.assert_array_equal(together.read(together.samples[0]).mask, [labels > 0])
    assert raw.spacing == (3.0, 2.0, 1.0)


def test_a_label_without_a_class_is_an_error(volume):
    path = volume / "masks" / "a.nii.gz"
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[0, 0, 0] = 7
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    collection = open_collection(str(volume), classes=("one", "two"))
    with pytest.raises(DataError, match=r"a\.nii\.gz: holds the label 7, but only 2 classes are n"):
        collection.read(collection.samples[0])


def test_volumes_have_the_modality_that_the_description_states(volume):
    assert open_collection(str(volume)).samples[0].modality == "unknown"
    (volume / "dataset.json").write_text('{"modality": "ct"}')
    assert open_collection(str(volume)).samples[0].modality == "ct"
    (volume / "dataset.json").write_text('{"modality": "xray"}')
    with pytest.raises(DataError, match="unknown modality 'xray'"):
        open_collection(str(volume))


def documented(folder, source: Collection) -> Collection:
    """Write a folder in the documented layout from an open one, slices of its volume as samples."""
    shutil.copytree(source.samples[0].image_file.parent, folder / "images")
    shutil.copytree(source.samples[0].mask_files[0].parent, folder / "masks")
    samples = tuple(
        Sample(
            image=f"a-{i}",
            group="a",
            modality="ct",
            image_file=folder / "images" / "a.nii.gz",
            mask_files=(folder / "masks" / "a.nii.gz",),
            slice=i,
            slice_spacing=3.0,
            together="someone",
        )
        for i in (1, 3)
    )
    collection = Collection("toy", samples, ("one", "two"), {"one": 1, "two": 2}, "CC0", "here")
    write_layout(folder, collection)
    return collection


def test_the_documented_layout_comes_back_as_it_was_written(tmp_path, volume):
    written = documented(tmp_path / "toy", open_collection(str(volume)))
    again = open_collection(str(tmp_path / "toy"), classes=("two",))
    assert again.samples == written.samples
    assert again.fingerprint == written.fingerprint
    assert (again.name, again.licence, again.source) == ("toy", "CC0", "here")
    raw = again.read(again.samples[1])
    assert raw.image.shape == (1, 5, 6)
    assert raw.spacing == (2.0, 1.0)
    np.testing.assert_array_equal(raw.mask[0], raw.image[0].astype(int) % 3 == 2)


def test_the_place_of_a_folder_is_not_part_of_its_fingerprint_but_its_pixels_are(
    tmp_path, pictures
):
    shutil.copytree(pictures, tmp_path / "moved" / "pictures")
    before = open_collection(str(pictures)).fingerprint
    assert open_collection(str(tmp_path / "moved" / "pictures")).fingerprint == before
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(pictures / "masks" / "scan 2.png")
    assert open_collection(str(pictures)).fingerprint != before


def test_a_changed_folder_does_not_pass_for_the_prepared_one(tmp_path, volume):
    documented(tmp_path / "toy", open_collection(str(volume)))
    shutil.copy(tmp_path / "toy/images/a.nii.gz", tmp_path / "toy/masks/a.nii.gz")
    with pytest.raises(DataError, match=r"its files are not those that dataset\.json was written"):
        open_collection(str(tmp_path / "toy"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image_file", "images/b.nii.gz", "image 'a-1': there is no file .*b.nii.gz"),
        ("image_file", "../../secret.png", r"'\.\./\.\./secret\.png' lies outside the folder"),
        ("image", "a-3", "the image 'a-3' stands in more than one row"),
        ("slice", "first", "image 'a-1': invalid literal"),
        ("modality", "mri", "image 'a-1': unknown modality 'mri'. Did you mean 'mr'"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, volume, column, value, message):
    documented(tmp_path / "toy", open_collection(str(volume)))
    path = tmp_path / "toy" / "samples.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[0, column] = value
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"samples\.csv: {message}"):
        open_collection(str(tmp_path / "toy"))


def test_an_unknown_class_and_a_broken_description_are_named(tmp_path, volume):
    documented(tmp_path / "toy", open_collection(str(volume)))
    with pytest.raises(DataError, match=r"dataset\.json: unknown class 'too'\. Did you mean 'two'"):
        open_collection(str(tmp_path / "toy"), classes=("too",))
    path = tmp_path / "toy" / "dataset.json"
    path.write_text(json.dumps({"classes": ["one", "two"]}))
    with pytest.raises(DataError, match=r"dataset\.json: not readable \('classes' maps each name"):
        open_collection(str(tmp_path / "toy"))
    path.write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json: not readable"):
        open_collection(str(tmp_path / "toy"))


def test_what_is_no_data_set_is_said(tmp_path, pictures):
    with pytest.raises(
        DataError, match=r"no such folder: spin\. unknown data set 'spin'\. Did you"
    ):
        open_collection("spin")
    with pytest.raises(DataError, match=r"no such folder: .*absent\.$"):
        open_collection(str(tmp_path / "absent"))
    file = pictures / "images" / "scan 1.png"
    with pytest.raises(DataError, match=r"scan 1\.png: is a file; give the folder"):
        open_collection(str(file))
    shutil.rmtree(pictures / "masks")
    with pytest.raises(DataError, match=r"pictures: has no folder 'masks'; it holds images\."):
        open_collection(str(pictures))
    (pictures / "masks").mkdir()
    with pytest.raises(DataError, match=r"scan 1\.png: has no mask in .*masks"):
        open_collection(str(pictures))
    shutil.rmtree(pictures / "images")
    (pictures / "images").mkdir()
    with pytest.raises(DataError, match=r"images: no images \(\.png"):
        open_collection(str(pictures))


def test_a_mask_of_another_size_is_named(pictures):
    Image.fromarray(np.zeros((20, 25), np.uint8)).save(pictures / "masks" / "scan 10.png")
    collection = open_collection(str(pictures))
    with pytest.raises(DataError, match=r"scan 10\.png: the mask is 20 x 25, its image .* 20 x 24"):
        collection.read(collection.sample("scan 10"))


def test_two_files_for_one_name_are_refused(pictures):
    shutil.copy(pictures / "masks" / "scan 1.png", pictures / "masks" / "scan 1_mask.png")
    with pytest.raises(DataError, match=r"scan 1\.png and scan 1_mask\.png are both masks of 'sca"):
        open_collection(str(pictures))
    shutil.copy(pictures / "images" / "scan 1.png", pictures / "images" / "scan 1.bmp")
    with pytest.raises(DataError, match=r"scan 1\.png: has the same name as scan 1\.bmp"):
        open_collection(str(pictures))


def test_an_unknown_image_is_named(pictures):
    with pytest.raises(DataError, match=r"pictures: unknown image 'scan 3'\. Did you mean 'scan"):
        open_collection(str(pictures)).sample("scan 3")
