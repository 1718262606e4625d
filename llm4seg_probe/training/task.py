"""A run's task as Lightning trains it, and the shares of a batch that processes take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import EpochSampler, ImageDataset, WholeImages
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.models.network import parameter_groups, portable_state
from llm4seg_probe.randomness import address
from llm4seg_probe.tables import METRICS
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.compute import memory_format
from llm4seg_probe.training.inference import images_at_once, logits_of
from llm4seg_probe.training.loss import halving_mean, over_scales, refuse_overlap
from llm4seg_probe.training.optimiser import optimiser, schedule
from llm4seg_probe.training.tasks.registry import part_of


@dataclass(frozen=True)
class Shares:
    """The batches of one pass over ``count`` images, ``size`` of them in a batch of all processes.

    ``rank`` is this process, ``world`` the number of them. All processes together see the batches
    that one process would see. A step is the mean over the images of its batches, whatever their
    number: a last small batch, a last incomplete group of batches and unequal shares are weighed by
    their images.
    """

    count: int
    size: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)

    def part(self, batch: Sequence[int]) -> list[int]:
        """This process's images of a batch; one that :meth:`own` does not count if it has none.

        >>> [Shares(3, 3, rank, 2).part([7, 8, 9]) for rank in (0, 1)]
        [[7, 9], [8]]
        """
        return list(batch[self.rank :: self.world]) or list(batch[:1])

    def own(self, index: int) -> int:
        """How many images of batch ``index`` this process counts."""
        return len(range(self.rank, self._images(index, index + 1), self.world))

    def weight(self, index: int, accumulate: int) -> float:
        """Factor of this process's mean loss over its share of batch ``index``.

        ``accumulate`` batches make a step. Processes are averaged and batches divided by
        ``accumulate`` elsewhere: with this factor the step is the mean over the images of its
        batches. It is 1 where all shares and batches are alike.
        """
        first = index - index % accumulate
        together = self._images(first, first + accumulate)
        return self.own(index) * self.world * accumulate / together

    def _images(self, first: int, end: int) -> int:
        return min(end * self.size, self.count) - first * self.size


class SharedBatches(Sampler[list[int]]):
    """Batch by batch this process's images of an order."""

    def __init__(self, order: Sequence[int], shares: Shares) -> None:
        self._order = order
        self._shares = shares

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[list[int]]:
        size = self._shares.size
        for start in range(0, len(self._order), size):
            yield self._shares.part(self._order[start : start + size])


Collated = tuple[Tensor, Tensor, Tensor]


