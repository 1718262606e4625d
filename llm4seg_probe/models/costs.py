"""Count parameters, multiply-accumulates, memory and time of a network before it is trained."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config, OptimiserConfig
from llm4seg_probe.errors import ConfigError, first_line
from llm4seg_probe.llm.decoder import Decoder, hollow_decoder
from llm4seg_probe.llm.sources import open_source
from llm4seg_probe.llm.stored_weights import read_config
from llm4seg_probe.models.network import build_network
from llm4seg_probe.models.reference import LANGUAGE_MODELS
from llm4seg_probe.models.sites import boosters_of, sites_of


def storage_of(tensor: Tensor) -> int:
    """Number of the memory that a tensor is a view of; the same for all views of it."""
    number: int = StorageWeakRef(tensor.untyped_storage()).cdata  # type: ignore[no-untyped-call]
    return number


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, while it is active, the operations of each part of a network.

    ``part`` is the one that is running, and may be set at any time. ``macs`` are the
    multiply-accumulates by part, of matrix products and convolutions, from torch's own
    formulas. ``first_use`` says which part used a parameter first, by :func:`storage_of`, and
    ``views`` holds the numbers of what is a view of one.
    """

    def __init__(self, part: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = part
        self.macs: Counter[str] = Counter()
        self.first_use: dict[int, str] = {}
        self.views: set[int] = set()
        self._used: list[Tensor] = []  # alive, so that no other storage takes its number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, torch.nn.Parameter) and storage_of(value) not in self.first_use:
                self.first_use[storage_of(value)] = self.part
                self._used.append(value)
        result = func(*args, **kwargs)
        if func.is_view and self._is_weight(args[0]):
            # Without content a view of a parameter does not share the parameter's own memory.
            views = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
            self.views.update(map(storage_of, views))
            self._used += views
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.macs[self.part] += formula(*args, **kwargs, out_val=result) // 2
        return result

    def _is_weight(self, tensor: Tensor) -> bool:
        return isinstance(tensor, torch.nn.Parameter) or storage_of(tensor) in self.views


class Saved:
    """Sizes, while it is active, what autograd saves for the backward pass.

    ``bytes`` are counted once per piece of memory, in the part that saved it first; parameters
    (whose numbers ``but`` holds) and views of them are left out, since they are there anyway.
    """

    def __init__(self, meter: OperationCounter, but: Container[int]) -> None:
        self.bytes: Counter[str] = Counter()
        self._kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            number = storage_of(tensor)
            if not (number in but or number in meter.views or number in self._kept):
                self._kept[number] = tensor
                self.bytes[meter.part] += tensor.untyped_storage().nbytes()
            return tensor

        self._hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._hooks.__exit__(*failure)


PARTS = ("cnn", "encoder", "adapters", "layer", "decoder", "unused")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PartCosts:
    """Costs of one part, memory in bytes.

    ``macs`` are multiply-accumulates of matrix products and convolutions for one image in
    evaluation mode, attention counted over all pairs of tokens, masked ones too: what papers
    often print as "FLOPs". ``activations`` are what a training step on a whole batch keeps for
    its backward pass.
    """

    part: str
    parameters: int = 0
    trainable: int = 0
    macs: int = 0
    weights: int = 0
    gradients: int = 0
    optimiser: int = 0
    activations: int = 0

    @property
    def frozen(self) -> int:
        """Parameters that are not trained."""
        return self.parameters - self.trainable

    @property
    def flops(self) -> int:
        """Floating-point operations for one image: a multiplication and an addition per MAC."""
        return 2 * self.macs

    @property
    def memory(self) -> int:
        """Bytes of a training step: weights, gradients, optimiser state and activations."""
        return self.weights + self.gradients + self.optimiser + self.activations

    def row(self) -> dict[str, Any]:
        """All of it as plain values."""
        derived = {"frozen": self.frozen, "flops": self.flops, "memory": self.memory}
        return {**asdict(self), **derived}


@dataclass(frozen=True)
class Costs:
    """The costs of a network by part, and the shape of one image's activations at each site.

    The sum of ``memory`` estimates the peak of a training step. It is no bound: workspaces of
    kernels, the loss, what an allocator does not give back and the Python process come on top,
    while gradients come only as activations go.
    """

    parts: tuple[PartCosts, ...]
    sites: dict[str, tuple[int, ...]]
    batch_size: int

    @property
    def total(self) -> PartCosts:
        """Sum over the parts."""
        names = [field.name for field in fields(PartCosts) if field.name != "part"]
        sums = {name: sum(getattr(part, name) for part in self.parts) for name in names}
        return PartCosts("total", **sums)

    def part(self, name: str) -> PartCosts:
        """One part; where the network has none of that name, one that costs nothing."""
        return next((part for part in self.parts if part.part == name), PartCosts(name))


def costs(config: Config) -> Costs:
    """Count the costs of a configuration's network, without the weights of its decoder layer.

    At most the config of the language model is fetched. Raises ConfigError where the parts do
    not fit, or the network cannot be run without values.
    """
    return costs_of(hollow_network(config), config)


def hollow_network(config: Config) -> nn.Module:
    """The network of a configuration with a decoder layer that has shapes and no weights."""
    arm = ARMS[config.arm]
    if arm.middle != "layer":
        known = LANGUAGE_MODELS.get(config.booster.source, {})
        return build_network(config, width=known.get("hidden_size"))
    values = language_model(config.booster.source)
    decoder = hollow_decoder(
        config.booster, values, weights=arm.weights, halves=arm.halves, mixed=arm.mixed
    )
    return build_network(config, decoder)


def language_model(source: str) -> dict[str, Any]:
    """Contents of a source's config.json; those of the paper's two models are known here."""
    return LANGUAGE_MODELS.get(source) or read_config(open_source(source))


def costs_of(network: nn.Module, config: Config) -> Costs:
    """Count the costs of a network in the setting of a configuration; it is used up by this."""
    inputs = (config.data.channels, *config.data.image_size)
    batch = config.training.batch_size
    try:
        macs, sites = _one_image(network, inputs)
        saved, users = _one_step(network, (batch, *inputs), config.compute.precision)
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
        UnsupportedOperatorException,
    ) as error:
        raise ConfigError(
            f"the costs of {config.backbone.name} cannot be counted without running it: what it "
            f"does depends on the values of its input ({first_line(error)})"
        ) from error
    states = optimiser_states(config.training.optimiser)
    by_part = {name: PartCosts(name, macs=macs.get(name, 0)) for name in PARTS}
    for parameter, part in _owners(network, users):
        by_part[part] = _with(by_part[part], parameter, states)
    parts = [
        PartCosts(**{**asdict(part), "activations": saved.get(part.part, 0)})
        for part in by_part.values()
    ]
    return Costs(tuple(part for part in parts if part.macs or part.memory), sites, batch)


