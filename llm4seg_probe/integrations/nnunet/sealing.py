"""Seal a boosted network's state dict, and check the seal whenever one is loaded.

Arms share their tensors' names, and options such as the attention mask leave no trace in the
weights: without more, the layer of one arm is loaded into another without a word. So a boosted
network carries a *seal* in its state dict: arm, seed, options, and SHA-256 of the frozen layer.
Hooks on the network

- keep the names of the plain network (``encoder.stages.4.0…``, as if no booster stood there), so
  that weights of either go into the other with nnU-Net's ``-pretrained_weights``;
- leave the frozen layer out, where the plans say so, and have it filled in from its source;
- refuse, in one line, weights of another arm, of other options, or of a changed layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import CheckpointError, UserError
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.llm.mixing import is_own
from llm4seg_probe.llm.stored_weights import LayerIdentity, sha256_of_tensors
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.insertion import Boosted
from llm4seg_probe.models.network import frozen_decoder
from llm4seg_probe.models.sites import boosters_of

SEAL = "llm4seg_probe_seal"
"""Module of the network that holds the seal."""
SEAL_KEY = f"{SEAL}._extra_state"
_KEEPER = "_llm4seg_probe_keeper"
_HOW_IT_IS_HAD = ("source", "init", "adapter_init", "gradient_checkpointing")
"""Options that say how a layer is made, not what the network computes with its weights."""


@dataclass(frozen=True)
class Identity:
    """Name whose weights they are: arm, seed, and the fields of BoosterConfig."""

    arm: str
    seed: int
    options: Mapping[str, Any]

    def problems(self, other: Identity) -> list[str]:
        """List what of ``other`` does not fit this one."""
        found = [
            f"{name} is {getattr(other, name)}, here it is {getattr(self, name)}"
            for name in ("arm", "seed")
            if getattr(self, name) != getattr(other, name)
        ]
        for name, mine in self.options.items():
            # What an earlier version did not know yet was as its default is.
            theirs = other.options.get(name, BoosterConfig.model_fields[name].default)
            if name not in _HOW_IT_IS_HAD and theirs != mine:
                found.append(f"{name} is {theirs}, here it is {mine}")
        return found


@dataclass(frozen=True)
class Sealed:
    """Hold what a seal says: identity, layer by its source, SHA-256 of the frozen tensors."""

    identity: Identity
    layer: Mapping[str, Any] | None
    frozen: str

    def to_tensor(self) -> Tensor:
        """Write it as bytes of JSON, which every way of keeping tensors keeps."""
        said = {
            "arm": self.identity.arm,
            "seed": self.identity.seed,
            "options": dict(self.identity.options),
            "layer": self.layer,
            "frozen": self.frozen,
        }
        text = json.dumps(said, sort_keys=True).encode()
        return torch.frombuffer(bytearray(text), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, state: Any) -> Sealed:
        """Read what :meth:`to_tensor` wrote. Raises CheckpointError."""
        try:
            said = json.loads(bytes(state.cpu().tolist()))
            identity = Identity(said["arm"], said["seed"], said["options"])
            return cls(identity, said["layer"], said["frozen"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the weights have a seal that is not readable ({error})"
            ) from error


class Seal(nn.Module):
    """Hold the seal in the state dict; it has no parameters, and is never called."""

    def __init__(self, content: Sealed) -> None:
        super().__init__()
        self.content = content

    def get_extra_state(self) -> Tensor:
        """Give the seal as a tensor."""
        return self.content.to_tensor()

    def set_extra_state(self, state: Any) -> None:
        """Take over the seal of weights that :class:`Keeper` has let pass."""
        self.content = Sealed.from_tensor(state)


class Keeper:
    """Watch what goes into a boosted network's state dict, and what comes out of it.

    ``load`` gives the decoder from its source; None where the arm has none. With ``plain`` set,
    the state dict is that of the plain network, in and out.
    """

    def __init__(
        self,
        network: nn.Module,
        identity: Identity,
        *,
        load: Callable[[], Decoder] | None,
        store_layer: bool = True,
    ) -> None:
        self.network = network
        self.identity = identity
        self.store_layer = store_layer
        self.plain = False
        self.filled = load is None
        """Whether the layer's own weights are in the network, and not zeros."""
        self._load = load
        self._said: Sealed | None = None
        self._left_out = False
        self._places = [
            name
            for name, module in network.named_modules(remove_duplicate=False)
            if isinstance(module, Boosted)
        ]
        frozen = {t for _, booster in boosters_of(network) for t in booster.frozen_tensors()}
        state = network.state_dict(keep_vars=True)
        self._frozen_keys = {name for name, tensor in state.items() if tensor in frozen}
        network.add_module(SEAL, Seal(Sealed(identity, None, "")))
        setattr(network, _KEEPER, self)
        # Functions that ask the module for its keeper, so that a copy of the network has its own.
        hooked: Any = network  # torch gives these methods no types
        hooked.register_state_dict_post_hook(_written)
        hooked.register_load_state_dict_pre_hook(_before)
        hooked.register_load_state_dict_post_hook(_after)
        if not self.filled:
            self.booster.register_forward_pre_hook(_refuse)

    @property
    def booster(self) -> Booster:
        """Find the network's booster."""
        return next(booster for _, booster in boosters_of(self.network))

    @property
    def seal(self) -> Sealed:
        """Read the network's seal as it is now."""
        held: Seal = getattr(self.network, SEAL)
        return held.content

    def detach(self) -> None:
        """Leave the network as it was before, but for what was loaded."""
        for hooks, own in (
            (self.network._state_dict_hooks, (_written,)),
            (self.network._load_state_dict_pre_hooks, (_before,)),
            (self.network._load_state_dict_post_hooks, (_after,)),
        ):
            for number in [n for n, hook in hooks.items() if getattr(hook, "hook", hook) in own]:
                del hooks[number]
        del self.network._modules[SEAL]
        delattr(self.network, _KEEPER)

    def fill(self) -> None:
        """Put the layer's weights in from its source, if they are not there.

        Raises SourceError where the source is not to be had, or is not the one of the plans.
        """
        if self.filled or self._load is None:
            return
        decoder = self._load()
        tensors = {
            name.replace(".base_layer.", "."): tensor
            for name, tensor in self.booster.middle.state_dict(keep_vars=True).items()
        }
        with torch.no_grad():
            for name, tensor in decoder.state_dict().items():
                if is_own(name):  # a mixture's weights are in the checkpoint
                    tensors[name].copy_(tensor)
        self._note(decoder.identity)

    def _note(self, layer: LayerIdentity) -> None:
        own = frozen_decoder(self.network)
        if own is not None:
            own.identity = layer
        held: Seal = getattr(self.network, SEAL)
        held.content = Sealed(self.identity, layer.to_dict(), self.fingerprint())
        self._mark_filled()

    def _mark_filled(self) -> None:
        self.filled = True
        hooks = self.booster._forward_pre_hooks
        for number in [number for number, hook in hooks.items() if hook is _refuse]:
            del hooks[number]

    def fingerprint(self) -> str:
        """Hash the frozen tensors as they are in the network; empty where none are."""
        if not self.booster.frozen:
            return ""
        return sha256_of_tensors(
            {
                name.replace(".base_layer.", "."): tensor
                for name, tensor in self.booster.middle.state_dict().items()
                if is_own(name)
            }
        )

    def written(self, state: MutableMapping[str, Any], prefix: str) -> None:
        """Give a state dict plain names, and take out what is left out."""
        entries = list(state.items())
        state.clear()
        for key, value in entries:
            own = key.removeprefix(prefix)
            if self.plain and self._is_ours(own):
                continue
            if not self.store_layer and own in self._frozen_keys:
                continue
            state[prefix + self._plain_name(own)] = value

    def before(self, state: MutableMapping[str, Any], prefix: str) -> None:
        """Look at the seal of what is to be loaded, and give it the boosted network's names.

        Raises CheckpointError for weights that are not of this network.
        """
        if not self.plain:
            self._check(state.get(prefix + SEAL_KEY))
            self._left_out = bool(self._frozen_keys) and not any(
                prefix + key in state for key in self._frozen_keys
            )
        entries = list(state.items())
        state.clear()
        for key, value in entries:
            inside = key.startswith(prefix)
            state[prefix + self._own_name(key.removeprefix(prefix)) if inside else key] = value

    def _check(self, tensor: Any) -> None:
        if tensor is None:
            raise CheckpointError(
                "these are the weights of a network without a booster, and this one is of arm "
                f"{self.identity.arm}: to start a training from them, give their checkpoint to "
                "nnUNetv2_train as -pretrained_weights"
            )
        self._said = Sealed.from_tensor(tensor)
        problems = self.identity.problems(self._said.identity)
        if problems:
            raise CheckpointError(
                "the weights are of another network than the trainer's name and the plans say: "
                f"in the checkpoint {'; '.join(problems)}"
            )

    def after(self, missing: list[str]) -> None:
        """Fill in what was left out, and compare the layer with the seal.

        ``missing`` are the names that were not in what was loaded; those that need not be there
        are taken out. Raises CheckpointError for a layer that cannot be had, or is another one.
        """
        if self.plain:
            missing[:] = [key for key in missing if not self._is_ours(key)]
            return
        said = self._said
        assert said is not None
        if self._left_out:
            missing[:] = [key for key in missing if key not in self._frozen_keys]
            self._fill_what_was_left_out(said)
        found = self.fingerprint()
        if found != said.frozen:
            raise CheckpointError(
                f"the frozen layer in the weights has the SHA-256 {found[:12]}…, but "
                f"{said.frozen[:12]}… was stored with them: it is not the layer of this training"
            )
        own = frozen_decoder(self.network)
        if own is not None and said.layer is not None:
            own.identity = LayerIdentity.from_dict(said.layer)
        held: Seal = getattr(self.network, SEAL)
        held.content = said
        self._mark_filled()

    def _fill_what_was_left_out(self, said: Sealed) -> None:
        try:
            self.fill()
        except UserError as error:
            raise CheckpointError(
                "this checkpoint was written without its frozen layer (store_layer: false in its "
                f"plans), and the layer cannot be had here: {error}"
            ) from error

    def _is_ours(self, key: str) -> bool:
        """Tell whether an entry, by its own or a plain name, is no part of the plain network."""
        return key.endswith(SEAL_KEY) or any(
            key.startswith(f"{place}.booster.") for place in self._places
        )

    def _plain_name(self, key: str) -> str:
        for place in self._places:
            if key.startswith(f"{place}.host."):
                return f"{place}.{key.removeprefix(f'{place}.host.')}"
        return key

    def _own_name(self, key: str) -> str:
        for place in self._places:
            if key.startswith(f"{place}.") and not key.startswith(
                (f"{place}.booster.", f"{place}.host.")
            ):
                return f"{place}.host.{key.removeprefix(f'{place}.')}"
        return key


