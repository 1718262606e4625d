"""Files that cannot be what they say, or whose masks may mean the opposite: refused, or told."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import write_slice
from PIL import Image
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.data import formats
from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.errors import DataError
from llm4seg_probe.training.predict import images_in


def found(folder: Path, kind: str, **options) -> list[Finding]:
    findings = check_collection(listed_collection(str(folder), **options)).findings
    return [finding for finding in findings if finding.kind == kind]


def plain(folder: Path, masks: list[Image.Image]) -> Path:
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, mask in enumerate(masks):
        grey = draw.integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"c{number}.png")
        mask.save(folder / "masks" / f"c{number}.png")
    return folder


def lesion(value: int = 1) -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:25, 20:40] = value  # 300 pixels of 4096
    return mask


def with_palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(indices)
    picture.putpalette([level for colour in colours for level in colour])
    return picture


BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (200, 0, 0)


def test_a_palette_of_greys_is_read_as_shown_and_told_where_the_indices_say_otherwise(tmp_path):
    plain(tmp_path, [with_palette(lesion(), WHITE, BLACK)] * 2)
    assert formats.read_binary(tmp_path / "masks" / "c0.png").sum() == 4096 - 300
    (told,) = found(tmp_path, "palette")
    assert (told.severity, told.images) == ("warning", ("c0", "c1"))
    assert "a palette of greys and are read by their brightness" in told.what
    assert "by the indices, the foreground would be other pixels" in told.what
    (inverted,) = found(tmp_path, "inverted masks")
    assert inverted.what == "93% of the pixels are foreground, more than half in 2 of 2 images"
    assert "Are the values of the masks inverted?" in inverted.advice


@pytest.mark.parametrize("colours", [(BLACK, WHITE), (WHITE, BLACK)])
def test_greys_that_a_program_put_into_another_order_are_no_matter(tmp_path, colours):
    indices = lesion() if colours[0] == BLACK else 1 - lesion()
    plain(tmp_path, [with_palette(indices, *colours)])
    assert formats.read_binary(tmp_path / "masks" / "c0.png").sum() == 300
    assert len(found(tmp_path, "palette")) == int(colours[0] == WHITE)
    assert found(tmp_path, "inverted masks") == []


@pytest.mark.parametrize(("colours", "told"), [((BLACK, RED), 0), ((RED, BLACK), 1)])
def test_a_palette_of_colours_is_read_by_its_indices_and_told(tmp_path, colours, told):
    plain(tmp_path, [with_palette(lesion(), *colours)])
    assert formats.read_binary(tmp_path / "masks" / "c0.png").sum() == 300
    said = found(tmp_path, "palette")
    assert len(said) == told
    assert all("are read by their indices, as label masks are stored" in f.what for f in said)


def test_masks_are_doubted_where_nearly_all_are_mostly_foreground(tmp_path):
    large, small = Image.fromarray(255 - lesion(255)), Image.fromarray(lesion(255))
    plain(tmp_path / "nine", [large] * 9 + [small])
    (inverted,) = found(tmp_path / "nine", "inverted masks")
    share = (9 * 3796 + 300) / 40960
    assert inverted.what.startswith(
        f"{share:.0%} of the pixels are foreground, more than half in 9"
    )
    plain(tmp_path / "eight", [large] * 8 + [small] * 2)
    assert found(tmp_path / "eight", "inverted masks") == []


def nnunet(folder: Path, described: dict[str, object], cases: int = 3) -> Path:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        scan = np.random.default_rng(number).normal(100, 9, (20, 20, 4)).astype(np.int16)
        for name, pixels in (("imagesTr/p{}_0000", scan), ("labelsTr/p{}", scan > 110)):
            volume = nibabel.Nifti1Image(pixels.astype(np.int16), np.diag([1, 1, 2, 1.0]))
            nibabel.save(volume, folder / f"{name.format(number)}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, **described}))
    return folder


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 1, "liver": 0, "b": 2},
        {"Background": 3, "liver": 1},
        {"background": [0, 1], "liver": 2},
        {"1": "background", "0": "liver"},
    ],
)
def test_a_background_that_is_not_0_is_refused(tmp_path, labels):
    nnunet(tmp_path, {"labels": labels})
    with pytest.raises(DataError, match=r"dataset\.json: the label '[Bb]ackground' is .*must be 0"):
        listed_collection(str(tmp_path))
    checked = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert checked.exit_code == 2
    assert "background must be 0" in checked.output


@pytest.mark.parametrize("labels", [{"background": 0, "liver": 0}, {"background": 0, "a": [0, 1]}])
def test_a_class_with_the_value_of_the_background_is_refused(tmp_path, labels):
    nnunet(tmp_path, {"labels": labels})
    with pytest.raises(DataError, match=r"0 is the value of the labels background, (liver|a)"):
        listed_collection(str(tmp_path))


def test_a_background_that_is_not_0_is_refused_beside_pictures_too(tmp_path):
    plain(tmp_path, [Image.fromarray(lesion())])
    (tmp_path / "samples.csv").write_text(
        "image,image_file,mask_file\nc0,images/c0.png,masks/c0.png\n"
    )
    (tmp_path / "dataset.json").write_text('{"classes": {"background": 1, "liver": 2}}')
    with pytest.raises(DataError, match="background must be 0"):
        listed_collection(str(tmp_path))


@pytest.mark.parametrize(("stated", "told"), [(5, True), (3, False), ("3", False), (None, False)])
def test_another_number_of_cases_than_stated_is_told(tmp_path, stated, told):
    described = {"labels": {"background": 0, "b": 1}, "numTraining": stated}
    listing = [{"image": f"imagesTr/p{n}_0000.nii.gz", "label": f"labelsTr/p{n}.nii.gz"}
               for n in range(3)]  # fmt: skip
    nnunet(tmp_path / "nnunet", described)
    nnunet(tmp_path / "decathlon", {**described, "training": listing})
    for folder in ("nnunet", "decathlon"):
        said = [f.what for f in found(tmp_path / folder, "cases")]
        assert said == ["dataset.json says numTraining 5, and 3 cases are here"] * told


def test_two_patients_in_one_series_are_refused_without_their_names(tmp_path):
    for number, patient in enumerate(("Meier^Anna", "Meier^Anna ", "Schmidt^Bernd", "")):
        stored = np.full((4, 4), number)
        write_slice(tmp_path / f"s{number}.dcm", stored, (0, 0, 3.0 * number), PatientID=patient)
    with pytest.raises(DataError, match=r"s0\.dcm and s2\.dcm are of two patients") as refused:
        formats.read_image(tmp_path)
    assert "Meier" not in str(refused.value)
    assert "Schmidt" not in str(refused.value)
    (tmp_path / "s2.dcm").unlink()
    write_slice(tmp_path / "s2.dcm", np.full((4, 4), 2), (0, 0, 6.0), PatientID="Meier^Anna")
    assert formats.read_image(tmp_path)[0].shape == (1, 4, 4, 4)


def irregular(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_pipe_or_a_device_is_no_picture(tmp_path, kind, part):
    plain(tmp_path, [Image.fromarray(lesion())] * 2)
    (tmp_path / part / "c1.png").unlink()
    irregular(tmp_path / part / "c1.png", kind)
    said = rf"{part}/c1\.png:? is no regular file"
    with pytest.raises(DataError, match=said):
        listed_collection(str(tmp_path))
    for table, column in (("t.csv", "image,mask"), ("samples.csv", "image,image_file,mask_file")):
        name = "" if table == "t.csv" else "c1,"
        (tmp_path / table).write_text(f"{column}\n{name}images/c1.png,masks/c1.png\n")
        place = tmp_path if table == "samples.csv" else tmp_path / table
        with pytest.raises(DataError, match=said):
            listed_collection(str(place))
    for read in (formats.read_image, formats.read_binary, images_in):
        with pytest.raises(DataError, match=said):
            read(tmp_path / part / "c1.png")
    with pytest.raises(DataError, match="is no regular file"):
        listed_collection(str(tmp_path / part / "c1.png"))


def test_a_pipe_in_a_list_of_volumes(tmp_path):
    listing = [{"image": "imagesTr/p0_0000.nii.gz", "label": "labelsTr/p0.nii.gz"}]
    nnunet(tmp_path, {"labels": {"background": 0, "b": 1}, "training": listing}, cases=1)
    (tmp_path / "labelsTr" / "p0.nii.gz").unlink()
    os.mkfifo(tmp_path / "labelsTr" / "p0.nii.gz")
    with pytest.raises(DataError, match=r"labelsTr/p0\.nii\.gz is no regular file"):
        listed_collection(str(tmp_path))


def test_files_that_links_bring_from_outside_are_counted(tmp_path):
    folder = plain(tmp_path / "set", [Image.fromarray(lesion())] * 4)
    assert found(folder, "links") == []
    store = folder / ".git" / "annex"
    store.mkdir(parents=True)
    for name, target in (("c0", store), ("c1", tmp_path), ("c2", tmp_path)):
        path = folder / "masks" / f"{name}.png"
        path.rename(target / path.name)
        path.symlink_to(target / path.name)
    (told,) = found(folder, "links")
    assert (told.severity, told.images) == ("note", ("c1", "c2"))
    assert told.what == "2 files are read through links that lead out of the folder"
    collection = listed_collection(str(folder))
    assert all(collection.read(sample).mask.sum() == 300 for sample in collection.samples)
    # A folder inside that is a link; the data set's own folder may be one.
    (folder / "images").rename(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "alias").symlink_to(folder)
    for place in (folder, tmp_path / "alias"):
        (told,) = found(place, "links")
        assert told.what == "6 files are read through links that lead out of the folder"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no /proc")
def test_a_folder_of_the_system_is_refused_with_its_name():
    with pytest.raises(DataError, match=r"^/proc/self") as refused:
        listed_collection("/proc/self")
    assert "\n" not in str(refused.value)
    assert "name" in str(refused.value)


def test_what_the_system_refuses_to_look_at_is_named(tmp_path):
    plain(tmp_path, [Image.fromarray(lesion())])
    (tmp_path / "images" / "c9.png").symlink_to("x" * 300)
    said = r"cannot be read as a data set \(.*c9\.png: File name too long\): mend it"
    with pytest.raises(DataError, match=said):
        listed_collection(str(tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        listed_collection("/" + "x" * 300)
