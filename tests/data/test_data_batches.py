import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data import batches as module
from llm4seg_probe.data.batches import EpochSampler, ImageDataset, batches
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import DataError

CONFIG = DataConfig(image_size=(16, 16))
NAMES = ("scan 10", "scan 1", "scan 2")


@pytest.fixture
def collection(pictures):
    return open_collection(str(pictures))


def epoch(dataset: ImageDataset, number: int, workers: int) -> list[torch.Tensor]:
    """All tensors of an epoch in the order of the sampler, as a loader of so many workers gives."""
    sampler = EpochSampler(len(dataset), 5)
    sampler.set_epoch(number)
    dataset.set_epoch(number)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers)
    return [tensor for batch in loader for tensor in batch]


@pytest.mark.parametrize("kind", ["reference", "mild"])
def test_an_epoch_does_not_depend_on_workers_or_on_what_came_before(collection, kind):
    config = CONFIG.model_copy(update={"augmentation": kind})
    names = tuple(sample.image for sample in collection.samples)
    alone = ImageDataset(collection, names, config, 3)
    epochs = {number: epoch(alone, number, 0) for number in (0, 1, 7)}
    resumed = ImageDataset(collection, names, config, 3)
    with_workers = epoch(resumed, 7, 2)
    for a, b in zip(epochs[7], with_workers, strict=True):
        assert torch.equal(a, b)
    for a, b in itertools.combinations(epochs.values(), 2):
        assert not all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    other_seed = ImageDataset(collection, names, config, 4)
    assert not all(
        torch.equal(a, b) for a, b in zip(epoch(other_seed, 7, 0), epochs[7], strict=True)
    )


def test_workers_that_outlive_an_epoch_see_the_next(collection):
    names = tuple(sample.image for sample in collection.samples)
    dataset = ImageDataset(collection, names, CONFIG, 3)
    loader = DataLoader(dataset, 4, num_workers=1, persistent_workers=True)
    for number in range(3):
        dataset.set_epoch(number)
        (images, masks, _), *_ = loader
        for i in range(4):
            assert torch.equal(images[i], dataset[i][0])
            assert torch.equal(masks[i], dataset[i][1])


def test_batches_come_in_the_order_of_the_names_without_augmentation(collection):
    dataset = ImageDataset(collection, NAMES, CONFIG, None)
    found = list(batches(dataset, 2))
    assert [batch.names for batch in found] == [("scan 10", "scan 1"), ("scan 2",)]
    assert [batch.groups for batch in found] == [("scan 10", "scan 1"), ("scan 2",)]
    assert found[0].images.shape == found[0].masks.shape == (2, 1, 16, 16)
    assert found[1].images.dtype == found[1].masks.dtype == torch.float32
    assert torch.equal(found[1].images[0], dataset[2][0])
    assert dataset[2][2] == 2
    dataset.set_epoch(9)
    assert torch.equal(next(batches(dataset, 2)).images, found[0].images)


def test_a_data_set_too_large_for_memory_gives_the_same_images(collection, monkeypatch):
    kept = ImageDataset(collection, NAMES, CONFIG, 3)
    monkeypatch.setattr(module, "MEMORY_LIMIT", 0)
    read_each_time = ImageDataset(collection, NAMES, CONFIG, 3)
    for i in range(3):
        assert torch.equal(kept[i][0], read_each_time[i][0])
        assert torch.equal(kept[i][1], read_each_time[i][1])


def test_augmenting_leaves_what_is_kept_alone(collection):
    dataset = ImageDataset(collection, NAMES, CONFIG, 3)
    before = [dataset[i] for i in range(3)]
    for number in range(1, 5):
        dataset.set_epoch(number)
        _ = [dataset[i] for i in range(3)]
    dataset.set_epoch(0)
    for i in range(3):
        assert torch.equal(dataset[i][0], before[i][0])


def test_orders_are_permutations_that_change_with_epoch_and_seed_only():
    sampler = EpochSampler(20, 1)
    orders = []
    for number in range(3):
        sampler.set_epoch(number)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(20))
    assert orders[0] != orders[1] != orders[2]
    sampler.set_epoch(1)
    assert list(sampler) == orders[1] == list(sampler)
    other = EpochSampler(20, 2)
    assert list(other) != orders[0]
    assert len(sampler) == 20


def test_an_image_that_cannot_be_used_is_named(collection):
    with pytest.raises(DataError, match=r"scan 10\.png: the image has 2 axes \[20, 24\], but"):
        ImageDataset(collection, NAMES, DataConfig(image_size=(16, 16, 16)), None)
    with pytest.raises(DataError, match="unknown image 'scan 99'"):
        ImageDataset(collection, ("scan 99",), CONFIG, None)
