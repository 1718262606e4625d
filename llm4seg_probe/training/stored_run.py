"""A finished run: what its ``run.pt`` holds, and how it is opened from that alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch, ImageDataset, batches
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.preprocess import Preprocess
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import CheckpointError, ConfigError, DataError, SourceError, unknown
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.llm.sources import nothing_fetched
from llm4seg_probe.llm.stored_weights import sha256_of_tensors
from llm4seg_probe.models.devices import device_named, device_of
from llm4seg_probe.models.network import (
    build_network,
    decoder_from_embedded,
    embedded_layer,
    frozen_decoder,
    load_portable_state,
    numbers_of,
    portable_state,
)
from llm4seg_probe.models.outside import is_outside, refuse_unasked
from llm4seg_probe.reading.bounds import as_error
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.checkpoint import RunContent, run_content_of
from llm4seg_probe.training.compute import in_memory_format


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
    def device(self) -> torch.device:
        """Where its network lies."""
        return device_of(self.network, torch.device("cpu"))

    def on(self, device: str | None) -> Run:
        """The run with its network moved to a device, ``auto``, ``cpu``, ``cuda:1`` or ``mps``.

        With None it stays where it is. Raises ConfigError for a device that there is not.
        """
        if device is None:
            return self
        return replace(self, network=self.network.to(device_named(device)))

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
        try:
            if self.config.data.nnunet is not None:
                from llm4seg_probe.data.nnunet_cases import open_cases

                own = (*self.split.train, *self.split.val) if data is None else None
                return open_cases(Path(name), self.config.data, own)
            return open_collection(name, classes=self.config.data.classes)
        except DataError as error:
            if data is not None:
                raise
            raise DataError(
                f"{self.path}: its images (data.name) cannot be opened: {error}. Or name them "
                "with --data FOLDER"
            ) from error

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
    """Collect the contents of ``run.pt``: enough to open it from any folder.

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


def load(
    path: str | Path,
    *,
    network: str | Callable[..., object] | None = None,
    device: str = "cpu",
) -> Run:
    """Open a finished run from its ``run.pt``, with the network it trained.

    Nothing is fetched, and no code runs but this project's. A frozen layer is taken from its
    source, or from the file where it is embedded, and verified by its SHA-256.

    Parameters
    ----------
    path : str or Path
        The ``run.pt`` of a run folder.
    network : str or callable, optional
        Of a run whose network is from outside: that callable, or its name
        ``package.module:callable``. It must be the one that the run was trained with.
    device : str
        Where the network goes: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``
        or ``mps``.

    Returns
    -------
    Run
        ``run.network`` in evaluation mode, with configuration, split and images.

    Raises
    ------
    CheckpointError
        If the file is no run, or its layer is not the one that the run was trained with.
    SourceError
        Where the layer is not on this machine.
    ConfigError
        For a device that this machine does not have.

    Examples
    --------
    >>> load("run.pt")
    Traceback (most recent call last):
        ...
    llm4seg_probe.errors.CheckpointError: run.pt does not exist
    """
    path = Path(path)
    place = device_named(device)
    content = run_content_of(checkpoint.read_run(path), str(path))
    config = content.configuration(str(path))
    split = content.split_of_run(str(path))
    refuse_unasked(config.backbone.name, str(path), CheckpointError, network)
    _refuse_larger(content, config, path)
    with nothing_fetched(), as_error(path, CheckpointError, "is no run that can be opened"):
        decoder = _embedded_decoder(content, config, path)
        try:
            built = in_memory_format(build_network(config, decoder), config)
        except SourceError as error:
            raise SourceError(f"{path}: its layer (booster.source): {error}") from error
    _refuse_another_layer(built, content, config, path)
    try:
        load_portable_state(built, content.state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Run(
        name=content.name,
        dataset=content.dataset,
        config=config,
        split=split,
        epoch=content.epoch,
        network=built.to(place).eval(),
        path=path,
    )


def _refuse_larger(content: RunContent, config: Config, path: Path) -> None:
    """Raise CheckpointError where the configuration makes a network larger than the weights."""
    if is_outside(config.backbone.name):
        return
    try:
        with as_error(path, CheckpointError, "is no run that can be opened"):
            wanted = numbers_of(config)
    except ConfigError as error:  # a network that no configuration may ask for
        raise CheckpointError(f"{path}: {error}") from error
    held = sum(tensor.numel() for tensor in content.state.values())
    if wanted > held:
        raise CheckpointError(
            f"{path}: the weights do not fit the network: its configuration makes {wanted:,} "
            f"numbers, the file has {held:,} in its state, which lacks the rest"
        )


def _refuse_another_layer(
    network: nn.Module, content: RunContent, config: Config, path: Path
) -> None:
    decoder = frozen_decoder(network)
    if decoder is None:
        return
    if content.layer is None:
        raise CheckpointError(f"{path} does not say which layer it was trained with")
    if decoder.identity.sha256 != content.layer.sha256:
        raise CheckpointError(
            f"{path} was trained with another version of {config.booster.source}, layer "
            f"{config.booster.layer}: its SHA-256 was {content.layer.sha256[:12]}…, here it "
            f"is {decoder.identity.sha256[:12]}…"
        )


def _embedded_decoder(content: RunContent, config: Config, path: Path) -> Decoder | None:
    """The decoder whose tensors lie in the file itself, verified; None where they do not."""
    embedded = content.embedded
    if embedded is None:
        return None
    sha256 = sha256_of_tensors(embedded.tensors)
    if sha256 != embedded.sha256:
        raise CheckpointError(
            f"{path}: the decoder layer inside it was changed since it was stored: its SHA-256 was "
            f"{embedded.sha256[:12]}…, now it is {sha256[:12]}…"
        )
    decoder = decoder_from_embedded(
        config, {"values": embedded.values, "tensors": embedded.tensors}
    )
    if content.identity is not None:
        decoder.identity = content.identity
    return decoder
