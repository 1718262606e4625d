"""Probes of any network with a batch of images and masks, without a run of ours."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import llm4seg_probe as lp
from llm4seg_probe.errors import DataError, SiteError, UserError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.result import ProbeResult

QUICK = {
    "attribute": {"steps": 4, "boxes": 2, "n_images": 2},
    "robustness": {"corruptions": ("noise",)},
    "denoise": {"draws": 2, "n_images": 4},
    "intervene": {"ranks": (1, 2), "directions": 1},
}
WITHOUT_A_LAYER = {
    "attention": "no attention",
    "lens": "no decoder layer",
    "swap": "takes runs",
    "mixture": "no mixture of layers and no gate",
}


class UNet(nn.Module):
    """A plain network, channels first, of nobody here."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
        self.pool = nn.MaxPool2d(4)
        self.deep = nn.Sequential(nn.Conv2d(6, 12, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 6, 4, stride=4)
        self.head = nn.Conv2d(12, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        shallow = self.shallow(images)
        deep = self.deep(self.pool(shallow))
        return self.head(torch.cat([shallow, self.up(deep)], 1))


@pytest.fixture(scope="module")
def unet() -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet().train()


@pytest.fixture(scope="module")
def batch(some_batches) -> tuple[Tensor, Tensor]:
    return (
        torch.cat([each.images for each in some_batches]),
        torch.cat([each.masks for each in some_batches]),
    )


def taken(name: str, unet: nn.Module, images: Tensor, masks: Tensor) -> object:
    networks = {"one": unet, "two": deepcopy(unet)} if name == "similarity" else unet
    return getattr(lp, name)(networks, images, masks, **QUICK.get(name, {}))


@pytest.mark.parametrize("name", [probe.name for probe in registry.PROBES])
def test_a_probe_measures_any_network_or_says_why_not(
    name: str, unet: UNet, batch, fingerprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = fingerprint(unet)
    if name in WITHOUT_A_LAYER:
        with pytest.raises(UserError, match=WITHOUT_A_LAYER[name]) as refused:
            taken(name, unet, *batch)
        assert "\n" not in str(refused.value)
    else:
        found = taken(name, unet, *batch)
        assert set(found.table["arm"]) <= {"network", "one", "two"}
        assert len(found.table)
        assert len(found.summary)
        assert "data:image/png;base64," in found._repr_html_()
    assert fingerprint(unet) == before
    assert not list(tmp_path.iterdir())


def test_by_position_and_by_keyword_tensors_and_arrays_are_the_same(unet: UNet, batch) -> None:
    images, masks = batch
    by_place = lp.rank(unet, images, masks, sites=["deep"]).table
    by_name = lp.rank(unet, images=images.numpy(), masks=masks.numpy(), sites="deep").table
    assert by_place.equals(by_name)
    assert lp.probe(unet, "rank", images, masks, sites=["deep"]).table.equals(by_place)


def test_the_rank_is_that_of_the_features_there(unet: UNet, batch) -> None:
    images, masks = batch
    found = lp.rank(unet, images, masks, sites=["deep"]).table
    rows = found[(found["part"] == "all") & (found["null"] == "")]
    with torch.no_grad():
        features = unet.deep(unet.pool(unet.shallow(images)))
    expected = lp.effective_rank(features.flatten(2).mT)
    assert rows["effective_rank"].to_numpy() == pytest.approx(expected.numpy())


def test_without_sites_the_deepest_features_are_taken_and_that_is_said(unet: UNet, batch) -> None:
    found = lp.rank(unet, *batch)
    assert set(found.table["site"]) == {"deep"}
    assert "module deep, its deepest features" in found.sentences[-1]


def test_a_boosted_network_has_the_sites_and_parts_of_a_layer(
    unet: UNet, batch, tiny_llm: Path, tmp_path: Path
) -> None:
    boosted = lp.boost(unet, at="deep", source=str(tiny_llm), layer=2, input_shape=(1, 32, 32))
    images, masks = batch
    assert set(lp.rank(boosted, images, masks).table["site"]) == {"before", "after"}
    assert len(lp.attention(boosted, images, masks).table)
    changed = lp.intervene(boosted, images, masks, only=("bypass", "mlp-off")).table
    assert set(changed["intervention"]) == {"none", "bypass", "mlp-off"}


def test_masks_may_be_labels_and_an_answer_of_several_classes_has_a_background() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 1))
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0] > 0).long() + (images[:, 0] > 1).long()
    found = lp.maps(network, images, labels, sites=["0"])
    assert set(found.table["class"]) == {"class-1", "class-2"}


class Dictionary(nn.Module):
    """Answers in a mapping, at a quarter of the size, as some of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 4, 4, stride=4)

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"logits": self.features(images)[:, :1]}


def test_logits_are_found_in_a_mapping_and_brought_to_the_images_grid(batch) -> None:
    found = lp.robustness(Dictionary(), *batch, corruptions=("noise",))
    assert found.table["iou"].notna().all()


def test_without_masks_a_probe_measures_what_it_can_or_asks_for_them(unet: UNet, batch) -> None:
    parts = set(lp.rank(unet, batch[0]).table["part"])
    assert parts == {"all", "dataset"}
    assert set(lp.rank(unet, batch[0], parts="all").table["part"]) == {"all"}
    with pytest.raises(DataError, match="maps compares with masks: give them"):
        lp.maps(unet, batch[0])


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (torch.zeros(2, 16, 16), None, "channels first; these are"),
        (torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32), "does not take images"),
        (torch.zeros(2, 1, 32, 32), torch.ones(3, 1, 32, 32), "one mask for each image"),
        (torch.zeros(2, 1, 32, 32), torch.ones(2, 4, 32, 32), "answers in 1 channels"),
        (None, None, "a network needs images"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(unet: UNet, images, masks, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        lp.rank(unet, images, masks)
    assert "\n" not in str(refused.value)


def test_images_go_with_networks_and_splits_with_runs(unet: UNet, batch) -> None:
    with pytest.raises(UserError, match="go with a network"):
        lp.rank("runs/*/run.pt", *batch)
    with pytest.raises(UserError, match="go with runs"):
        lp.rank(unet, *batch, split="val")
    with pytest.raises(SiteError, match="unknown site 'nowhere'"):
        lp.rank(unet, *batch, sites=["nowhere"])
    with pytest.raises(UserError, match="a int is no run"):
        lp.rank(3)


def test_the_measures_take_arrays() -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 16, 4))
    masks = np.zeros((2, 4, 4))
    masks[:, :2] = 1
    for measure in (lp.effective_rank, lp.entropy, lp.lsvr):
        assert torch.equal(measure(tokens), measure(torch.from_numpy(tokens)))
    by_array = lp.activation_iou(tokens, masks, grid=(4, 4))
    assert torch.equal(
        by_array, lp.activation_iou(torch.from_numpy(tokens), torch.from_numpy(masks), grid=(4, 4))
    )
    assert lp.activation_map(tokens, (4, 4)).shape == (2, 4, 4)


def test_a_result_saves_what_the_command_writes(unet: UNet, batch, tmp_path: Path) -> None:
    found = lp.rank(unet, *batch)
    assert isinstance(found.result, ProbeResult)
    written = {path.name for path in found.save(tmp_path)}
    assert {"rank.csv", "rank-densities.svg", "rank-densities.png"} <= written