def keeper_of(network: nn.Module) -> Keeper | None:
    """Find the keeper of a boosted network, also where it is compiled or distributed."""
    inner: Any = network
    for wrapper in ("module", "_orig_mod"):  # DistributedDataParallel, then torch.compile
        inner = getattr(inner, wrapper, inner)
    found: Keeper | None = getattr(inner, _KEEPER, None)
    return found


def keep_plain(network: nn.Module, arm: str = "cnn") -> None:
    """Have a plain network refuse the weights of a boosted one in one line."""

    def before(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
        if prefix + SEAL_KEY in state:
            said = Sealed.from_tensor(state[prefix + SEAL_KEY]).identity
            raise CheckpointError(
                f"the weights are of arm {said.arm}, seed {said.seed}, and this trainer's is the "
                f"plain network, arm {arm}: take the trainer that is named in the checkpoint"
            )

    hooked: Any = network
    hooked.register_load_state_dict_pre_hook(before)


def _written(module: nn.Module, state: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
    getattr(module, _KEEPER).written(state, prefix)


def _before(module: nn.Module, state: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
    getattr(module, _KEEPER).before(state, prefix)


def _after(module: nn.Module, incompatible: Any) -> None:
    getattr(module, _KEEPER).after(incompatible.missing_keys)


def _refuse(module: nn.Module, inputs: Any) -> None:
    raise CheckpointError(
        "the layer's weights are not in the network yet: load a checkpoint, or begin to train"
    )
