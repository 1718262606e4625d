from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from llm4seg_probe.config import Config, TrainingConfig
from llm4seg_probe.data.batches import ImageDataset, batches
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.effects import masks_of, overlaps, single_pass
from llm4seg_probe.probes.intervene import Options
from llm4seg_probe.probes.intervene.table import intervene_table
from llm4seg_probe.probes.swap.table import Exchange, fit, swap_table
from llm4seg_probe.training.scoring import score


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


@pytest.fixture(scope="module")
def patch_data(run):
    return run.config.data.model_copy(update={"sampling": "patches", "image_size": (16, 16)})


@pytest.fixture(scope="module")
def patches(patch_data, collection, some_batches):
    """One patch of a quarter of each image."""
    names = tuple(name for batch in some_batches for name in batch.names)
    return list(batches(ImageDataset(collection, names, patch_data, None), 4))


@pytest.fixture(scope="module")
def patch_run(run, patch_data, patches):
    """The fixture's run on patches, with a threshold that half of the pixels are above."""
    with torch.no_grad():
        middle = run.network(patches[0].images).sigmoid().median().item()
    changes = {
        "data": patch_data,
        "evaluation": run.config.evaluation.model_copy(update={"threshold": middle}),
    }
    return dataclasses.replace(run, config=run.config.model_copy(update=changes))


@pytest.fixture(scope="module")
def softmax_run(run, some_batches):
    """The fixture's run with a background channel."""
    training = TrainingConfig(output="softmax")
    config = run.config.model_copy(update={"training": training})
    network = build_network(config)
    with torch.no_grad():
        for _ in range(20):
            network(some_batches[0].images)
    return dataclasses.replace(run, config=config, network=network.eval())


def by_hand(prediction, mask):
    """IoU and Dice of two boolean arrays, counted."""
    common, either = (prediction & mask).sum(), (prediction | mask).sum()
    if either == 0:
        return 1.0, 1.0
    return common / either, 2 * common / (prediction.sum() + mask.sum())


def test_a_patch_is_scored_against_its_own_mask(patch_run, patches, collection):
    table = intervene_table(patch_run, patches, collection, Options(only=("bypass",))).table
    plain = table[table["intervention"] == "none"].set_index("image")
    seen = set()
    for batch in patches:
        with torch.no_grad():
            found = patch_run.network(batch.images).sigmoid().numpy()
        found = found > patch_run.config.evaluation.threshold
        for name, patch, mask in zip(batch.names, found, batch.masks.numpy(), strict=True):
            iou, dice = by_hand(patch[0], mask[0] > 0.5)
            assert plain.loc[name, ["iou", "dice"]].tolist() == pytest.approx([iou, dice])
            stored = collection.read(collection.sample(name)).mask[0]
            whole = np.kron(patch[0], np.ones((2, 2), dtype=bool))
            seen.add(by_hand(whole, stored)[0] == pytest.approx(iou))
    assert False in seen  # stretched over the whole image it would be another number


def test_a_swap_scores_patches_too(patch_run, patches, collection):
    exchange = Exchange.between(patch_run, {})
    swapped = swap_table(exchange, fit(exchange, patches), patches, collection)
    intervened = intervene_table(patch_run, patches, collection, Options(only=("bypass",))).table
    plain = intervened[intervened["intervention"] == "none"]
    own = swapped[swapped["donor"] == ""]
    assert own["image"].tolist() == plain["image"].tolist()
    assert own["iou"].tolist() == plain["iou"].tolist()


def test_whole_images_are_scored_as_stored(run, some_batches, collection):
    (mask, *_) = masks_of(run.config, collection, some_batches[0])
    stored = collection.read(collection.sample(some_batches[0].names[0])).mask
    assert mask.dtype == torch.bool
    assert np.array_equal(mask.numpy(), stored)


def test_softmax_runs_are_scored_as_an_evaluation_scores_them(
    softmax_run, some_batches, collection
):
    names = [name for batch in some_batches for name in batch.names]
    samples = [collection.sample(name) for name in names]
    expected = pd.DataFrame(score(softmax_run.network, softmax_run.config, collection, samples))
    options = Options(only=("bypass",))
    table = intervene_table(softmax_run, some_batches, collection, options).table
    plain = table[table["intervention"] == "none"]
    assert plain["iou"].tolist() == expected["iou"].tolist()
    assert plain["dice"].tolist() == expected["dice"].tolist()
    assert 0 < plain["iou"].max() < 1


def test_with_softmax_the_most_probable_class_counts_and_not_the_threshold():
    config = Config.model_validate(
        {"data": {"classes": ["one", "two"]}, "training": {"output": "softmax"}}
    )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 3, 6, 7, generator=generator)
    masks = [torch.rand(2, 6, 7, generator=generator) > 0.6 for _ in range(3)]
    found = overlaps(logits, masks, config)
    for image, mask in enumerate(masks):
        winner = logits[image].numpy().argmax(0)
        for place in range(2):
            expected = by_hand(winner == place + 1, mask[place].numpy())
            scores = [found[name][image, place].item() for name in ("iou", "dice")]
            assert scores == pytest.approx(expected)


def test_the_mode_of_the_network_stays_and_logits_come_as_float(run, some_batches):
    half = single_pass(run.network, some_batches[0].images, run.config)
    assert half.dtype == torch.float32
    assert half.device.type == "cpu"
    assert half.shape == (4, 1, 32, 32)
    assert not run.network.training