def optimiser_states(optimiser: OptimiserConfig) -> int:
    """Numbers that the optimiser keeps per trained parameter: AdamW two, SGD its momentum."""
    return 2 if optimiser.name == "adamw" else int(optimiser.momentum > 0)


def layer_macs(decoder: Decoder, tokens: int) -> int:
    """Multiply-accumulates of a decoder's layers on this many tokens, in closed form.

    Per layer the weights of its linear maps once per token, and tokens² · heads · head width for
    the logits and again for the weighted sum. Halves that are bypassed cost nothing.

    LLaMA-3.2-1B on 256 tokens: 15.84 G; DeepSeek-R1-Distill-Qwen-1.5B: 12.18 G.
    """
    total = 0
    for block in decoder.blocks:
        attention: Any = block.get_submodule("self_attn")
        halves = {"attention": attention, "mlp": block.get_submodule("mlp")}
        run = halves.values() if block.halves == "both" else [halves[block.halves]]
        weights = sum(
            linear.weight.numel()
            for half in run
            for linear in half.modules()
            if type(linear) is nn.Linear
        )
        total += tokens * weights
        if block.halves != "mlp":
            total += 2 * tokens**2 * attention.q_proj.out_features
    return total


def _one_image(
    network: nn.Module, inputs: tuple[int, ...]
) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """MACs by part, and shapes by site, of one image."""
    sites: dict[str, tuple[int, ...]] = {}
    # Fused attention kernels are single operations of which torch's formulas, on a CPU, know
    # nothing: the math path is made of plain matrix products.
    plainly = sdpa_kernel(SDPBackend.MATH)
    with _counting(network.eval()) as meter, _shapes(network, sites), torch.no_grad(), plainly:
        network(torch.zeros(1, *inputs))
    return dict(meter.macs), sites


