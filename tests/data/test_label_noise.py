"""Wrong training masks: how many, which kinds, how far, and that nothing else is touched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from llm4seg_probe.config import Config, DataConfig, load_config
from llm4seg_probe.data.batches import ImageDataset, WholeImages
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.label_noise import KINDS, made_wrong, wrong_masks
from llm4seg_probe.errors import ConfigError

IMAGES = [f"image {number}" for number in range(37)]
PLAIN = DataConfig(image_size=(32, 32), augmentation="none")


def disc(radius: float, size: int = 64, centre: tuple[float, float] = (32, 32)) -> Tensor:
    rows, columns = np.mgrid[:size, :size]
    return torch.tensor(
        (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2, dtype=torch.float32
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_is_exact_and_the_kinds_are_a_quarter_each(share: float, seed: int) -> None:
    chosen = wrong_masks(IMAGES, share, seed)
    assert len(chosen) == round(share * len(IMAGES))
    count = Counter(chosen.values())
    assert max(count[kind] for kind in KINDS) - min(count[kind] for kind in KINDS) <= 1
    assert chosen == wrong_masks(IMAGES[::-1], share, seed)
    more = wrong_masks(IMAGES, 1.0, seed)
    assert all(more[image] == kind for image, kind in chosen.items())
    if share not in (0, 1):
        assert chosen.keys() != wrong_masks(IMAGES, share, seed + 7).keys()


def test_a_disc_shrinks_and_grows_by_a_quarter_of_its_radius() -> None:
    mask = disc(16)[None]
    for kind, radius in (("eroded", 12), ("dilated", 20)):
        changed = made_wrong(mask, kind, 0, "a")[0]
        # By pixel centres: within one pixel of the disc of that radius, on either side.
        assert bool((disc(radius - 1) <= changed).all() and (changed <= disc(radius + 1)).all())
        assert (changed.sum().item() / np.pi) ** 0.5 == pytest.approx(radius, abs=0.6)


@pytest.mark.parametrize("image", IMAGES[:8])
def test_a_shift_is_of_half_the_radius_and_keeps_the_form(image: str) -> None:
    mask = disc(12)[None]
    changed = made_wrong(mask, "shifted", 0, image)
    assert changed.sum() == mask.sum()
    places = [torch.nonzero(each[0]).double() for each in (mask, changed)]
    step = places[1].mean(0) - places[0].mean(0)
    radius = (mask.sum().item() / np.pi) ** 0.5
    assert step.norm().item() == pytest.approx(radius / 2, abs=0.71)  # to whole pixels
    moved = torch.roll(mask, [int(part) for part in step.round()], dims=(1, 2))
    assert torch.equal(changed, moved)


def test_shifts_go_different_ways_and_the_same_one_again() -> None:
    mask = disc(12)[None]
    ways = [made_wrong(mask, "shifted", 0, image) for image in IMAGES[:10]]
    assert len({way.numpy().tobytes() for way in ways}) > 5
    for image, way in zip(IMAGES[:10], ways, strict=True):
        assert torch.equal(made_wrong(mask, "shifted", 0, image), way)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_object_changes_too_and_only_dropping_loses_it(kind: str) -> None:
    for mask in (disc(2)[None], disc(1)[None]):
        changed = made_wrong(mask, kind, 0, "a")
        assert not torch.equal(changed, mask)
        assert bool(changed.any()) == (kind != "dropped")
    single = torch.zeros(1, 16, 16)
    single[0, 8, 8] = 1
    assert torch.equal(made_wrong(single, "eroded", 0, "a"), single)  # its innermost pixel
    assert made_wrong(single, "dilated", 0, "a").sum() == 5


def test_a_ball_is_measured_as_a_ball() -> None:
    grid = np.mgrid[:40, :40, :40] - 20
    ball = torch.tensor((grid**2).sum(0) <= 12**2, dtype=torch.float32)[None]
    for kind, radius in (("eroded", 9), ("dilated", 15)):
        count = made_wrong(ball, kind, 0, "a").sum().item()
        assert (0.75 * count / np.pi) ** (1 / 3) == pytest.approx(radius, abs=0.6)
    assert made_wrong(ball, "shifted", 0, "a").sum() == ball.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_do_not_overlap_do_not_overlap_afterwards(kind: str) -> None:
    mask = torch.stack([disc(8, centre=(32, 22)), disc(8, centre=(32, 40)), torch.zeros(64, 64)])
    assert mask.sum(0).max() == 1
    changed = made_wrong(mask, kind, 0, "a")
    assert changed.sum(0).max() <= 1
    assert not changed[2].any()
    assert changed.dtype == mask.dtype
    within = torch.stack([disc(12), disc(5)])  # a class within another goes on to overlap it
    assert made_wrong(within, "dilated", 0, "a").sum(0).max() == 2


@pytest.fixture(scope="module")
def collection(tiny_data: Path) -> Collection:
    return open_collection(str(tiny_data))


def masks_of(dataset: ImageDataset | WholeImages) -> list[Tensor]:
    return [dataset[index][1] for index in range(len(dataset))]


def test_training_masks_alone_are_wrong_and_images_are_as_they_were(
    collection: Collection,
) -> None:
    names = tuple(sample.image for sample in collection.samples)
    noisy = PLAIN.model_copy(update={"label_noise": 0.3})
    clean, wrong = (ImageDataset(collection, names, data, 5) for data in (PLAIN, noisy))
    chosen = wrong_masks(names, 0.3, 5)
    assert len(chosen) == 12
    for index, name in enumerate(names):
        assert torch.equal(clean[index][0], wrong[index][0])
        assert torch.equal(clean[index][1], wrong[index][1]) == (name not in chosen), name
        if name in chosen:
            expected = made_wrong(clean[index][1], chosen[name], 5, name)
            assert torch.equal(wrong[index][1], expected)
    assert wrong.noise == (
        "12 of 40 training masks with foreground are made wrong: 3 eroded, 3 dilated, 3 shifted, "
        "3 dropped (data.label_noise: 0.3, drawn by seed 5)."
    )
    assert clean.noise == ""
    for one, other in zip(
        masks_of(WholeImages(collection, names, PLAIN)),
        masks_of(WholeImages(collection, names, noisy)),
        strict=True,
    ):
        assert torch.equal(one, other)  # what scores are computed from
    for one, other in zip(
        masks_of(ImageDataset(collection, names, PLAIN, None)),
        masks_of(ImageDataset(collection, names, noisy, None)),
        strict=True,
    ):
        assert torch.equal(one, other)  # what probes see


def test_patches_are_cut_of_the_wrong_masks(collection: Collection) -> None:
    names = tuple(sample.image for sample in collection.samples[:8])
    cut = {"sampling": "patches", "image_size": (16, 16), "label_noise": 1.0}
    dataset = ImageDataset(collection, names, PLAIN.model_copy(update=cut), 0)
    chosen = wrong_masks(names, 1.0, 0)
    for index in range(len(dataset)):
        if chosen[names[index // 2]] == "dropped":
            assert not dataset[index][1].any()
    assert any(dataset[index][1].any() for index in range(len(dataset)))


@pytest.mark.parametrize("wrong", ["-0.1", "1.5", "some", "null"])
def test_a_share_that_is_none_is_refused_in_one_line(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "run.yaml").write_text(f"data: {{label_noise: {wrong}}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data\.label_noise: Input should be") as refused:
        load_config(tmp_path / "run.yaml")
    assert "\n" not in str(refused.value)
    assert Config().data.label_noise == 0
