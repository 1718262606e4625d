"""Put the booster and the seeds into any trainer of nnU-Net's, by a mixin or by its name."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.integrations.nnunet.batches import loaders_of, seeded_loader
from llm4seg_probe.integrations.nnunet.names import PLAIN, TrainerName, is_ours, trainer_name
from llm4seg_probe.integrations.nnunet.network import boosted, small_input
from llm4seg_probe.integrations.nnunet.sealing import Keeper, keep_plain, keeper_of
from llm4seg_probe.models.nnunet_plans import section_of
from llm4seg_probe.randomness import address, seeded

if TYPE_CHECKING:

    class _Behind:
        """Whatever trainer stands behind the mixin: its methods and attributes are nnU-Net's."""

        def __getattr__(self, name: str) -> Any: ...

        build_network_architecture: Any
        initialize: Any
        load_checkpoint: Any
        save_checkpoint: Any
        on_train_start: Any
        on_epoch_start: Any
        get_dataloaders: Any

else:
    _Behind = object


class Boosting(_Behind):
    """Stand before a trainer: ``class Mine(Boosting, nnUNetTrainerDA5): arm, seed = "llm", 3``.

    The layer and its options come from the plans, see :mod:`.plans`. Initial weights, batches
    and augmentation come from addresses that begin with the seed: arms of one seed share those
    of the CNN, and the batches. The same seed gives the same bits with any number of workers,
    and after an interruption; on a GPU as far as its kernels do.
    """

    arm: ClassVar[str] = "llm"
    seed: ClassVar[int] = 0

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network of the trainer behind, with the booster after its bottleneck."""
        if cls.arm not in ARMS:
            raise ConfigError(f"{cls.__name__}: {unknown('arm', cls.arm, ARMS)}")
        build = super().build_network_architecture
        managers: tuple[Any, ...] = (plans_manager, configuration_manager)
        if "plans_manager" not in inspect.signature(build).parameters:  # as before nnU-Net 2.7
            managers = (
                configuration_manager.network_arch_class_name,
                configuration_manager.network_arch_init_kwargs,
                configuration_manager.network_arch_init_kwargs_req_import,
            )
        with seeded(cls.seed, "cnn"):
            network: nn.Module = build(
                *managers, num_input_channels, num_output_channels, enable_deep_supervision
            )
        if ARMS[cls.arm].middle == "nothing":
            keep_plain(network)
            return network
        return boosted(
            network,
            small_input(
                num_input_channels,
                configuration_manager.patch_size,
                configuration_manager.network_arch_init_kwargs,
            ),
            arm=cls.arm,
            seed=cls.seed,
            section=section_of(plans_manager.plans),
        )

    def initialize(self) -> None:
        """Build the network; until it trains or loads a checkpoint, its state dict is plain.

        nnU-Net asks for it in between to put ``-pretrained_weights`` in, and would demand every
        tensor of the booster in that file.
        """
        super().initialize()
        self._set_plain(True)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint, whose seal is checked."""
        if not self.was_initialized:
            self.initialize()
        self._set_plain(False)
        super().load_checkpoint(*args, **kwargs)

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint, sealed."""
        self._set_plain(False)
        super().save_checkpoint(filename)

    def on_train_start(self) -> None:
        """Put the layer in from its source, unless a checkpoint had it, and begin."""
        if not self.was_initialized:
            self.initialize()
        keeper = self._set_plain(False)
        if keeper is not None:
            keeper.fill()
        super().on_train_start()

    def on_epoch_start(self) -> None:
        """Set all global seeds by the epoch's address; batches have addresses of their own."""
        super().on_epoch_start()
        seed = address(self.seed, "epoch", self.current_epoch, self.local_rank)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 (other people's code draws from it)
        torch.manual_seed(seed)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Give the loaders of the trainer behind, each batch drawn from its own address."""
        train, validation = loaders_of(super().get_dataloaders)
        epoch, rank = self.current_epoch, self.local_rank
        pin = self.device.type == "cuda"
        return (
            seeded_loader(
                train, self.seed, "train", rank, epoch * self.num_iterations_per_epoch, pin=pin
            ),
            seeded_loader(
                validation, self.seed, "val", rank, epoch * self.num_val_iterations_per_epoch,
                pin=pin, share=0.5,
            ),
        )  # fmt: skip

    def _set_plain(self, plain: bool) -> Keeper | None:
        keeper = keeper_of(self.network)
        if keeper is not None:
            keeper.plain = plain
        return keeper


def trainers_of(base: type) -> Callable[[str], type]:
    """Make a module's ``__getattr__`` that answers for all arms and seeds on top of a trainer.

    In a file in the folder that ``nnUNet_extTrainer`` names::

        class MyTrainer(nnUNetTrainer): ...

        __getattr__ = trainers_of(MyTrainer)   # MyTrainer_LLM4Seg_llm_s0, and so on
    """

    def __getattr__(name: str) -> type:
        if not is_ours(name) or not name.startswith(f"{base.__name__}_"):
            raise AttributeError(name)
        return _made(base, trainer_name(name))

    return __getattr__


def external(name: str) -> type:
    """Make the trainer of a name, on top of the trainer that the name begins with.

    Raises AttributeError for names that are not meant for us, as ``__getattr__`` has to, and
    ConfigError for those that are and are wrong: nnU-Net would only say that it found none.
    """
    if not is_ours(name):
        raise AttributeError(name)
    found = trainer_name(name)
    return _made(_base(found.base), found)


def _base(name: str) -> type:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    if name == PLAIN:
        plain: type = nnUNetTrainer
        return plain
    try:
        found: type = recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise ConfigError(
            f"there is no trainer {name}, on top of which arm and seed would stand: it is neither "
            "one of nnU-Net's nor in a folder of nnUNet_extTrainer"
        ) from error
    return found


@cache
def _made(base: type, name: TrainerName) -> type:
    members = {"arm": name.arm, "seed": name.seed, "__doc__": f"{base.__name__}, {name.arm}."}
    return type(str(name), (Boosting, base), {**members, "__module__": __name__})
