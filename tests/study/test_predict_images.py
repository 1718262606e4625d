"""`predict`: masks of new images on the images' own grid, by networks whose answer is known."""

import json
import shutil
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.data import formats
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.models.heads import decided
from llm4seg_probe.models.network import build_network
from llm4seg_probe.models.outside import networks_given
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.predict import predict_images
from llm4seg_probe.training.scoring import predicted_logits
from llm4seg_probe.training.stored_run import load, run_content

LEVELS = f"{Path(__file__).stem}:Levels"
DRAW = np.random.default_rng(0)
TURNED = np.array(
    [[-0.98, 0.15, 0.1, 30.0], [-0.14, -0.97, 0.2, 40.0], [0.13, 0.19, 2.9, -5.0], [0, 0, 0, 1]]
)
"""An oblique affine whose axes run towards left, back and head: LPS."""


class Levels(nn.Module):
    """Class k where the image is above ``step`` times (k + 1); ``exclusive``: up to the next."""

    def __init__(self, in_channels: int, out_channels: int, step: float, exclusive: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.step, self.exclusive, self.channels = step, exclusive, out_channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # Linear functions of the image: the next one is the largest from the next level on.
        x = images.mean(1) * self.weight
        if self.exclusive:
            levels = [k * x - self.step * k * (k + 1) / 2 for k in range(self.channels)]
        else:
            levels = [x - self.step * (k + 1) for k in range(self.channels)]
        return 10 * torch.stack(levels, 1)


@pytest.fixture(autouse=True)
def given():
    """The files below may name the network of levels."""
    with networks_given([LEVELS]):
        yield


def run_at(path: Path, size: tuple[int, ...], step: float = 0.0, **values: dict) -> Path:
    """A ``run.pt`` of a network of levels."""
    exclusive = values.get("training", {}).get("output") == "softmax"
    options = {"step": step, "exclusive": exclusive}
    config = Config.model_validate(
        {
            "arm": "cnn",
            "data": {"name": "nowhere", "image_size": size, "sampling": "patches"}
            | values.get("data", {}),
            "backbone": {"name": LEVELS, "options": options},
            "training": {"batch_size": 4} | values.get("training", {}),
            "compute": {"threads": 1, "device": "cpu"},
        }
    )
    split = Split(
        name="blocks", dataset="nowhere", dataset_fingerprint="", seed=0, within_case=False,
        validation_is_test=False, train=("a",), val=("b",), test=("c",),
    )  # fmt: skip
    content = run_content(
        build_network(config), config, name="levels", dataset="nowhere", split=split, epoch=0,
        val_iou=0.5, embed_layer=False,
    )  # fmt: skip
    checkpoint.save(content, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of three sizes and formats, without masks."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, shape in (("a.png", (20, 30)), ("b.bmp", (33, 17, 3)), ("c.jpg", (24, 24))):
        pixels = np.kron(DRAW.integers(0, 256, shape), np.ones((2, 2, 1))[..., : len(shape) - 1])
        pixels = pixels.reshape(2 * shape[0], -1, *shape[2:]).astype(np.uint8)
        Image.fromarray(pixels[: shape[0], : shape[1]]).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One volume in three formats, none of them in the usual order of axes."""
    folder = tmp_path_factory.mktemp("ct")
    pixels = DRAW.integers(-200, 800, (22, 19, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(pixels, TURNED), folder / "nifti.nii.gz")
    directions = (np.diag([-1.0, -1.0, 1.0]) @ TURNED[:3, :3]).T
    place = {"space": "left-posterior-superior", "space directions": directions}
    nrrd.write(str(folder / "nrrd.nrrd"), pixels, place | {"space origin": np.zeros(3)})
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels.T))
    image.SetDirection([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    SimpleITK.WriteImage(image, str(folder / "meta.mha"))
    return folder


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def array_of(path: Path) -> np.ndarray:
    """Pixels in the order of the file, whatever its format."""
    if path.name.endswith(".nii.gz"):
        return np.asanyarray(nibabel.load(path).dataobj)
    if path.suffix == ".nrrd":
        return nrrd.read(str(path))[0]
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T


def test_pictures_give_png_of_their_own_size(photos, tmp_path):
    run = run_at(tmp_path / "run.pt", (16, 16))
    found = predict_images(run, photos, tmp_path / "out")
    assert [p.image.name for p in found] == ["a.png", "b.bmp", "c.jpg"]
    for prediction in found:
        (mask,) = prediction.masks
        assert mask == tmp_path / "out" / f"{prediction.image.stem}.png"
        grey = formats.read_image(prediction.image)[0]
        if len(grey) == 3:
            grey = np.einsum("c,chw->hw", (0.299, 0.587, 0.114), grey)[None]
        written = picture(mask)
        assert written.dtype == np.uint8
        assert set(np.unique(written)) == {0, 255}
        off = (written == 255) != (grey[0] > grey.mean())
        assert off.mean() < 0.01, "above the mean, up to rounding at the mean itself"
        assert prediction.pixels == {"foreground": int((written == 255).sum())}
        assert prediction.overlay is prediction.probabilities is None


@pytest.mark.parametrize("size", [(16, 16, 16), (16, 16)])
def test_volumes_keep_shape_axes_and_place(ct, tmp_path, size):
    """A 2D run goes slice by slice, and gives the same where the answer lies in the pixel."""
    run = run_at(tmp_path / "run.pt", size)
    found = predict_images(run, ct, tmp_path / "out", modality="ct", probabilities=True)
    assert {p.masks[0].name for p in found} == {"nifti.nii.gz", "nrrd.nrrd", "meta.mha"}
    for prediction in found:
        image, mask = array_of(prediction.image), array_of(prediction.masks[0])
        assert mask.shape == image.shape
        # Zero on the network's scale is the middle of the window from -200 to 800 HU.
        assert np.array_equal(mask[image != 300], (image > 300)[image != 300])
        assert set(np.unique(mask)) == {0, 1}
    nifti = next(p for p in found if "nifti" in p.image.name)
    assert nibabel.aff2axcodes(TURNED) == ("L", "P", "S")
    written = nibabel.load(nifti.masks[0])
    assert np.array_equal(written.affine, nibabel.load(nifti.image).affine)
    probable = nibabel.load(nifti.probabilities)
    assert np.allclose(probable.affine, written.affine)
    assert np.array_equal(np.asanyarray(probable.dataobj) > 0.5, array_of(nifti.masks[0]) > 0)
    scaled = (array_of(nifti.image) + 200) / 500 - 1
    assert np.allclose(np.asanyarray(probable.dataobj), 1 / (1 + np.exp(-10 * scaled)), atol=1e-4)


def test_classes_that_exclude_each_other_are_numbers_in_one_file(photos, tmp_path):
    values = {"data": {"classes": ("low", "mid", "high")}, "training": {"output": "softmax"}}
    run = run_at(tmp_path / "run.pt", (16, 16), step=0.4, **values)
    (found,) = predict_images(run, photos / "a.png", tmp_path / "out", probabilities=True)
    image = formats.read_image(found.image)[0][0]
    scaled = (image - image.mean()) / image.std()
    expected = np.digitize(scaled, [0.4, 0.8, 1.2])
    written = picture(found.masks[0])
    assert (written != expected).mean() < 0.01
    assert set(np.unique(written)) == {0, 1, 2, 3}
    assert found.pixels == {
        n: int((written == k + 1).sum()) for k, n in enumerate(("low", "mid", "high"))
    }
    probable = np.load(found.probabilities)
    assert probable.shape == (3, *image.shape)
    assert ((probable.sum(0) > 0) & (probable.sum(0) < 1 + 1e-6)).all()


def test_classes_that_overlap_have_a_folder_each_that_reads_as_masks(photos, tmp_path):
    run = run_at(tmp_path / "run.pt", (16, 16), step=0.5, data={"classes": ("any part", "core")})
    found = predict_images(run, photos, tmp_path / "set" / "masks")
    assert [path.parent.name for path in found[0].masks] == ["0-any-part", "1-core"]
    outer, core = (picture(path) for path in found[0].masks)
    assert set(np.unique(outer)) == set(np.unique(core)) == {0, 255}
    assert (outer[core > 0] == 255).all()
    shutil.copytree(photos, tmp_path / "set" / "images")
    opened = open_collection(str(tmp_path / "set"), classes=("any part", "core"))
    assert np.array_equal(opened.read(opened.samples[0]).mask[1], core > 0)


def test_prediction_and_evaluation_decide_alike(tiny_data, tmp_path):
    data = {"sampling": "whole", "name": str(tiny_data)}
    path = run_at(tmp_path / "run.pt", (48, 16), step=0.2, data=data)
    found = predict_images(path, tiny_data, tmp_path / "out")
    run, collection = load(path), open_collection(str(tiny_data))
    assert [p.image.stem for p in found] == [s.image for s in collection.samples]
    for prediction, (_, logits) in zip(
        found,
        predicted_logits(run.network, run.config, collection, collection.samples),
        strict=True,
    ):
        mask = decided(logits[None], run.config)[0, 0].numpy()
        assert np.array_equal(picture(prediction.masks[0]) > 0, mask)


def test_overlays_show_the_image_with_the_outline(ct, photos, tmp_path):
    run = run_at(tmp_path / "run.pt", (16, 16), step=1.0)
    (photo,) = predict_images(run, photos / "a.png", tmp_path / "a", overlays=True)
    assert photo.overlay == tmp_path / "a" / "overlays" / "a.png"
    drawn = picture(photo.overlay)
    assert drawn.shape == (171, 256, 3)
    assert (drawn == (255, 196, 0)).all(-1).any()
    (volume,) = predict_images(
        run, ct / "nifti.nii.gz", tmp_path / "b", modality="mr", overlays=True
    )
    assert picture(volume.overlay).shape == (221, 256, 3)


def test_the_command_prints_what_it_wrote(photos, tmp_path):
    run = run_at(tmp_path / "run.pt", (16, 16))
    out = tmp_path / "out"
    arguments = ["predict", "--ckpt", str(run), "--images", str(photos), "--out", str(out)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    assert f"a.png -> {out / 'a.png'} (pixels: foreground " in said.stdout
    as_json = CliRunner().invoke(app, [*arguments, "--json", "--overlays", "--probabilities"])
    value = json.loads(as_json.stdout)
    assert len(value["predictions"]) == 3
    assert Path(value["predictions"][1]["masks"][0]).is_file()
    assert Path(value["predictions"][1]["overlay"]).is_file()
    assert Path(value["predictions"][1]["probabilities"]).suffix == ".npy"


def refused(run: Path, images: Path, *options: str) -> str:
    result = CliRunner().invoke(
        app, ["predict", "--ckpt", str(run), "--images", str(images), *options]
    )
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_what_cannot_be_predicted_is_one_line_that_names_the_file(photos, ct, tmp_path):
    flat = run_at(tmp_path / "flat.pt", (16, 16))
    deep = run_at(tmp_path / "deep.pt", (16, 16, 16))
    out = ("--out", str(tmp_path / "out"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no such file or folder:" in refused(flat, tmp_path / "nothing", *out)
    assert "no images (" in refused(flat, empty, *out)
    (tmp_path / "notes.txt").write_text("no image")
    assert "notes.txt: is no image of a known format" in refused(flat, tmp_path / "notes.txt", *out)
    assert "a.png: has 2 axes, but run levels was trained on volumes" in refused(
        deep, photos / "a.png", *out
    )
    assert "nifti.nii.gz: does not say whether it is ct, mr or photo: add --modality" in refused(
        deep, ct / "nifti.nii.gz", *out
    )
    assert "unknown modality 'pet'" in refused(deep, ct / "nifti.nii.gz", *out, "--modality", "pet")
    assert "a.png: is an image itself and would be replaced" in refused(
        flat, photos, "--out", str(photos)
    )
    (photos / "b2.png").write_bytes(b"")
    told = refused(flat, photos, *out)
    assert "b2.png: the file is empty" in told
    assert f" of {len(list(photos.iterdir()))} images are done; the others wait until" in told
    spaced = run_at(tmp_path / "spaced.pt", (16, 16), data={"spacing": (1.0, 1.0)})
    assert "a.png: data.spacing is [1.0, 1.0], but" in refused(spaced, photos / "a.png", *out)
