"""A finished run: what its ``run.pt`` holds, and how it is opened from that alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from llm4seg_probe.config import Config, validated
from llm4seg_probe.data.batches import Batch, ImageDataset, batches
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.transforms import Preprocess
from llm4seg_probe.errors import CheckpointError, DataError, unknown
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.llm.identity import LayerIdentity, sha256_of_tensors
from llm4seg_probe.models.network import (
    build_network,
    decoder_from_embedded,
    embedded_layer,
    frozen_decoder,
    load_portable_state,
    portable_state,
)
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.compute import arranged


@dataclass(frozen=True)
class Run:
    """A trained network with the configuration, the split and the transform it was trained with.

    ``network`` is in eval mode: what ``transform`` makes of an image in, logits (B, K, *grid) out;
    where it was trained on patches, ``training.inference.logits_of`` slides it over the image.
    ``epoch`` is the one whose weights these are, None where a converted checkpoint does not say.
    """

    name: str
    dataset: str
    config: Config
    split: Split
    epoch: int | None
    network: nn.Module
    path: Path

    @property
    def arm(self) -> str:
        """Condition of the comparison to which the run belongs."""
        return self.config.arm

    @property
    def seed(self) -> int:
        """Seed of initial weights, batches and augmentation."""
        return self.config.seed

    @property
    def transform(self) -> Preprocess:
        """What is done to an image before the network, or a window on it, sees it."""
        return Preprocess(self.config.data)

    def collection(self, data: Path | None = None) -> Collection:
        """The run's own images, or those of another folder.

        Raises DataError where the run does not say which images it was trained on.
        """
        if data is None:
            self._require_split()
        name = self.config.data.name if data is None else str(data)
        return open_collection(name, classes=self.config.data.classes)

    def images(self, split: str = "test", data: Path | None = None) -> tuple[str, ...]:
        """Identifiers of one side of the run's split, or of all images of ``data``.

        Raises DataError for an unknown side, or when the data are not those it was trained on.
        """
        if data is not None:
            return tuple(sample.image for sample in self.collection(data).samples)
        self._require_split()
        sides = {"train": self.split.train, "val": self.split.val, "test": self.split.test}
        if split not in sides:
            raise DataError(unknown("split", split, sides))
        return sides[split]

    def batches(
        self, split: str = "test", data: Path | None = None, size: int = 16
    ) -> Iterator[Batch]:
        """Images and masks in order, as the network sees them.

        Where ``data.sampling`` is ``patches``, that is one patch of each image: centred on the
        foreground pixel nearest to the foreground's centre of mass, or on the image's middle.
        """
        dataset = ImageDataset(
            self.collection(data), self.images(split, data), self.config.data, augment_seed=None
        )
        return batches(dataset, size)

    def _require_split(self) -> None:
        if not self.split.train:
            raise DataError(
                f"{self.path} was converted from a checkpoint that does not say which images it "
                "was trained on: add --data FOLDER, which holds images/ and masks/"
            )


def run_content(
    network: nn.Module,
    config: Config,
    *,
    name: str,
    dataset: str,
    split: Split,
    epoch: int | None,
    val_iou: float | None,
    embed_layer: bool,
) -> dict[str, Any]:
    """What ``run.pt`` holds: enough to open it from any folder.

    A frozen layer is in it by its identity alone; with ``embed_layer`` the tensors of the
    decoder are in it too, and its source is not needed any more.
    """
    decoder = frozen_decoder(network)
    embedded = embedded_layer(network) if embed_layer else None
    if embedded is not None:
        embedded["sha256"] = sha256_of_tensors(embedded["tensors"])
    return {
        "format": checkpoint.FORMAT,
        "version": checkpoint.VERSION,
        "name": name,
        "dataset": dataset,
        "config": config.model_dump(mode="json"),
        "split": split.to_dict(),
        "epoch": epoch,
        "val_iou": val_iou,
        "layer": decoder.identity.to_dict() if decoder is not None else None,
        "embedded": embedded,
        "state": portable_state(network),
    }


def load(path: str | Path) -> Run:
    """Open a run from its ``run.pt``; a frozen layer is verified, from its source or embedded.

    Raises CheckpointError if the file is no run, or its layer is not the one it was trained with.
    """
    path = Path(path)
    content = checkpoint.read_run(path)
    config = validated(content["config"], Config, str(path))
    network = arranged(build_network(config, _embedded_decoder(content, config, path)), config)
    decoder = frozen_decoder(network)
    if decoder is not None and decoder.identity.sha256 != content["layer"]["sha256"]:
        raise CheckpointError(
            f"{path} was trained with another version of {config.booster.source}, layer "
            f"{config.booster.layer}: its SHA-256 was {content['layer']['sha256'][:12]}…, here it "
            f"is {decoder.identity.sha256[:12]}…"
        )
    load_portable_state(network, content["state"])
    return Run(
        name=content["name"],
        dataset=content["dataset"],
        config=config,
        split=Split.from_dict(content["split"]),
        epoch=content["epoch"],
        network=network.eval(),
        path=path,
    )


def _embedded_decoder(content: dict[str, Any], config: Config, path: Path) -> Decoder | None:
    """The decoder whose tensors lie in the file itself, verified; None where they do not."""
    embedded = content.get("embedded")
    if embedded is None:
        return None
    found = sha256_of_tensors(embedded["tensors"])
    if found != embedded["sha256"]:
        raise CheckpointError(
            f"{path}: the decoder layer inside it was changed since it was stored: its SHA-256 was "
            f"{embedded['sha256'][:12]}…, now it is {found[:12]}…"
        )
    decoder = decoder_from_embedded(config, embedded)
    if content["layer"] is not None:
        decoder.identity = LayerIdentity.from_dict(content["layer"])
    return decoder
