"""Named places in a network where activations are read, and which module each one is.

A point says which module to hook, and on which side of it. At most sites the tensor is a grid,
(B, C, H, W) or (B, C, D, H, W). At token sites, those inside a booster, it is (B, N, width) in
raster order, and its grid is the spatial shape of the input of the module ``point.booster``,
which runs before the site in every forward pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from torch import Tensor, nn

from llm4seg_probe.errors import SiteError, unknown
from llm4seg_probe.llm.blocks import Block
from llm4seg_probe.llm.mixing import Mixing
from llm4seg_probe.models.axes import Axes, Passes, axes_of
from llm4seg_probe.models.backbones import Backbone
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.insertion import Boosted

_MARK = "llm4seg_probe_sites"


@dataclass(frozen=True)
class SitePoint:
    """One place in a network.

    ``module`` is a path in it ("" is the network itself), ``side`` whether the module's first
    input or its output is meant, and ``entry`` which part of a tuple, list or mapping.
    ``booster`` is the path of the booster whose tokens these are, None where it is a grid.
    ``axis`` is that of the channels where it was asked for, ``call`` which of several calls in one
    pass is meant, from 1.
    """

    module: str
    side: Literal["input", "output"] = "output"
    entry: int | str | None = None
    booster: str | None = None
    axis: int | None = None
    call: int | None = None

    @property
    def tokens(self) -> bool:
        """Whether the tensor here is (B, N, width) rather than a grid."""
        return self.booster is not None

    def tensor(self, inputs: tuple[Any, ...], output: Any) -> Tensor:
        """The tensor meant, from what a forward hook on the module sees.

        Of a mapping, such as the outputs of transformers, its ``logits`` are taken. Raises
        SiteError where there is no single tensor.
        """
        seen = output if self.side == "output" else inputs[0]
        if self.entry is not None:
            seen = seen[self.entry]
        elif isinstance(seen, Mapping) and "logits" in seen:
            seen = seen["logits"]
        if not isinstance(seen, Tensor):
            raise SiteError(
                f"the {self.side} of module '{self.module}' is a {type(seen).__name__}, not a "
                "tensor: name a module inside it or after it"
            )
        return seen


def mark(network: nn.Module, row: Backbone | None, bottleneck: SitePoint | None) -> None:
    """Let the network know its own sites; they stay with it through copying.

    ``bottleneck`` is ``before`` and ``after`` as long as no booster stands there. ``row`` is
    None for a network from outside.
    """
    sites: dict[str, SitePoint] = {}
    if row is not None:
        for scale, module in enumerate(row.encoder, start=1):
            sites[f"encoder.{scale}"] = SitePoint(module)
    if bottleneck is not None:
        sites["before"] = sites["after"] = bottleneck
    if row is not None:
        for scale, module in reversed(list(enumerate(row.decoder, start=1))):
            sites[f"decoder.{scale}"] = SitePoint(module)
    setattr(network, _MARK, sites)


def boosters_of(network: nn.Module) -> Iterator[tuple[str, Booster]]:
    """The boosters in a network with their paths, in the order of its modules."""
    for path, module in network.named_modules():
        if isinstance(module, Booster):
            yield path, module


def sites_of(network: nn.Module) -> dict[str, SitePoint]:
    """The named sites of a network, in the order of the data's way through it.

    A network from outside has those of its boosters and ``logits``. With several boosters
    their sites are numbered, ``before.1`` and so on.
    """
    marked: dict[str, SitePoint] = getattr(network, _MARK, {})
    own = {name: _inside(network, point) for name, point in marked.items()}
    middle = {name: point for name, point in own.items() if name in ("before", "after")}
    boosters = list(boosters_of(network))
    if boosters:
        middle = {}
    for number, (path, booster) in enumerate(boosters, start=1):
        suffix = f".{number}" if len(boosters) > 1 else ""
        for name, point in _booster_sites(path, booster).items():
            middle[name + suffix] = point
    encoder = {name: point for name, point in own.items() if name.startswith("encoder.")}
    decoder = {name: point for name, point in own.items() if name.startswith("decoder.")}
    return {**encoder, **middle, **decoder, "logits": SitePoint("")}


_SUFFIXES = re.compile(r"(?P<name>.+?)(#(?P<call>\d+))?(@(?P<axis>-?\d+))?")


def find_site(network: nn.Module, site: str) -> SitePoint:
    """The place that a site's name, or the path of any module, means in this network.

    ``path#2`` is the second call of a module in one pass, ``path@-1`` says that its channels are
    on the last axis. Raises SiteError with the nearest names.
    """
    written = _SUFFIXES.fullmatch(site)
    if written is None or not (written["call"] or written["axis"]):
        return _resolved(network, site)
    return replace(
        _resolved(network, written["name"]),
        call=int(written["call"]) if written["call"] else None,
        axis=int(written["axis"]) if written["axis"] else None,
    )


def named_axes(network: nn.Module, point: SitePoint) -> bool:
    """Whether a point is one of the network's own sites, which are grids (B, C, ...) or tokens."""
    plain = replace(point, axis=None, call=None)
    return point.booster is not None or point.module == "" or plain in sites_of(network).values()


def axes_at(
    network: nn.Module, site: str, point: SitePoint, tensor: Tensor, passes: Passes
) -> Axes:
    """As :func:`axes_of`, of a place in the network, whose own sites are grids and tokens."""
    if point.axis is None and named_axes(network, point):
        if tensor.ndim > 3:
            return Axes(0, 1)
        if point.booster is not None:
            return Axes(0, tensor.ndim - 1)
    path, asked = point.module, point.axis
    return axes_of(network, path, tensor, site=site, asked=asked, passes=passes)


def _resolved(network: nn.Module, site: str) -> SitePoint:
    sites = sites_of(network)
    if site in sites:
        return sites[site]
    modules = [path for path, _ in network.named_modules(remove_duplicate=False) if path]
    if site in modules:
        inside = (path for path, _ in boosters_of(network) if site.startswith(f"{path}."))
        return SitePoint(site, booster=next(inside, None))
    near = get_close_matches(site, modules, n=3, cutoff=0.5)
    raise SiteError(unknown("site", site, [*sites, *near]) + ", or the path of any module")


def _inside(network: nn.Module, point: SitePoint) -> SitePoint:
    """The point that a backbone's row means once a booster stands after its module."""
    path = point.module
    while isinstance(network.get_submodule(path), Boosted):
        path = f"{path}.host"
    return replace(point, module=path)


def _booster_sites(path: str, booster: Booster) -> dict[str, SitePoint]:
    sites = {
        "before": SitePoint(path, "input"),
        "tokens": SitePoint(f"{path}.adapter1", booster=path),
    }
    inside = list(booster.named_modules())
    blocks = [name for name, module in inside if isinstance(module, Block)]
    mixing = next((name for name, module in inside if isinstance(module, Mixing)), None)
    if mixing is not None:  # its layers stand side by side: none of them is the stream
        sites["layer"] = SitePoint(f"{path}.{mixing}", booster=path)
    elif blocks:
        last = f"{path}.{blocks[-1]}"
        sites["attention"] = SitePoint(f"{last}.after_attention", booster=path)
        sites["layer"] = SitePoint(last, booster=path)
    sites["after"] = SitePoint(path)
    return sites
