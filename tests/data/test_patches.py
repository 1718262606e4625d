"""Patches that training cuts, the one that probes see, and images brought to a spacing."""

import json
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data import batches as module
from llm4seg_probe.data import patches
from llm4seg_probe.data.batches import EpochSampler, ImageDataset, WholeImages, batches
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.patches import on_disk
from llm4seg_probe.data.preprocess import LINEAR, resized, size_at
from llm4seg_probe.errors import DataError
from llm4seg_probe.randomness import generator

SIZE = (16, 16, 16)
READ = Collection.read
CONFIG = DataConfig(image_size=SIZE, sampling="patches", augmentation="none", patches_per_image=3)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three CT-like volumes of different sizes, one thinner than a patch; the mask is 500 HU."""
    folder = tmp_path_factory.mktemp("patch-volumes")
    draw = np.random.default_rng(0)
    (folder / "dataset.json").write_text(json.dumps({"modality": "ct"}))
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number, size in enumerate([(40, 30, 20), (24, 24, 24), (30, 34, 9)]):
        mask = np.zeros(size, np.uint8)
        corner = [int(draw.integers(0, length - 5)) for length in size]
        mask[tuple(slice(low, low + 5) for low in corner)] = 1
        image = np.where(mask > 0, 500, draw.integers(-100, 200, size)).astype(np.int16)
        for part, pixels in (("images", image), ("masks", mask)):
            volume = nibabel.Nifti1Image(pixels, np.diag([1.0, 1.0, 2.0, 1.0]))
            nibabel.save(volume, folder / part / f"v{number}.nii.gz")
    return folder


@pytest.fixture
def collection(volumes: Path) -> Collection:
    return open_collection(str(volumes))


def ids(collection: Collection) -> tuple[str, ...]:
    return tuple(sample.image for sample in collection.samples)


def starts(places, share: float, grid=(20, 30), size=(8, 8), count=2000) -> list[tuple[int, ...]]:
    return [
        patches.random_start(grid, size, places, share, generator(number))
        for number in range(count)
    ]


def test_an_epoch_holds_so_many_patches_of_each_image_with_their_masks(collection):
    dataset = ImageDataset(collection, ids(collection), CONFIG, 0)
    assert len(dataset) == 9
    different = set()
    for index in range(9):
        image, mask, number = dataset[index]
        assert (image.shape, mask.shape, number) == ((1, *SIZE), (1, *SIZE), index)
        assert image.dtype == mask.dtype == torch.float32
        # 500 HU are 0.4 on the scale of the window; nothing else is that bright.
        assert torch.equal(mask[0] > 0.5, image[0] > 0.3), "image and mask are cut at one place"
        different.add(image.sum().item())
    assert len(different) == 9


@pytest.mark.parametrize("augmentation", ["none", "reference"])
def test_patches_do_not_depend_on_workers_memory_or_what_came_before(
    collection, augmentation, monkeypatch
):
    config = CONFIG.model_copy(update={"augmentation": augmentation})

    def epoch(dataset: ImageDataset, number: int, workers: int) -> list[torch.Tensor]:
        sampler = EpochSampler(len(dataset), 5)
        sampler.set_epoch(number)
        dataset.set_epoch(number)
        loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers)
        return [tensor for batch in loader for tensor in batch]

    alone = ImageDataset(collection, ids(collection), config, 3)
    first, later = epoch(alone, 0, 0), epoch(alone, 4, 0)
    monkeypatch.setattr(module, "MEMORY_LIMIT", 10_000)
    resumed = ImageDataset(collection, ids(collection), config, 3)
    for a, b in zip(later, epoch(resumed, 4, 2), strict=True):
        assert torch.equal(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(first, later, strict=True))
    other = ImageDataset(collection, ids(collection), config, 4)
    assert not all(torch.equal(a, b) for a, b in zip(later, epoch(other, 4, 0), strict=True))


def test_what_does_not_fit_in_memory_is_read_in_parts_from_a_file_without_a_name(
    collection, monkeypatch, tmp_path
):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "MEMORY_LIMIT", 200_000)
    reads = []
    monkeypatch.setattr(
        Collection, "read", lambda self, sample: reads.append(sample) or READ(self, sample)
    )
    dataset = ImageDataset(collection, ids(collection), CONFIG, 3)
    for index in range(9):
        dataset[index]
    assert len(reads) == 3, "each volume is read once, though two of them are not in memory"
    assert list(tmp_path.iterdir()) == []
    for tensor in (torch.randn(3, 4, 5), torch.rand(7, 2) > 0.5, torch.arange(5)):
        mapped = on_disk(tensor.transpose(0, -1))
        assert torch.equal(mapped, tensor.transpose(0, -1))
        assert mapped.dtype == tensor.dtype


def test_a_share_of_the_patches_is_centred_on_the_foreground_classes_drawn_equally():
    mask = torch.zeros(3, 20, 30)
    mask[0, 10, 12] = 1
    mask[1, 6:14, 18:26] = 1  # 64 times as many pixels; the third class is nowhere
    places = patches.foreground_places(mask)
    assert [len(own) for own in places] == [1, 64]
    centres = [(a + 4, b + 4) for a, b in starts(places, 1.0)]
    assert {bool(mask[:, a, b].any()) for a, b in centres} == {True}
    assert np.mean([centre == (10, 12) for centre in centres]) == pytest.approx(0.5, abs=0.04)
    on_the_square = Counter(centre for centre in centres if centre != (10, 12))
    assert len(on_the_square) == 64
    third = starts(places, 1 / 3)
    # A patch that lies anywhere hits the single pixel, or the square, at its centre now and then.
    by_chance = 65 / (13 * 23)
    share = np.mean([bool(mask[:, a + 4, b + 4].any()) for a, b in third])
    assert share == pytest.approx(1 / 3 + 2 / 3 * by_chance, abs=0.04)


@pytest.mark.parametrize("places", [(), (torch.tensor([0]),)])
def test_other_patches_lie_anywhere_in_the_image(places):
    found = Counter(starts(places, 0.0 if places else 1.0, grid=(10, 12), size=(8, 8)))
    assert set(found) == {(a, b) for a in range(3) for b in range(5)}
    assert min(found.values()) > 2000 / 15 * 0.6


def test_a_patch_on_the_border_stays_in_the_image():
    corner = (torch.tensor([0]), torch.tensor([20 * 30 - 1]))
    assert set(starts(corner, 1.0, count=50)) == {(0, 0), (12, 22)}


def test_of_a_large_class_some_places_are_kept_from_all_over_it(monkeypatch):
    monkeypatch.setattr(patches, "LARGEST_LIST", 100)
    (places,) = patches.foreground_places(torch.ones(1, 30, 31))
    assert len(places) == 93  # every tenth of 930
    assert places[0] == 0
    assert places[-1] == 920


def test_small_images_are_padded_on_both_sides_and_unpadded_to_the_same():
    pixels = torch.arange(-3.0, 27.0).reshape(1, 5, 6)
    wide = patches.padded(pixels, (8, 4))
    assert wide.shape == (1, 8, 6)
    assert torch.equal(wide[:, 1:6], pixels)
    assert set(wide[:, [0, 6, 7]].flatten().tolist()) == {-3.0}
    assert torch.equal(patches.unpadded(wide, (5, 6)), pixels)
    assert patches.padded(pixels, (5, 6)) is pixels
    image, mask = patches.padded_pair(pixels, torch.ones(1, 5, 6), (9, 9))
    assert image.shape == mask.shape == (1, 9, 9)
    assert mask.sum() == 30


def test_a_probe_sees_one_patch_of_each_image_on_its_foreground(collection):
    dataset = ImageDataset(collection, ids(collection), CONFIG, None)
    assert len(dataset) == 3
    (batch,) = batches(dataset, 8)
    assert batch.images.shape == batch.masks.shape == (3, 1, *SIZE)
    assert batch.names == ("v0", "v1", "v2")
    assert torch.equal(batch.masks.sum((1, 2, 3, 4)), torch.tensor([125.0, 125.0, 125.0]))
    dataset.set_epoch(3)
    assert torch.equal(next(batches(dataset, 8)).images, batch.images)


def test_the_central_patch_is_centred_on_the_nearest_foreground_pixel_or_the_middle():
    ring = torch.zeros(1, 40, 40)
    ring[0, 20, 8:33] = 1
    ring[0, 20, 15:26] = 0  # the centre of mass, (20, 20), is not in the mask
    assert patches.central_start(ring, (10, 10)) in {(15, 9), (15, 21)}
    assert patches.central_start(torch.zeros(2, 40, 30), (10, 10)) == (15, 10)


def test_scores_see_the_whole_image_at_its_own_size(collection):
    dataset = WholeImages(collection, ids(collection), CONFIG)
    shapes = [tuple(image.shape) for image, _, _ in dataset]
    # Slices, rows, columns: the last axis of these files is the first one here.
    assert shapes == [(1, 20, 30, 40), (1, 24, 24, 24), (1, 9, 34, 30)]
    for image, mask, _ in dataset:
        assert torch.equal(mask > 0.5, image > 0.3)


def test_images_are_resampled_to_a_spacing_first(collection):
    config = CONFIG.model_copy(update={"spacing": (1.0, 2.0, 2.0)})
    dataset = WholeImages(collection, ids(collection), config)
    shapes = [tuple(image.shape) for image, _, _ in dataset]
    assert shapes == [(1, 40, 15, 20), (1, 48, 12, 12), (1, 18, 17, 15)]
    assert set(torch.cat([mask.flatten() for _, mask, _ in dataset]).tolist()) == {0.0, 1.0}
    whole = config.model_copy(update={"sampling": "whole"})
    assert WholeImages(collection, ("v0",), whole)[0][0].shape == (1, *SIZE)


def test_linear_resampling_keeps_a_ramp_and_comes_back():
    ramp = torch.arange(40.0).expand(1, 10, 40)
    fine = resized(ramp, (10, 80), LINEAR[2])
    assert torch.allclose(fine[0, 0].diff()[2:-2], torch.tensor(0.5))
    assert torch.allclose(resized(fine, (10, 40), LINEAR[2])[..., 1:-1], ramp[..., 1:-1])
    assert size_at((10, 40), (1.0, 1.0), (1.0, 0.5)) == (10, 80)
    assert size_at((1, 3), (1.0, 1.0), (9.0, 2.0)) == (1, 2)


def test_an_unknown_spacing_is_one_line_that_names_the_file(pictures):
    collection = open_collection(str(pictures))
    config = DataConfig(image_size=(16, 16), spacing=(1.0, 1.0))
    with pytest.raises(DataError, match=r"scan 1\.png: data\.spacing is \[1\.0, 1\.0\], but") as no:
        WholeImages(collection, ids(collection), config)
    assert "\n" not in str(no.value)
    with pytest.raises(DataError, match="spacing_y and spacing_x"):
        ImageDataset(collection, ids(collection), config, 0)
