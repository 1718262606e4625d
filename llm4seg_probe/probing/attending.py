"""Looking at a network's attention while it runs: the weights of each layer, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from llm4seg_probe.errors import SiteError
from llm4seg_probe.llm.attention_weights import attention_weights, visible_keys
from llm4seg_probe.llm.blocks import Block
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.probing.recorder import Grid


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of one decoder layer on one image.

    ``weights`` (heads, N, N) from query (row) to key (column), ``visible`` (N, N), True where a
    query sees a key; N is the product of ``grid``. On the CPU.
    """

    place: int
    """Which of the layers that run one after another, from 1."""
    layer: int
    """Its number in the language model, from 1."""
    image: int
    """Which image of the batch, from 0."""
    grid: Grid
    weights: Tensor
    visible: Tensor


See = Callable[[Attention], None]


def has_attention(network: nn.Module) -> bool:
    """Whether a decoder layer whose attention runs stands in the network."""
    return bool(_attending(network))


@contextmanager
def attending(network: nn.Module, see: See) -> Iterator[None]:
    """Hand the attention of every layer and image to ``see`` while the block runs.

    The weights are computed a second time, from what the layer was given, one image at a time:
    no more than those of one image are held, and the network's own numbers do not change.
    Nothing stays on the network. Raises SiteError where there is no attention in it.
    """
    found = _attending(network)
    if not found:
        raise SiteError("this network has no attention: no decoder layer whose attention runs")
    grids: dict[Decoder, Grid] = {}
    with ExitStack() as attached:
        for decoder in {decoder for decoder, _, _ in found}:
            hook = _note_grid(grids, decoder)
            attached.callback(decoder.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for place, (decoder, block, layer) in enumerate(found, start=1):
            look = _looking(grids, decoder, place, layer, see)
            module = block.get_submodule("self_attn")
            attached.callback(module.register_forward_hook(look, with_kwargs=True).remove)
        yield


def _attending(network: nn.Module) -> list[tuple[Decoder, Block, int]]:
    """Blocks whose attention runs, with their decoder and number, in the order of the modules."""
    return [
        (decoder, block, layer)
        for decoder in network.modules()
        if isinstance(decoder, Decoder)
        for block, layer in zip(decoder.blocks, decoder.identity.layers, strict=True)
        if block.halves != "mlp"
    ]


def _note_grid(
    grids: dict[Decoder, Grid], decoder: Decoder
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        grids[decoder] = tuple(named["grid"] if "grid" in named else inputs[1])

    return hook


def _looking(
    grids: dict[Decoder, Grid], decoder: Decoder, place: int, layer: int, see: See
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    def hook(
        module: nn.Module, inputs: tuple[Any, ...], arguments: dict[str, Any], output: Any
    ) -> None:
        hidden: Tensor = arguments["hidden_states"]
        visible = visible_keys(
            hidden.shape[1], arguments["attention_mask"], arguments["is_causal"], hidden.device
        )
        for image in range(len(hidden)):
            of_image = {**arguments, "hidden_states": hidden[image : image + 1]}
            weights = attention_weights(module, of_image, visible)[1][0].detach().cpu()
            see(Attention(place, layer, image, grids[decoder], weights, visible.cpu()))

    return hook
