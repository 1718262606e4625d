"""A finished run, opened from its ``run.pt`` alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from llm4seg_probe.config import Config, validated
from llm4seg_probe.data.batches import Batch, ImageDataset, batches
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.transforms import Preprocess
from llm4seg_probe.errors import CheckpointError, DataError, unknown
from llm4seg_probe.models.network import build_network, frozen_decoder, load_portable_state
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.compute import arranged


@dataclass(frozen=True)
class Run:
    """A trained network with the configuration, the split and the transform it was trained with.

    ``network`` is in eval mode: what ``transform`` makes of an image in, logits (B, K, *grid) out.
    """

    name: str
    dataset: str
    config: Config
    split: Split
    epoch: int
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
        """What is done to an image before the network sees it."""
        return Preprocess(self.config.data)

    def collection(self, data: Path | None = None) -> Collection:
        """The run's own images, or those of another folder."""
        name = self.config.data.name if data is None else str(data)
        return open_collection(name, classes=self.config.data.classes)

    def images(self, split: str = "test", data: Path | None = None) -> tuple[str, ...]:
        """Identifiers of one side of the run's split, or of all images of ``data``.

        Raises DataError for an unknown side, or when the data are not those it was trained on.
        """
        if data is not None:
            return tuple(sample.image for sample in self.collection(data).samples)
        sides = {"train": self.split.train, "val": self.split.val, "test": self.split.test}
        if split not in sides:
            raise DataError(unknown("split", split, sides))
        return sides[split]

    def batches(
        self, split: str = "test", data: Path | None = None, size: int = 16
    ) -> Iterator[Batch]:
        """Images and masks in order, as the network sees them."""
        dataset = ImageDataset(
            self.collection(data), self.images(split, data), self.config.data, augment_seed=None
        )
        return batches(dataset, size)


def load(path: str | Path) -> Run:
    """Open a run from its ``run.pt``; a frozen layer is read from its source and verified.

    Raises CheckpointError if the file is no run, or its layer is not the one it was trained with.
    """
    path = Path(path)
    content = checkpoint.read_run(path)
    config = validated(content["config"], Config, str(path))
    network = arranged(build_network(config), config)
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
