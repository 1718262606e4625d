"""A detection from its configuration to its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from llm4seg_probe import tables
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.probes.probed import Source
from llm4seg_probe.probes.registry import find
from llm4seg_probe.probes.result import take
from llm4seg_probe.training.tasks.detection import found_in, gaussian_sd, score, target
from llm4seg_probe.training.tasks.registry import part_of
from llm4seg_probe.training.train import train


@pytest.fixture(scope="module")
def config(tiny_config: Config) -> Config:
    values = tiny_config.model_dump()
    return Config.model_validate(values | {"task": "detection", "training": {"epochs": 2}})


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "llm-0"
    train(config, folder)
    return folder


def test_a_run_has_scores_of_objects(run):
    scores = tables.read_table(run / "scores.csv", tables.SCORES)
    assert scores["iou"].isna().all()
    assert (scores["objects"] == 1).all()
    assert scores["object_sensitivity"].between(0, 1).all()
    metrics = tables.read_table(run / "metrics.csv", tables.METRICS)
    assert metrics["val_loss"].notna().all()
    assert metrics["val_iou"].isna().all()


def test_a_network_that_draws_the_target_finds_every_object(config):
    collection = open_collection(config.data.name, classes=config.data.classes)

    class Knows(torch.nn.Module):
        """Answers with the maps of the images in their order."""

        def __init__(self) -> None:
            super().__init__()
            self.samples = iter(collection.samples)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            masks = [collection.read(next(self.samples)).mask for _ in images]
            maps = target(torch.from_numpy(np.stack(masks)).float(), config)
            return torch.logit(maps.clamp(1e-6, 1 - 1e-6))

    frame = pd.DataFrame(score(Knows(), config, collection, collection.samples))
    assert frame["object_sensitivity"].mean() == 1.0
    assert frame["object_froc"].mean() == 1.0


def test_places_are_on_the_images_own_grid(config):
    maps = target(torch.nn.functional.pad(torch.ones(1, 1, 2, 2), (10, 20, 4, 26)), config)
    assert maps.shape == (1, 1, 32, 32)
    (found,) = found_in(torch.logit(maps[0].clamp(1e-6, 1 - 1e-6)), (64, 128), config)
    # The centre is at (4.5, 10.5), drawn at a pixel beside it.
    assert np.abs(found.places[0] - (np.array([4.5, 10.5]) + 0.5) * [2, 4] + 0.5).max() <= 2
    assert gaussian_sd(config) == 1.0


def test_predict_writes_the_places(run, tmp_path, tiny_data):
    image = next((tiny_data / "images").iterdir())
    Image.open(image).save(tmp_path / "new.png")
    given = ["predict", "--ckpt", str(run / "run.pt"), "--images", str(tmp_path / "new.png")]
    said = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out")])
    assert said.exit_code == 0, said.output
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table.columns) == ["image", "class", "y", "x", "probability", "file"]
    assert table[["y", "x"]].to_numpy().max() < 32


def test_probes_of_answered_masks_are_refused(run):
    with pytest.raises(SiteError, match="robustness looks at the masks that a network answers"):
        take(find("robustness"), [Source(run / "run.pt", device="cpu")])


def test_a_side_without_objects_is_refused(config, tiny_data):
    class Empty(Collection):
        """The images with their masks emptied."""

        def read(self, sample):
            raw = super().read(sample)
            raw.mask[:] = False
            return raw

    opened = open_collection(str(tiny_data))
    empty = Empty(opened.name, opened.samples, opened.classes)
    names = tuple(sample.image for sample in opened.samples)
    split = Split("own", "d", "f", 0, False, False, names[:20], names[20:30], names[30:])
    with pytest.raises(DataError, match="none of the images of train has an object"):
        part_of(config).check(config, empty, split)
