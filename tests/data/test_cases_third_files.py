"""Files of other people: turned TIFF, labels beside 254, sides that are not written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.config import Config
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.formats import read_image
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import DataError


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


TURNED = {
    5: lambda scene: scene.T,
    6: lambda scene: np.rot90(scene, 1),
    7: lambda scene: np.rot90(scene, 2).T,
    8: lambda scene: np.rot90(scene, -1),
}
"""How a scene is stored so that the orientation brings it back."""


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", sorted(TURNED))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_grey_tiff_is_turned_as_it_says(tmp_path: Path, kind, orientation, compression) -> None:
    scene = np.full((48, 64), 60, kind)
    scene[5:20, 40:60] = 200
    stored = np.ascontiguousarray(TURNED[orientation](scene))
    save(tmp_path / "a.tif", stored, tiffinfo={274: orientation}, compression=compression)
    pixels, _ = read_image(tmp_path / "a.tif", modality="mr")
    assert np.array_equal(pixels[0], scene.astype(np.float32))


@pytest.mark.parametrize("values", [(1, 254), (1, 250), (1, 253), (5, 250)])
def test_labels_with_a_rim_that_is_not_judged_are_no_soft_edges(tmp_path: Path, values) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[9:26, 9:26] = values[1]
    mask[10:25, 10:25] = values[0]
    save(
        tmp_path / "images" / "a.png",
        np.arange(1600, dtype=np.uint16).astype(np.uint8).reshape(40, 40),
    )
    save(tmp_path / "masks" / "a.png", mask)
    collection = open_collection(str(tmp_path))
    with pytest.raises(DataError, match="0 or 255"):
        collection.read(collection.samples[0])


def test_an_image_on_no_side_is_named(tmp_path: Path, tiny_config: Config) -> None:
    for number in range(6):
        save(tmp_path / "x" / f"c{number}.png", np.full((32, 32), 40 * number, np.uint8))
        mask = np.zeros((32, 32), np.uint8)
        mask[4 : 9 + number, 4:9] = 255
        save(tmp_path / "y" / f"c{number}.png", mask)
    sides = ("", "train", "train", "train", "val", "test")
    rows = [f"x/c{n}.png,y/c{n}.png,{side}" for n, side in enumerate(sides)]
    table = tmp_path / "set.csv"
    table.write_text("image,mask,split\n" + "\n".join(rows) + "\n")
    data = tiny_config.data.model_copy(update={"name": str(table), "split": "own"})
    with pytest.raises(DataError, match=r"1 of 6 images are on no side \(c0\)"):
        split_of(open_collection(str(table)), data)


def test_a_dead_link_as_a_mask_is_called_one(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", np.zeros((16, 16), np.uint8))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match="is a link to a file that is not here"):
        open_collection(str(tmp_path))


@pytest.mark.parametrize("values", [(0.05, 0.95), (0.0, 0.5), (0.2, 1.0)])
def test_probabilities_as_a_mask_are_refused(tmp_path: Path, values: tuple[float, float]) -> None:
    mask = np.full((40, 40), values[0], np.float32)
    mask[10:25, 10:25] = values[1]
    save(tmp_path / "images" / "a.png", np.arange(1600, dtype=np.uint8).reshape(40, 40) % 200)
    save(tmp_path / "masks" / "a.tif", mask)
    collection = open_collection(str(tmp_path))
    with pytest.raises(DataError, match="a mask holds whole numbers, this one has 0"):
        collection.read(collection.samples[0])


def test_a_mask_of_zeros_and_ones_in_floats_is_read(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[10:25, 10:25] = 1
    save(tmp_path / "images" / "a.png", np.arange(1600, dtype=np.uint8).reshape(40, 40) % 200)
    save(tmp_path / "masks" / "a.tif", mask)
    collection = open_collection(str(tmp_path))
    assert collection.read(collection.samples[0]).mask.sum() == 225