class SegmentationTask(lightning.LightningModule):
    """A network with its data, loss and optimiser.

    Each epoch's batches are a function of (seed, epoch) alone: the loader is made anew for every
    epoch, so that a run that was stopped and resumed sees the batches it would have seen. Several
    processes share each batch. An epoch has ``items`` of the training images, each once unless
    given.
    """

    strict_loading = False  # a frozen layer is not in the checkpoint: it is in place already

    def __init__(
        self,
        config: Config,
        network: nn.Module,
        train: ImageDataset,
        validation: WholeImages,
        items: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.part = part_of(config)
        self.loss = self.part.loss(config)
        self.train_images = train
        self.validation_images = validation
        self.items = len(train) if items is None else items
        self.epoch_log: dict[str, list[Tensor]] = {}
        self.last_rate = float("nan")
        self._losses: list[Tensor] = []  # of the steps since the last look
        self._looked = 0
        self._format = memory_format(config)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one epoch; a last small one counts."""
        return len(self._shares("train"))

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch; a last incomplete one counts."""
        return math.ceil(self.batches_per_epoch / self.config.training.accumulate)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of the epoch that begins."""
        epoch = self.trainer.current_epoch
        self.train_images.set_epoch(epoch)
        order = EpochSampler(len(self.train_images), self.config.seed, self.items)
        order.set_epoch(epoch)
        return self._loader(self.train_images, list(order), "train")

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation images in their order."""
        images = self.validation_images
        return self._loader(images, range(len(images)), "val")

    def _loader(
        self, images: ImageDataset | WholeImages, order: Sequence[int], stage: str
    ) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_sampler=SharedBatches(order, self._shares(stage)),
            num_workers=self.config.training.workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _shares(self, stage: str) -> Shares:
        alone = self._trainer is None
        rank, world = (0, 1) if alone else (self.trainer.global_rank, self.trainer.world_size)
        if stage == "train":
            return Shares(self.items, self.config.training.batch_size, rank, world)
        size = max(images_at_once(self.config), world)
        return Shares(len(self.validation_images), size, rank, world)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimiser, and a schedule that moves with every step."""
        config = self.config.training
        chosen = optimiser(config.optimiser, parameter_groups(self.network))
        steps = config.epochs * self.steps_per_epoch
        scheduler = schedule(config.optimiser, chosen, steps)
        return {
            "optimizer": chosen,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        """Give whatever draws from the global generator (dropout) the address of this epoch."""
        self.epoch_log = {}
        self._losses, self._looked = [], 0
        rank = self.trainer.global_rank
        own = ("rank", rank) if rank else ()
        torch.manual_seed(address(self.config.seed, "epoch", self.trainer.current_epoch, *own))

    def on_before_batch_transfer(self, batch: Collated, dataloader_idx: int) -> Collated:
        """Look at the masks while they are on the CPU. Raises DataError where classes overlap."""
        if self.config.training.output == "softmax" and self.device.type != "cpu":
            refuse_overlap(batch[1])
        return batch

    def training_step(self, batch: Collated, index: int) -> Tensor:
        """Loss of one batch. Raises TrainingError when it is no longer finite.

        On the CPU at once; elsewhere when the epoch ends, since a look at each loss would make the
        processor wait for the device at every step.
        """
        self.last_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        shares, training = self._shares("train"), self.config.training
        loss = self._step(batch, "train", shares.own(index))
        self._losses.append(loss.detach())
        if loss.device.type == "cpu":
            self._refuse_infinite()
        if self.trainer.loggers:
            self.log("step_loss", loss, rank_zero_only=True)
            self.log("step_learning_rate", self.last_rate, rank_zero_only=True)
        return loss * shares.weight(index, training.accumulate)

    def _refuse_infinite(self) -> None:
        """Raise TrainingError where a loss since the last look is not finite, for the first."""
        losses, self._losses = self._losses, []
        if not losses:
            return
        values = torch.stack(losses)
        finite = torch.isfinite(values)
        if not finite.all():
            place = int((~finite).int().argmax())
            rate = self.config.training.optimiser.lr
            raise TrainingError(
                f"the loss is {values[place].item()} at epoch {self.trainer.current_epoch}, step "
                f"{self._looked + place}; what was saved before it is kept. Lower "
                f"training.optimiser.lr (it is {rate:g}) or set gradient_clip"
            )
        self._looked += len(losses)

    def validation_step(self, batch: Collated, index: int) -> None:
        """Log loss and measures of one validation batch."""
        self._step(batch, "val", self._shares("val").own(index))

    def _step(self, batch: Collated, stage: str, own: int) -> Tensor:
        """Loss of a batch, of whose images the first ``own`` count in the means of the epoch."""
        images, masks, _ = batch
        target = self.part.target(masks, self.config)
        if stage == "train":
            produced = self.network(images.to(memory_format=self._format))
        else:
            produced = logits_of(self.network, images, self.config)
        wanted = (len(target), output_channels(self.config), *target.shape[2:])
        scales = scales_of(produced, wanted, supervised=stage == "train")
        losses = over_scales(self.loss, scales, target)
        found = self.part.follow(scales[0].detach(), target, self.config)
        for name, values in found.items():
            self.epoch_log.setdefault(f"{stage}_{name}", []).append(values[:own])
        # The full logits' loss, which is comparable between training and validation. Weighted by
        # images, so that a last small batch does not count as much as a full one.
        full = losses[0].detach().expand(own)
        self.epoch_log.setdefault(f"{stage}_loss", []).append(full)
        return halving_mean(losses)

    def epoch_row(self) -> dict[str, float]:
        """Means over the images of the epoch that ends: a row of ``metrics.csv``.

        To be called in all processes at once. Raises TrainingError where a loss was not finite.
        """
        self._refuse_infinite()
        means = {name: self._mean(torch.cat(parts)) for name, parts in self.epoch_log.items()}
        none = dict.fromkeys(METRICS.values, float("nan"))  # of what the task does not measure
        known = {"epoch": self.trainer.current_epoch, **none, "learning_rate": self.last_rate}
        return known | means

    def _mean(self, values: Tensor) -> float:
        """Mean of the values of all processes."""
        if self.trainer.world_size == 1:
            return values.mean().item()
        here = values.to(self.device, torch.float64)
        total = torch.stack((here.sum(), torch.ones_like(here).sum()))
        sums = self.trainer.strategy.reduce(total, reduce_op="sum")
        return (sums[0] / sums[1]).item()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen layer out of what is saved for resuming."""
        state = portable_state(self.network)
        checkpoint["state_dict"] = {f"network.{name}": value for name, value in state.items()}


def scales_of(produced: object, wanted: tuple[int, ...], *, supervised: bool) -> tuple[Tensor, ...]:
    """Outputs of a network as a tuple: its logits, and the coarser ones if it is ``supervised``.

    Raises TrainingError unless the first are logits of the wanted shape (B, channels, *grid).
    """
    several = supervised and isinstance(produced, tuple | list)
    scales: tuple[object, ...] = tuple(produced) if several else (produced,)  # type: ignore[arg-type]
    tensors = tuple(scale for scale in scales if isinstance(scale, Tensor))
    if not tensors or len(tensors) < len(scales):
        returned = type(produced).__name__
        when = "training" if supervised else "evaluation"
        more = ", or in training a tuple of them with the full ones first"
        raise TrainingError(
            f"the network returns a {returned} in {when}; logits {wanted} are expected{more}"
        )
    if tensors[0].shape != wanted:
        raise TrainingError(
            f"the network returns logits {tuple(tensors[0].shape)} where {wanted} are expected: "
            "one channel for each of data.classes (with training.output softmax one for the "
            "background before them), of the size of the image"
        )
    return tensors


class ArchiveIO(CheckpointIO):
    """Lightning's checkpoints through our own files: whole or absent, never unpickled."""

    def save_checkpoint(
        self, checkpoint_content: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write the checkpoint atomically."""
        checkpoint.save(checkpoint_content, path)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint on the CPU, as tensors and plain values only."""
        return checkpoint.read(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        path.unlink(missing_ok=True)
