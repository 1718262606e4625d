"""A site as a module: where its tensor passes as a grid, for what holds on to modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from llm4seg_probe.errors import SiteError
from llm4seg_probe.models.sites import SitePoint, resolve

INPUT = "input"
"""The images themselves, beside the sites of ``sites_of``."""


def place(network: nn.Module, site: str) -> SitePoint:
    """Where a site is; ``input`` is what goes into the network. Raises SiteError."""
    return SitePoint("", side="input") if site == INPUT else resolve(network, site)


@contextmanager
def gated(network: nn.Module, site: str) -> Iterator[nn.Module]:
    """An identity through which a site's tensor passes, as (B, C, *grid), while the block runs.

    Hooks on it see and may exchange the tensor, whichever side of a module the site is and
    whether it holds tokens or a grid. It is copied on the way in and out: what hooks do to it, such
    as asking for its gradient, does not reach the caller's images, and an operation in place
    after the site does not reach what they saw. Nothing stays on the network.

    Raises SiteError for an unknown site, and, in the pass, where there is no grid.
    """
    point = place(network, site)
    if point.entry is not None:
        raise SiteError(
            f"site '{site}' is one entry of what module '{point.module}' returns: name a module "
            "that returns the tensor itself"
        )
    gate = nn.Identity()
    grids: dict[str, tuple[int, ...]] = {}

    def through(tensor: Any) -> Tensor:
        if not isinstance(tensor, Tensor) or tensor.ndim < 3:
            raise SiteError(f"site '{site}' is no grid of features: name another, such as after")
        if tensor.ndim > 3:
            return gate(tensor.clone()).clone()
        if point.booster is None:
            raise SiteError(
                f"site '{site}' gives tokens, whose grid the network does not say: name a site "
                "with a grid, such as before or after"
            )
        grid = tensor.transpose(1, 2).reshape(len(tensor), -1, *grids[point.booster])
        return gate(grid.clone()).flatten(2).transpose(1, 2).clone()

    with ExitStack() as attached:
        if point.booster is not None:
            booster = network.get_submodule(point.booster)

            def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
                grids[str(point.booster)] = tuple(inputs[0].shape[2:])

            attached.callback(booster.register_forward_pre_hook(note).remove)
        module = network.get_submodule(point.module)
        if point.side == "input":
            handle = module.register_forward_pre_hook(
                lambda _, inputs: (through(inputs[0]), *inputs[1:])
            )
        else:
            handle = module.register_forward_hook(lambda _, inputs, output: through(output))
        attached.callback(handle.remove)
        yield gate
