"""Expose a site as an ``nn.Identity`` module, for tools (captum) that hook modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from llm4seg_probe.activations.recorder import Attached
from llm4seg_probe.errors import SiteError
from llm4seg_probe.models.axes import Axes
from llm4seg_probe.models.booster import as_grid, as_tokens
from llm4seg_probe.models.sites import SitePoint, axes_at, find_site

INPUT = "input"
"""The images themselves, beside the sites of ``sites_of``."""


def place(network: nn.Module, site: str) -> SitePoint:
    """Find a site, or the network's ``input``. Raises SiteError."""
    return SitePoint("", side="input") if site == INPUT else find_site(network, site)


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
    if point.call is not None:
        raise SiteError(
            f"site '{site}' is one of several calls of module '{point.module}': name a module that "
            "is called once"
        )
    gate = nn.Identity()

    def through(attached: Attached, tensor: Any) -> Tensor:
        if not isinstance(tensor, Tensor) or tensor.ndim < 3:
            raise SiteError(f"site '{site}' is no grid of features: name another, such as after")
        attached.passes.once(site)
        if tensor.ndim > 3:
            axes = (
                Axes(0, 1)
                if site == INPUT
                else axes_at(network, site, point, tensor, attached.passes)
            )
            seen = gate(tensor.movedim(axes.channels, 1).clone())
            return seen.movedim(1, axes.channels).clone()
        grid = attached.grid_of(point, tensor)
        if grid is None:
            raise SiteError(
                f"site '{site}' gives tokens, whose grid the network does not say: name a site "
                "with a grid, such as before or after"
            )
        return as_tokens(gate(as_grid(tensor, grid).clone())).clone()

    with Attached(network) as attached:
        if point.side == "input":
            attached.at(point, lambda inputs, _: (through(attached, inputs[0]), *inputs[1:]))
        else:
            attached.at(point, lambda _, output: through(attached, output))
        yield gate
