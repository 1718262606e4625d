"""Runs on few images: which they see, how long an epoch is, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llm4seg_probe import tables
from llm4seg_probe.config import Config, load_config
from llm4seg_probe.data.batches import EpochSampler, ImageDataset, WholeImages
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.subsets import training_split
from llm4seg_probe.errors import ConfigError, DataError
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.pipeline import planned
from llm4seg_probe.training import checkpoint, run_folder
from llm4seg_probe.training.epochs import batches_of_epoch, items_of_epoch
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.task import SegmentationTask
from llm4seg_probe.training.train import train
from llm4seg_probe.training.work import step_time


def few(config: Config, data: dict[str, object], **training: object) -> Config:
    values = config.model_dump()
    values["data"] |= data
    values["training"] |= training
    return Config.model_validate(values)


@pytest.fixture(scope="module")
def collection(tiny_data: Path) -> Collection:
    return open_collection(str(tiny_data))


def test_an_epoch_has_the_steps_that_are_asked_for(tiny_config: Config) -> None:
    def items(images: int, of_all: int, data: dict[str, object] | None = None, **training: object):
        return items_of_epoch(few(tiny_config, data or {}, **training), images, of_all)

    assert items(9, 120) == 9
    assert items(9, 120, steps_per_epoch="full") == items(120, 120) == 120
    assert items(9, 120, steps_per_epoch=7, batch_size=4) == 28
    assert items(9, 120, steps_per_epoch=7, batch_size=4, accumulate=3) == 84
    patches = {"sampling": "patches", "patches_per_image": 3}
    assert items(9, 120, patches) == 27
    assert items(9, 120, patches, steps_per_epoch="full") == 360
    config = few(tiny_config, {}, batch_size=4, steps_per_epoch="full")
    assert batches_of_epoch(config, 9, 118) == 30  # the last of two images


@pytest.mark.parametrize("wrong", ["0", "-1", "2.5", "all", "true"])
def test_steps_that_are_none_are_refused_in_one_line(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "run.yaml").write_text(f"training: {{steps_per_epoch: {wrong}}}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"steps_per_epoch: give a number of steps") as no:
        load_config(tmp_path / "run.yaml")
    assert "\n" not in str(no.value)


def test_a_long_epoch_goes_through_the_images_in_new_orders() -> None:
    once, long, short = (EpochSampler(5, 1, length) for length in (None, 17, 3))
    for epoch in range(3):
        for sampler in (once, long, short):
            sampler.set_epoch(epoch)
        order = list(long)
        assert len(order) == len(long) == 17
        passes = [order[start : start + 5] for start in (0, 5, 10)]
        for number, one in enumerate(passes):
            assert sorted(one) == list(range(5 * number, 5 * number + 5))
        assert passes[0] == list(once)
        assert list(short) == passes[0][:3]
        assert len({tuple(item % 5 for item in one) for one in passes}) > 1
        assert len(set(order)) == 17


def test_an_image_that_comes_again_is_augmented_otherwise(
    collection: Collection, tiny_config: Config
) -> None:
    names = tuple(sample.image for sample in collection.samples[:3])
    plain = tiny_config.data.model_copy(update={"augmentation": "none"})
    dataset = ImageDataset(collection, names, plain, 0)
    for index in range(3):
        assert torch.equal(dataset[index][0], dataset[index + 3][0])
    augmented = ImageDataset(collection, names, tiny_config.data, 0)
    seen = {augmented[1 + 3 * number][0].numpy().tobytes() for number in range(12)}
    assert len(seen) > 3


def test_few_images_make_as_many_steps_as_all_where_they_are_to(
    collection: Collection, tiny_config: Config
) -> None:
    whole = few(tiny_config, {}, batch_size=5, epochs=4)
    fewer = few(whole, {"train_images": 3}, steps_per_epoch="full")
    short = few(whole, {"train_images": 3})

    def task(config: Config) -> SegmentationTask:
        split = training_split(collection, config)
        images = ImageDataset(collection, split.train, config.data, config.seed)
        items = items_of_epoch(config, len(split.train), 24)
        validation = WholeImages(collection, split.val, config.data)
        return SegmentationTask(config, torch.nn.Conv2d(1, 1, 1), images, validation, items)

    assert [task(config).steps_per_epoch for config in (whole, fewer, short)] == [5, 5, 1]
    assert [step_time(config, 1).steps for config in (whole, fewer, short)] == [20, 20, 4]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> dict[str, Path]:
    """A run on three images, with wrong masks and as many steps as all images make, of two arms."""
    folder = tmp_path_factory.mktemp("few")
    config = few(
        tiny_config, {"train_images": 3, "label_noise": 0.7}, steps_per_epoch="full", batch_size=4
    )
    return {
        arm: train(config.model_copy(update={"arm": arm}), folder / arm).parent
        for arm in ("cnn", "llm")
    }


def test_a_run_holds_the_images_that_it_was_trained_on(
    runs: dict[str, Path], collection: Collection
) -> None:
    splits = {arm: Split.load(folder / run_folder.SPLIT) for arm, folder in runs.items()}
    assert splits["cnn"] == splits["llm"]
    run = load(runs["llm"] / run_folder.BEST)
    assert run.split == splits["llm"] == training_split(collection, run.config)
    assert len(run.images("train")) == 3
    whole = training_split(collection, few(run.config, {"train_images": "all"}))
    assert (run.split.val, run.split.test) == (whole.val, whole.test)
    for folder in runs.values():
        steps = checkpoint.read(folder / run_folder.LAST)["global_step"]
        assert steps == 2 * 6  # two epochs, and six batches of four are 24 images


def test_scores_are_of_the_masks_as_they_are(runs: dict[str, Path], collection: Collection) -> None:
    scores = tables.read_table(runs["llm"] / run_folder.SCORES, tables.SCORES)
    area = scores.groupby("image")["area"].first()
    assert len(area) == 16
    for image, pixels in area.items():
        assert pixels == collection.read(collection.sample(str(image))).mask.sum()
    assert set(scores["split"]) == {"val", "test"}


def test_a_run_says_what_it_is_trained_on(
    tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = few(tiny_config, {"train_images": 0.25, "label_noise": 0.5}, epochs=1)
    train(config.model_copy(update={"arm": "cnn"}), tmp_path / "run")
    said = capsys.readouterr().err
    assert "run: Trains on 6 of 24 images (data.train_images: 0.25, drawn by seed 0)." in said
    assert "run: 3 of 6 training masks with foreground are made wrong: 1 eroded, 1 dilated" in said
    assert said.index("Trains on") < said.index("epoch 1 of 1")


def test_a_resumed_run_sees_the_batches_that_it_would_have_seen(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = few(tiny_config, {"train_images": 3, "label_noise": 1.0}, steps_per_epoch=4, epochs=2)
    config = config.model_copy(update={"arm": "cnn"})
    whole = train(config, tmp_path / "whole").parent
    with pytest.MonkeyPatch.context() as patch:
        real, steps = SegmentationTask.training_step, iter(range(5))

        def counted(self: SegmentationTask, batch: object, index: int) -> object:
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return real(self, batch, index)

        patch.setattr(SegmentationTask, "training_step", counted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(config, tmp_path / "stopped")
    train(config, tmp_path / "stopped", resume=True)
    a, b = (
        checkpoint.read(folder / run_folder.LAST)["state_dict"]
        for folder in (whole, tmp_path / "stopped")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_study_that_asks_for_more_images_than_there_are_is_not_begun(
    tiny_config: Config, tmp_path: Path
) -> None:
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    analysis = Analysis.model_validate(
        {
            "name": "few", "title": "Few", "question": "?", "rests_on": "little", "base": base,
            "factors": {"arm": ["cnn", "llm"], "data.train_images": [8, 25], "seed": [0]},
        }
    )  # fmt: skip
    with pytest.raises(DataError, match=r"data\.train_images: 25 images are asked for, but"):
        planned(analysis, tmp_path)
