"""Logits of whole images, and training and scoring on patches and on several classes."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from llm4seg_probe import tables
from llm4seg_probe.config import Config
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.measures.segmentation import segmentation_scores
from llm4seg_probe.models.heads import decided
from llm4seg_probe.training.inference import images_at_once, logits_of, on_grid
from llm4seg_probe.training.scoring import predicted_logits, score
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train


def windowed(size: tuple[int, ...], overlap: float = 0.5, sampling: str = "patches") -> Config:
    return Config.model_validate(
        {
            "data": {"image_size": size, "sampling": sampling},
            "evaluation": {"overlap": overlap},
            "training": {"batch_size": 3},
        }
    )


class Counting(nn.Module):
    """Twice the image in one channel, and its negative in the other; counts what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return torch.cat([2 * images, -images], 1)


def test_a_whole_image_is_seen_at_once():
    images, network = torch.randn(2, 1, 32, 32), Counting()
    logits = logits_of(network, images, windowed((32, 32), sampling="whole"))
    assert torch.equal(logits, torch.cat([2 * images, -images], 1))
    assert network.seen == [(2, 1, 32, 32)]


@pytest.mark.parametrize("grid", [(40, 50), (16, 70), (9, 20), (16, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_are_put_together_to_the_image(grid, overlap):
    images, network = torch.randn(2, 1, *grid), Counting()
    logits = logits_of(network, images, windowed((16, 16), overlap))
    assert torch.allclose(logits, torch.cat([2 * images, -images], 1), atol=1e-5)
    assert {shape[2:] for shape in network.seen} == {(16, 16)}
    assert max(shape[0] for shape in network.seen) <= 3


def test_windows_slide_over_volumes_with_the_overlap_that_is_asked_for():
    images = torch.randn(1, 1, 24, 33, 40)
    windows = {}
    for overlap in (0.0, 0.5):
        network = Counting()
        logits = logits_of(network, images, windowed((16, 16, 16), overlap))
        assert torch.allclose(logits[:, :1], 2 * images, atol=1e-5)
        windows[overlap] = sum(shape[0] for shape in network.seen)
    assert windows == {0.0: 2 * 3 * 3, 0.5: 2 * 4 * 4}


def test_overlapping_windows_count_more_in_their_middle():
    class Place(nn.Module):
        """In each window the distance from its left border."""

        def forward(self, images):
            return torch.arange(16.0).repeat(len(images), 1, 16, 1)

    logits = logits_of(Place(), torch.zeros(1, 1, 16, 24), windowed((16, 16)))[0, 0, 8]
    weight = torch.exp(-0.5 * ((torch.arange(16) - 7.5) / 2.0) ** 2)  # MONAI: an eighth of a side
    for column in range(8, 16):
        a, b = weight[column], weight[column - 8]
        mixed = (a * column + b * (column - 8)) / (a + b)
        assert logits[column].item() == pytest.approx(mixed.item(), abs=0.02)
    assert torch.equal(logits[:8], torch.arange(8.0))


def test_padding_is_the_darkest_value_and_is_cut_off():
    seen = []

    class Looking(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.clone()

    image = torch.rand(1, 1, 6, 16) + 3
    assert torch.allclose(logits_of(Looking(), image, windowed((16, 16))), image)
    assert seen[0].min() == image.min()


def test_a_network_without_logits_is_said():
    class Several(nn.Module):
        def forward(self, images):
            return images, images

    with pytest.raises(TrainingError, match="returns a tuple in evaluation; logits"):
        logits_of(Several(), torch.zeros(1, 1, 20, 20), windowed((16, 16)))


def test_logits_are_brought_to_the_grid_of_the_image():
    logits = torch.arange(4.0).expand(2, 3, 4)
    assert on_grid(logits, (3, 4)) is logits
    assert on_grid(logits, (6, 8)).shape == (2, 6, 8)
    assert on_grid(torch.zeros(2, 3, 4, 5), (5, 5, 5)).shape == (2, 5, 5, 5)
    assert images_at_once(windowed((16, 16))) == 1
    assert images_at_once(windowed((16, 16), sampling="whole")) == 3


@pytest.fixture(scope="module")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen pictures with three classes of different brightness, 0 to 3 in the mask."""
    folder = tmp_path_factory.mktemp("organs")
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(18):
        mask = np.zeros((36, 40), np.uint8)
        mask[4:16, 3:20], mask[18:32, 2:14], mask[10:30, 22:38] = 1, 2, 3
        mask = np.roll(mask, int(draw.integers(-3, 4)), 1)
        image = np.clip(60 * mask + draw.normal(40, 10, mask.shape), 0, 255).astype(np.uint8)
        for part, pixels in (("images", image), ("masks", mask)):
            Image.fromarray(pixels).save(folder / part / f"p{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten CT-like volumes of different sizes with one bright ball."""
    folder = tmp_path_factory.mktemp("volumes")
    draw = np.random.default_rng(0)
    (folder / "dataset.json").write_text(json.dumps({"modality": "ct"}))
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(10):
        size = (20 + number, 22, 14 + number % 3)
        places = np.moveaxis(np.indices(size), 0, -1) - draw.integers(6, 9, 3)
        mask = (np.square(places).sum(-1) < 25).astype(np.uint8)
        image = (500.0 * mask + draw.normal(0, 60, size)).astype(np.int16)
        for part, pixels in (("images", image), ("masks", mask)):
            volume = nibabel.Nifti1Image(pixels, np.diag([-1.0, -1.0, 2.0, 1.0]))
            nibabel.save(volume, folder / part / f"v{number}.nii.gz")
    return folder


def run_of(tiny_config: Config, data: dict, training: dict, **others: object) -> Config:
    values = tiny_config.model_dump()
    values["data"] |= {"augmentation": "none"} | data
    values["training"] |= {"epochs": 1} | training
    return Config.model_validate(values | others)


def test_three_classes_that_exclude_each_other_end_to_end(organs, tiny_config, tmp_path):
    classes = ("one", "two", "three")
    config = run_of(
        tiny_config,
        {"name": str(organs), "classes": classes},
        {"output": "softmax", "batch_size": 4},
        arm="cnn",
    )
    path = train(config, tmp_path / "cnn-0")
    scores = tables.read_table(path.parent / "scores.csv", tables.SCORES)
    run = load(path)
    collection = run.collection()
    samples = [collection.sample(image) for image in run.images("test")]
    best = scores[(scores["checkpoint"] == "best") & (scores["split"] == "test")]
    assert list(best["class"]) == list(classes) * len(samples)
    for sample, logits in predicted_logits(run.network, config, collection, samples):
        raw = collection.read(sample)
        assert logits.shape == (4, 36, 40), "background and three classes, on the image's grid"
        masks = decided(logits[None], config)
        assert masks.sum(1).max() <= 1, "no pixel is of two classes"
        winner = logits.argmax(0)
        for index in range(3):
            assert torch.equal(masks[0, index], winner == index + 1)
        expected = segmentation_scores(masks, torch.from_numpy(raw.mask)[None], nsd_tolerance=2.0)
        rows = best[best["image"] == sample.image]
        for name in ("iou", "hd95", "nsd", "area", "iou_reference"):
            assert rows[name].tolist() == pytest.approx(expected[name][0].tolist()), name


def test_classes_that_overlap_are_scored_each_for_itself(organs, tiny_config):
    config = run_of(tiny_config, {"name": str(organs), "classes": ("one", "two", "three")}, {})

    class All(nn.Module):
        def forward(self, images):
            return torch.ones(len(images), 3, 32, 32)

    from llm4seg_probe.data.datasets import open_collection

    collection = open_collection(str(organs), classes=config.data.classes)
    rows = score(All(), config, collection, collection.samples[:1])
    area = [float((collection.read(collection.samples[0]).mask[k]).sum()) for k in range(3)]
    assert [row["area"] for row in rows] == area
    assert [row["iou"] for row in rows] == pytest.approx([a / (36 * 40) for a in area])
    assert [row["recall"] for row in rows] == [1.0, 1.0, 1.0]


def test_volumes_are_trained_on_patches_and_scored_whole(volumes, tiny_config, tmp_path):
    config = run_of(
        tiny_config,
        {
            "name": str(volumes), "image_size": (16, 16, 16), "sampling": "patches",
            "spacing": (1.5, 1.2, 1.2), "patches_per_image": 2,
        },
        {"batch_size": 3},
        backbone={"name": "segresnet-3d", "widths": (8, 16, 32, 64)},
    )  # fmt: skip
    path = train(config, tmp_path / "llm-0")
    scores = tables.read_table(path.parent / "scores.csv", tables.SCORES)
    run = load(path)
    collection = run.collection()
    samples = [collection.sample(image) for image in run.images("test")]
    assert samples
    for sample, logits in predicted_logits(run.network, config, collection, samples):
        raw = collection.read(sample)
        assert raw.spacing == (2.0, 1.0, 1.0)
        assert logits.shape == (1, *raw.image.shape[1:]), "the volume's own grid"
        row = scores[
            (scores["checkpoint"] == "best")
            & (scores["split"] == "test")
            & (scores["image"] == sample.image)
        ].iloc[0]
        expected = segmentation_scores(
            decided(logits[None], config),
            torch.from_numpy(raw.mask)[None],
            spacing=raw.spacing,
            nsd_tolerance=2.0,
        )
        assert row["area"] == raw.mask.sum() * 2.0, "cubic millimetres"
        for name in ("iou", "hd95", "nsd"):
            assert row[name] == pytest.approx(expected[name].item()), name
    (probed,) = run.batches("test")
    assert probed.images.shape[1:] == (1, 16, 16, 16)
    assert probed.masks.flatten(1).any(1).all(), "a probe's patch is on the foreground"
    again = train(
        config.model_copy(update={"training": config.training.model_copy(update={"workers": 2})}),
        tmp_path / "again",
    )
    for one, other in ((path, again),):
        assert (one.parent / "metrics.csv").read_bytes() == (
            other.parent / "metrics.csv"
        ).read_bytes()
