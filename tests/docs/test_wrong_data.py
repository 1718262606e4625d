"""A newcomer's wrong files: `data check` and `train` each say in one line which file, and why."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, to_yaml

IMAGE, MASK = "images/disc05.png", "masks/disc05.png"


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def no_mask(folder: Path) -> None:
    (folder / MASK).unlink()


def colour_mask(folder: Path) -> None:
    mask = np.asarray(Image.open(folder / MASK))
    save(folder / MASK, np.dstack([mask, mask // 3, 0 * mask]))


def mask_of_16_bits(folder: Path) -> None:
    save(folder / MASK, np.asarray(Image.open(folder / MASK)).astype(np.uint16) * 16)


def empty_image(folder: Path) -> None:
    (folder / IMAGE).write_bytes(b"")


def empty_mask(folder: Path) -> None:
    (folder / MASK).write_bytes(b"")


def cut_image(folder: Path) -> None:
    content = (folder / IMAGE).read_bytes()
    (folder / IMAGE).write_bytes(content[: len(content) // 2])


def smaller_mask(folder: Path) -> None:
    save(folder / MASK, np.asarray(Image.open(folder / MASK))[:20])


def labels(folder: Path) -> None:
    save(folder / MASK, np.asarray(Image.open(folder / MASK)) // 255 * 3)


WRONG: dict[Callable[[Path], None], str] = {
    no_mask: f"{IMAGE}: has no mask in ",
    colour_mask: f"{MASK}: a mask has one channel; this one has 3 that differ",
    mask_of_16_bits: f"{MASK}: a mask of one class holds 0 and 1, or 0 and 255; this one goes up",
    empty_image: f"{IMAGE}: the file is empty",
    empty_mask: f"{MASK}: the file is empty",
    cut_image: f"{IMAGE}: not readable (image file is truncated)",
    smaller_mask: f"{MASK}: the mask is 20 x 32, its image disc05.png is 32 x 32",
    labels: f"{MASK}: a mask of one class holds 0 and 1, or 0 and 255; this one goes up to 3",
}


@pytest.fixture
def copied(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def train(config: Config, folder: Path, tmp_path: Path) -> Result:
    (tmp_path / "run.yaml").write_text(to_yaml(config), encoding="utf-8")
    where = ["--out", str(tmp_path / "run")]
    changes = ["arm=cnn", f"data.name={folder}"]
    return CliRunner().invoke(app, ["train", str(tmp_path / "run.yaml"), *changes, *where])


def said(result: Result) -> str:
    """The one line of an error: exit 2, no traceback, and nothing else but a progress bar."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    return line


@pytest.mark.parametrize(
    ("spoil", "expected"), WRONG.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_a_wrong_file_is_named(spoil, expected, copied, tiny_config, tmp_path) -> None:
    spoil(copied)
    line = said(train(tiny_config, copied, tmp_path))
    assert expected in line
    assert "data check" in line or "add it" in line
    assert not (tmp_path / "run").exists()
    checked = CliRunner().invoke(app, ["data", "check", str(copied), "--out", str(tmp_path / "o")])
    assert checked.exit_code == 2
    assert sum(expected in text for text in checked.output.splitlines()) == 1


def test_masks_without_any_foreground_are_not_trained_on(copied, tiny_config, tmp_path) -> None:
    for path in (copied / "masks").iterdir():
        save(path, np.zeros((32, 32), np.uint8))
    line = said(train(tiny_config, copied, tmp_path))
    assert "none of the 24 training images has any foreground: look at the values" in line
