"""Change a network for as long as a block runs.

    with intervening(network, bypass(), low_rank("after", 4)):
        network(images)

Each intervention is undone on leaving, also when the block raises; they nest in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llm4seg_probe.activations.recorder import Attached
from llm4seg_probe.errors import SiteError
from llm4seg_probe.llm.blocks import Position
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.llm.mixing import is_own
from llm4seg_probe.measures.rank import direction_removed, largest_directions
from llm4seg_probe.models.axes import Axes
from llm4seg_probe.models.insertion import with_entry
from llm4seg_probe.models.sites import SitePoint, axes_at, boosters_of, find_site
from llm4seg_probe.randomness import generator

Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Intervention:
    """One change of a network: its name and setting in the table, and how it is made.

    ``made`` changes a network while the context it returns is entered.
    """

    name: str
    setting: str
    made: Callable[[nn.Module], AbstractContextManager[None]]


@contextmanager
def intervening(network: nn.Module, *interventions: Intervention) -> Iterator[None]:
    """Run a block with the network changed; afterwards it is what it was, also on exceptions.

    Raises SiteError, with nothing changed, where the network lacks what an intervention acts on.
    """
    with ExitStack() as stack:
        for intervention in interventions:
            stack.enter_context(intervention.made(network))
        yield


@dataclass(frozen=True)
class Place:
    """A site's tensor, or some of its channels: where activations are read and exchanged."""

    point: SitePoint
    start: int = 0
    stop: int | None = None

    @property
    def channels(self) -> slice:
        """The channels meant, from ``start`` to before ``stop``."""
        return slice(self.start, self.stop)


def place_of(network: nn.Module, site: str) -> Place:
    """The place of a site's name or a module's path. Raises SiteError with the nearest names."""
    point = find_site(network, site)
    if point.call is not None:
        raise SiteError(f"site '{site}' is one of several calls: name a module that is called once")
    return Place(point)