def _one_step(
    network: nn.Module, inputs: tuple[int, ...], precision: str
) -> tuple[dict[str, int], dict[int, str]]:
    """Bytes saved for backward by part, and by which part each tensor is first used."""
    dtype = _AUTOCAST.get(precision)
    autocast = torch.autocast("cpu", dtype) if dtype else nullcontext()
    own = {storage_of(parameter) for parameter in network.parameters()}
    with _counting(network.train()) as meter, Saved(meter, but=own) as saved, autocast:
        network(torch.zeros(inputs))
    return dict(saved.bytes), meter.first_use


@contextmanager
def _counting(network: nn.Module) -> Iterator[OperationCounter]:
    """Run a block on tensors without content, with a meter that knows which part is running."""
    boosters = list(boosters_of(network))
    after = sites_of(network).get("after")
    meter = OperationCounter("encoder" if boosters or after else "cnn")
    hooks = []

    def on(module: nn.Module, part: str, *, entry: bool) -> None:
        def switch(*_: Any) -> None:
            meter.part = part

        register = module.register_forward_pre_hook if entry else module.register_forward_hook
        hooks.append(register(switch))

    for _, booster in boosters:
        on(booster, "adapters", entry=True)
        on(booster.middle, "layer", entry=True)
        on(booster.middle, "adapters", entry=False)
        on(booster, "decoder", entry=False)
    if after is not None and not boosters:
        on(network.get_submodule(after.module), "decoder", entry=False)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), meter:
            yield meter
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _shapes(network: nn.Module, shapes: dict[str, tuple[int, ...]]) -> Iterator[None]:
    """Note the shape at every site, without the batch, while a block runs."""
    sites = sites_of(network)

    def note(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        shapes[name] = tuple(sites[name].tensor(inputs, output).shape[1:])

    hooks = [
        network.get_submodule(point.module).register_forward_hook(functools.partial(note, name))
        for name, point in sites.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    shapes.update({name: shapes.pop(name) for name in sites if name in shapes})


def _owners(network: nn.Module, users: dict[int, str]) -> Iterator[tuple[Tensor, str]]:
    """Each parameter with its part: the booster's by place, others by what first uses them."""
    part: dict[Tensor, str] = {}
    for _, booster in boosters_of(network):
        part.update(dict.fromkeys(booster.parameters(), "adapters"))
        part.update(dict.fromkeys(booster.middle.parameters(), "layer"))
    for parameter in network.parameters():
        yield parameter, part.get(parameter) or users.get(storage_of(parameter), "unused")


def _with(costs: PartCosts, parameter: Tensor, states: int) -> PartCosts:
    count = parameter.numel()
    size = count * parameter.element_size()
    trained = int(parameter.requires_grad)
    return PartCosts(
        costs.part,
        parameters=costs.parameters + count,
        trainable=costs.trainable + trained * count,
        macs=costs.macs,
        weights=costs.weights + size,
        gradients=costs.gradients + trained * size,
        optimiser=costs.optimiser + trained * states * size,
    )
