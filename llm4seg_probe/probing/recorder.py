"""Recording activations while a network runs, at named sites or any module."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SiteError, unknown
from llm4seg_probe.models.sites import SitePoint, resolve

Grid = tuple[int, ...]
Reduce = Callable[[Tensor], Tensor]


class Recording:
    """What was seen at each site, in the order of the forward passes.

    ``recording["after"]`` are tokens, ``recording.grid("after")`` is their grid.
    """

    def __init__(self, sites: Sequence[str]) -> None:
        self._seen: dict[str, list[Tensor]] = {site: [] for site in sites}
        self._grids: dict[str, list[Grid | None]] = {site: [] for site in sites}

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that ran, in the order in which they were asked for."""
        return tuple(site for site, seen in self._seen.items() if seen)

    def __getitem__(self, site: str) -> Tensor:
        """Tokens (B, N, C) of all passes one after another, on the CPU, without gradient.

        A grid (B, C, H, W) or (B, C, D, H, W) is read in raster order; a site without places,
        (B, C), is one token. With ``reduce``, what it returned. Raises SiteError when the site
        was not recorded, never ran, or gave matrices of different sizes.
        """
        seen = self._ran(site)
        if len({tokens.shape[1:] for tokens in seen}) > 1:
            shapes = ", ".join(str(tuple(tokens.shape)) for tokens in seen)
            raise SiteError(
                f"site '{site}' ran {len(seen)} times with different sizes ({shapes}): "
                "record one pass, or one size of image, at a time"
            )
        # Moved only when somebody looks, and kept so.
        self._seen[site] = [torch.cat([tokens.cpu() for tokens in seen])]
        return self._seen[site][0]

    def grid(self, site: str) -> Grid:
        """The grid of a site's tokens, (H, W) or (D, H, W).

        Raises SiteError where it is not known (tokens of a module outside any booster), and as
        reading the tokens does.
        """
        self._ran(site)
        grids = set(self._grids[site])
        if len(grids) > 1:
            found = ", ".join(str(grid) for grid in self._grids[site])
            raise SiteError(f"site '{site}' ran on different grids ({found})")
        grid = grids.pop()
        if grid is None:
            raise SiteError(
                f"site '{site}' gives tokens, whose grid the network does not say: measure whole "
                "images only, or give the grid to a measure of recording[...] yourself"
            )
        return grid

    def append(self, site: str, tokens: Tensor, grid: Grid | None) -> None:
        """Add what one pass gave; what a hook does."""
        self._seen[site].append(tokens)
        self._grids[site].append(grid)

    def _ran(self, site: str) -> list[Tensor]:
        if site not in self._seen:
            raise SiteError(unknown("recorded site", site, self._seen))
        if not self._seen[site]:
            others = ", ".join(self.sites) or "none"
            raise SiteError(f"site '{site}' never ran while recording. Sites that did: {others}")
        return self._seen[site]


@contextmanager
def record(
    network: nn.Module, sites: Sequence[str], reduce: Reduce | None = None
) -> Iterator[Recording]:
    """Record what passes the sites while the block runs; nothing stays on the network after it.

    A site is a name of ``sites_of(network)`` or the path of any module, whose output is meant;
    ``"path[1]"`` or ``"path[name]"`` is one entry of a tuple, list or mapping. All names are
    resolved before anything is attached. Copies are made inside the hook, so that an operation
    in place afterwards does not reach them; they stay on the network's device until they are
    read. Several passes append. Blocks can be nested.

    ``reduce`` maps tokens (B, N, C) to something smaller, (B, …), which is kept in their stead:
    a whole data set's activations need not fit in memory.

    Raises SiteError with the nearest names for a site that the network does not have.
    """
    if isinstance(sites, str):
        raise SiteError(f"sites is the text '{sites}': give a list, such as ['{sites}']")
    points = {site: _point(network, site) for site in sites}
    recording = Recording(list(points))
    boosters: dict[str, Grid] = {}
    with ExitStack() as attached:
        for path in {point.booster for point in points.values()} - {None}:
            booster = network.get_submodule(str(path))
            hook = _note_grid(boosters, str(path))
            attached.callback(booster.register_forward_pre_hook(hook).remove)
        for site, point in points.items():
            keep = _keeper(recording, site, point, boosters, reduce)
            module = network.get_submodule(point.module)
            if point.side == "input":  # before the module can change it in place
                handle = module.register_forward_pre_hook(_on_input(keep))
            else:
                handle = module.register_forward_hook(_on_output(keep))
            attached.callback(handle.remove)
        yield recording


def _point(network: nn.Module, site: str) -> SitePoint:
    entry = re.fullmatch(r"(.+)\[(\w+)\]", site)
    if entry is None:
        return resolve(network, site)
    key: int | str = int(entry[2]) if entry[2].isdecimal() else entry[2]
    return replace(resolve(network, entry[1]), entry=key)


Keep = Callable[[tuple[Any, ...], Any], None]


def _on_input(keep: Keep) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    return lambda module, inputs: keep(inputs, None)


def _on_output(keep: Keep) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    return lambda module, inputs, output: keep(inputs, output)


def _note_grid(grids: dict[str, Grid], path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        grids[path] = tuple(inputs[0].shape[2:])

    return hook


def _keeper(
    recording: Recording,
    site: str,
    point: SitePoint,
    boosters: Mapping[str, Grid],
    reduce: Reduce | None,
) -> Keep:
    """What a hook does with the tensor at a site: make it tokens, reduce or copy, and append."""

    def keep(inputs: tuple[Any, ...], output: Any) -> None:
        tensor = _tensor(site, point, inputs, output).detach()
        if tensor.ndim < 2:
            raise SiteError(f"site '{site}' is of the shape {tuple(tensor.shape)}: no channels")
        grid: Grid | None = None
        if tensor.ndim > 3:
            grid = tuple(tensor.shape[2:])
        elif tensor.ndim == 3 and point.booster is not None:
            grid = boosters.get(point.booster)
        if reduce is None:
            kept = _tokens(tensor.clone())
        else:
            kept = reduce(_tokens(tensor))
            if kept.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
                kept = kept.clone()
        recording.append(site, kept, grid)

    return keep


def _tensor(site: str, point: SitePoint, inputs: tuple[Any, ...], output: Any) -> Tensor:
    seen = inputs[0] if point.side == "input" else output
    if point.entry is None and isinstance(seen, tuple | list):
        tensors = [index for index, part in enumerate(seen) if isinstance(part, Tensor)]
        if len(tensors) != 1:
            raise SiteError(
                f"site '{site}' gives a {type(seen).__name__} of {len(seen)}, {len(tensors)} of "
                f"them tensors: say which one is meant, such as '{site}[0]'"
            )
        point = replace(point, entry=tensors[0])
    try:
        return point.tensor(inputs, output)
    except (LookupError, TypeError) as error:
        raise SiteError(
            f"site '{site}': what the module gives, a {type(seen).__name__}, has no such entry"
        ) from error


def _tokens(tensor: Tensor) -> Tensor:
    if tensor.ndim == 2:
        return tensor[:, None]
    return tensor if tensor.ndim == 3 else tensor.flatten(2).transpose(1, 2)