@contextmanager
def editing(network: nn.Module, place: Place, edit: Edit) -> Iterator[None]:
    """While the block runs, tokens (B, N, C) at a place are what ``edit`` makes of them.

    A grid comes as tokens in raster order and goes on as the grid it was, in its memory layout
    and dtype. An ``edit`` that returns its argument changes nothing.
    """
    point = place.point
    site = point.module or "logits"

    def edited(tensor: Tensor) -> Tensor:
        attached.passes.once(site)
        axes = axes_at(network, site, point, tensor, attached.passes)
        return _edited(tensor, axes, place.channels, edit)

    def on_input(inputs: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return (edited(inputs[0]), *inputs[1:])

    def on_output(inputs: tuple[Any, ...], output: Any) -> Any:
        new = edited(point.tensor(inputs, output))
        if isinstance(output, Tensor):
            return new
        return with_entry(output, "logits" if point.entry is None else point.entry, new)

    with Attached(network) as attached:
        attached.at(point, on_input if point.side == "input" else on_output)
        yield


def _edited(tensor: Tensor, axes: Axes, channels: slice, edit: Edit) -> Tensor:
    chosen = axes.tokens(tensor)[..., channels]
    edited = edit(chosen)
    if edited is chosen:
        return tensor
    changed = tensor.clone()  # keeps the layout, on which the bits of what follows depend
    part = axes.moved(changed)[..., channels]
    part.copy_(edited.to(tensor).reshape(part.shape))
    return changed


def bypass() -> Intervention:
    """The tokens skip what stands between the adapters, a final norm included."""
    return Intervention("bypass", "", partial(_middle, wrapped=_Bypassed))


def permuted(draw: int = 0) -> Intervention:
    """Tokens in another order before the middle, and back in their own after it.

    The order is that of the address ("intervene", "permuted", draw, number of tokens).
    """
    return Intervention("permuted", str(draw), partial(_middle, wrapped=partial(_Permuted, draw)))


class _Bypassed(nn.Module):
    """Holds the middle, so that what acts on it still finds it, and does not run it."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.middle = middle

    def forward(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        return tokens


class _Permuted(nn.Module):
    def __init__(self, draw: int, middle: nn.Module) -> None:
        super().__init__()
        self.draw = draw
        self.middle = middle

    def forward(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        count = tokens.shape[1]
        draws = generator("intervene", "permuted", self.draw, count)
        order = torch.randperm(count, generator=draws).to(tokens.device)
        return self.middle(tokens[:, order], grid)[:, order.argsort()]


@contextmanager
def _middle(network: nn.Module, wrapped: Callable[[nn.Module], nn.Module]) -> Iterator[None]:
    boosters = [booster for _, booster in boosters_of(network)]
    if not boosters:
        raise SiteError("the network has no booster whose middle could be changed")
    with ExitStack() as stack:
        for booster in boosters:
            stack.callback(setattr, booster, "middle", booster.middle)
            booster.middle = wrapped(booster.middle).train(booster.middle.training)
        yield


def attention_off() -> Intervention:
    """Attention adds nothing to the residual stream, in every layer."""
    return Intervention("attention-off", "", partial(_half_off, module="self_attn"))


def mlp_off() -> Intervention:
    """The MLP adds nothing to the residual stream, in every layer."""
    return Intervention("mlp-off", "", partial(_half_off, module="mlp"))


@contextmanager
def _half_off(network: nn.Module, module: str) -> Iterator[None]:
    def nothing(half: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (torch.zeros_like(output[0]), *output[1:])
        return torch.zeros_like(output)

    with ExitStack() as stack:
        for block in decoder_of(network)[1].blocks:
            stack.enter_context(block.get_submodule(module).register_forward_hook(nothing))
        yield


def heads_of(network: nn.Module) -> dict[str, Place]:
    """Each attention head's output, before the projection that adds the heads up.

    Named "1", "2", … in a decoder of one layer, "15/1" (layer, head) in one of several; heads
    count from 1 as layers do. Raises SiteError without a decoder layer.
    """
    path, decoder = decoder_of(network)
    places = {}
    for index, (number, block) in enumerate(
        zip(decoder.identity.layers, decoder.blocks, strict=True)
    ):
        attention: Any = block.get_submodule("self_attn")
        size = int(attention.head_dim)
        for head in range(attention.o_proj.in_features // size):
            name = f"{number}/{head + 1}" if len(decoder.blocks) > 1 else str(head + 1)
            module = f"{path}.layers.{index}.self_attn.o_proj"
            point = SitePoint(module, "input", booster=path)
            places[name] = Place(point, head * size, (head + 1) * size)
    return places


def head_off(name: str) -> Intervention:
    """A head's output is zero; what the output projection adds by itself (a bias) stays."""

    def made(network: nn.Module) -> AbstractContextManager[None]:
        places = heads_of(network)
        if name not in places:
            raise SiteError(f"no head '{name}': the network has {', '.join(places)}")
        return editing(network, places[name], torch.zeros_like)

    return Intervention("head-off", name, made)


def mask_exchanged(attention: Literal["causal", "bidirectional"]) -> Intervention:
    """Another attention mask than the one the network was trained with."""
    return Intervention("mask", attention, partial(_setting, name="attention", value=attention))


def position_exchanged(position: Position) -> Intervention:
    """Another position encoding than the one the network was trained with."""
    return Intervention("position", position, partial(_setting, name="position", value=position))


@contextmanager
def _setting(network: nn.Module, name: str, value: str) -> Iterator[None]:
    decoder = decoder_of(network)[1]
    before = getattr(decoder, name)
    setattr(decoder, name, value)
    try:
        yield
    finally:
        setattr(decoder, name, before)


def weights_exchanged(name: str, setting: str, tensors: Mapping[str, Tensor]) -> Intervention:
    """Other weights in the decoder's layers; low-rank adapters beside them stay.

    tensors: by their names in the state dict of a :class:`Decoder`, all of them. Raises
    SiteError, on entering, where they are not those of such layers.
    """
    return Intervention(name, setting, partial(_weights, name=name, tensors=tensors))


@contextmanager
def _weights(network: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    parameters = layer_parameters(decoder_of(network)[1])
    own = {key: parameter.shape for key, parameter in parameters.items()}
    if own != {key: tensor.shape for key, tensor in tensors.items()}:
        raise SiteError(f"{name}: these weights are not those of a layer of this architecture")
    before = {key: parameter.data for key, parameter in parameters.items()}
    try:
        for key, parameter in parameters.items():
            parameter.data = tensors[key].to(parameter)
        yield
    finally:
        for key, parameter in parameters.items():
            parameter.data = before[key]


def layer_parameters(decoder: Decoder) -> dict[str, nn.Parameter]:
    """The language model's parameters in a decoder, by their names in its state dict."""
    return {
        name.replace(".base_layer.", "."): parameter
        for name, parameter in decoder.named_parameters()
        if is_own(name)
    }


def patched(site: str, tokens: Tensor, setting: str | None = None) -> Intervention:
    """Given tokens (B, N, C) at a site, for the same B images as the network is run on."""
    return Intervention(
        "patched", setting or site, partial(_site, site=site, edit=lambda _: tokens)
    )


def low_rank(site: str, rank: int) -> Intervention:
    """Each image's tokens at a site projected to their own ``rank`` largest directions."""
    edit = partial(largest_directions, rank=rank)
    return Intervention("low-rank", str(rank), partial(_site, site=site, edit=edit))


def without_direction(site: str, number: int) -> Intervention:
    """Each image's tokens at a site without their own singular direction of this number, from 1."""
    edit = partial(direction_removed, number=number)
    return Intervention("direction-removed", str(number), partial(_site, site=site, edit=edit))


def _site(network: nn.Module, site: str, edit: Edit) -> AbstractContextManager[None]:
    return editing(network, place_of(network, site), edit)


def decoder_of(network: nn.Module) -> tuple[str, Decoder]:
    """Path and module of the one decoder in a network. Raises SiteError without one, or several."""
    decoders = [(p, module) for p, module in network.named_modules() if isinstance(module, Decoder)]
    if len(decoders) != 1:
        many = f"{len(decoders)} decoders" if decoders else "no decoder layer"
        raise SiteError(f"the network has {many}: this intervention acts on the layers of one")
    return decoders[0]
