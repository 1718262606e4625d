"""Record activations at named sites, or at any module, while a network runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SiteError, unknown
from llm4seg_probe.models.axes import Passes, recomputed
from llm4seg_probe.models.sites import SitePoint, axes_at, find_site

Grid = tuple[int, ...]
Seen = Callable[[tuple[Any, ...], Any], Any]
"""Called with a module's inputs and output (None before it runs) in each forward pass.

What it returns goes on in their stead: the inputs as a tuple, or the output; None changes nothing.
"""


class Attached:
    """Functions at sites of a network for as long as a ``with`` block runs.

    Afterwards, also on exceptions, no hook is left. Of every booster in which a site lies, the grid
    is noted when it runs, since tokens do not say theirs.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._hooks = ExitStack()
        self._grids: dict[str, Grid | None] = {}
        self.passes = Passes()
        """The forward passes since the block began, and the calls of sites in each."""

    def __enter__(self) -> Self:
        self._hooks.enter_context(self.passes.of(self._network))
        return self

    def __exit__(self, *failure: Any) -> None:
        self._hooks.close()

    def at(self, point: SitePoint, function: Seen) -> None:
        """Call a function whenever the site is passed: before the module where its input is meant.

        Before, because the module may change its input in place.
        """
        if point.booster is not None and point.booster not in self._grids:
            self._grids[point.booster] = None
            self._note_grid(point.booster)
        module = self._network.get_submodule(point.module)
        if point.side == "input":
            handle = module.register_forward_pre_hook(lambda _, inputs: function(inputs, None))
        else:
            handle = module.register_forward_hook(
                lambda _, inputs, output: function(inputs, output)
            )
        self._hooks.callback(handle.remove)

    def grid_of(self, point: SitePoint, tensor: Tensor) -> Grid | None:
        """The grid of a site's tensor: (H, W) or (D, H, W); None where it is not known.

        That of tokens inside a booster is the spatial shape of the booster's input in this pass.
        """
        if tensor.ndim > 3:
            return tuple(tensor.shape[2:])
        if tensor.ndim < 3 or point.booster is None:
            return None
        return self._grids.get(point.booster)

    def _note_grid(self, path: str) -> None:
        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._grids[path] = tuple(inputs[0].shape[2:])

        booster = self._network.get_submodule(path)
        self._hooks.callback(booster.register_forward_pre_hook(note).remove)


Reduce = Callable[[Tensor], Tensor]


class Recording:
    """The activations of each site, in the order of the forward passes.

    ``recording["after"]`` are tokens, ``recording.grid("after")`` is their grid. A module that is
    called several times in one pass has a recording for each call, ``recording["conv#2"]``.
    """

    def __init__(self, sites: Sequence[str], why_silent: str = "") -> None:
        self._seen: dict[str, list[_Seen]] = {site: [] for site in sites}
        self._joined: dict[str, tuple[int, Tensor]] = {}
        self._why_silent = why_silent

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that ran, in the order in which they were asked for."""
        return tuple(site for site, seen in self._seen.items() if seen)

    def __getitem__(self, site: str) -> Tensor:
        """Tokens (B, N, C) of all passes one after another, on the CPU, without gradient.

        A grid is read in raster order; a site without places, (B, C), is one token. With
        ``reduce``, what it returned. Raises SiteError when the site was not recorded, never ran,
        ran several times in a pass (say which: ``site#2``), or gave matrices of different sizes.
        """
        seen = self._ran(site)
        if len({one.tokens.shape[1:] for one in seen}) > 1:
            shapes = ", ".join(str(tuple(one.tokens.shape)) for one in seen)
            raise SiteError(
                f"site '{site}' ran {len(seen)} times with different sizes ({shapes}): "
                "record one pass, or one size of image, at a time"
            )
        count, joined = self._joined.get(site, (0, seen[0].tokens))
        if count != len(seen):  # moved only when somebody looks, and kept so
            for one in seen:
                one.tokens = one.tokens.cpu()
            joined = torch.cat([one.tokens for one in seen])
            self._joined[site] = (len(seen), joined)
        return joined

    def grid(self, site: str) -> Grid:
        """The grid of a site's tokens, (H, W) or (D, H, W).

        Raises SiteError where it is not known (tokens of a module outside any booster), and as
        reading the tokens does.
        """
        grids = [one.grid for one in self._ran(site)]
        if len(set(grids)) > 1:
            shapes = ", ".join(str(grid) for grid in grids)
            raise SiteError(f"site '{site}' ran on different grids ({shapes})")
        grid = grids[0]
        if grid is None:
            raise SiteError(
                f"site '{site}' gives tokens, whose grid the network does not say: measure whole "
                "images only, or give the grid to a measure of recording[...] yourself"
            )
        return grid

    def calls(self, site: str) -> int:
        """How often the site's module was called in one forward pass, the most of all passes."""
        if site not in self._seen:
            raise SiteError(unknown("recorded site", site, self._seen))
        return max((one.call for one in self._seen[site]), default=0)

    def of_images(self, site: str, images: int) -> Tensor:
        """The tokens, when they are those of that many images. Raises SiteError otherwise."""
        tokens = self[site]
        if len(tokens) != images:
            raise SiteError(
                f"site '{site}' gives {len(tokens)} matrices for {images} images (windows, or "
                "parts of an image?): name a module that sees each image as a whole"
            )
        return tokens

    def append(
        self, site: str, tokens: Tensor, grid: Grid | None, call: int = 1, number: int = 0
    ) -> None:
        """Add what one pass gave; what a hook does. ``call`` counts within the pass ``number``."""
        self._seen[site].append(_Seen(tokens, grid, call, number))

    def _ran(self, site: str) -> list[_Seen]:
        name, hash_sign, number = site.rpartition("#")
        if site not in self._seen and hash_sign and name in self._seen and number.isdecimal():
            seen = [one for one in self._seen[name] if one.call == int(number)]
            if not seen:
                raise SiteError(f"site '{name}' is called {self.calls(name)} times in a pass")
            return seen
        if site not in self._seen:
            raise SiteError(unknown("recorded site", site, self._seen))
        seen = self._seen[site]
        if not seen:
            others = ", ".join(self.sites) or "none"
            raise SiteError(
                f"site '{site}' never ran while recording. Sites that did: {others}"
                f"{self._why_silent}"
            )
        if self.calls(site) > 1 and not hash_sign:
            each = ", ".join(f"'{site}#{call + 1}'" for call in range(self.calls(site)))
            raise SiteError(
                f"site '{site}' is called {self.calls(site)} times in one forward pass: say which "
                f"call is meant, {each}"
            )
        return seen


@dataclass
class _Seen:
    """What one call of a site gave."""

    tokens: Tensor
    grid: Grid | None
    call: int
    number: int


@contextmanager
def record(
    network: nn.Module,
    sites: Sequence[str],
    reduce: Reduce | None = None,
    axis: int | Mapping[str, int] | None = None,
) -> Iterator[Recording]:
    """Record the activations at sites of a network while a ``with`` block runs.

    Copies are made inside the hook, so that an operation in place afterwards does not reach them;
    they stay on the network's device until they are read. Several passes append; what a backward
    pass computes again does not. Blocks can be nested. All names are resolved before anything is
    attached, and nothing stays on the network afterwards.

    Parameters
    ----------
    network : nn.Module
        Any network; one with a booster has named sites as well.
    sites : sequence of str
        Names of ``sites_of(network)`` (``before``, ``after``, ``layer``, …) or paths of modules,
        whose output is meant; ``"path[1]"`` or ``"path[name]"`` is one entry of a tuple, list or
        mapping, ``"path#2"`` the second call of a module that one pass calls several times.
    reduce : callable, optional
        Maps tokens (B, N, C) to something smaller, (B, …), which is kept in their stead: a whole
        data set's activations need not fit in memory.

    axis : int or mapping of str to int, optional
        Axis of the channels, for all sites or by site, where nothing tells it: else it is told by
        the module's kind (convolutions: behind the batch; layer norms and linear layers: last;
        ``batch_first``), or by its length.

    Yields
    ------
    Recording
        ``recording[site]`` are tokens (B, N, C) on the CPU, ``recording.grid(site)`` their grid.

    Raises
    ------
    SiteError
        For a site that the network does not have, with the nearest names, for a network that takes
        no hooks, and, in the pass, for channels that nothing tells.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
    >>> with torch.no_grad(), record(network, ["0"]) as recording:
    ...     _ = network(torch.zeros(2, 1, 4, 6))
    >>> tuple(recording["0"].shape), recording.grid("0")
    ((2, 24, 8), (4, 6))
    """
    if isinstance(sites, str):
        raise SiteError(f"sites is the text '{sites}': give a list, such as ['{sites}']")
    points = {site: _asked(_point(network, site), site, axis) for site in sites}
    recording = Recording(list(points), _why_silent(network))
    _hookable(network, points)
    with Attached(network) as attached:
        for site, point in points.items():
            attached.at(point, _keeper(recording, site, point, network, attached, reduce))
        yield recording


def _hookable(network: nn.Module, points: Mapping[str, SitePoint]) -> None:
    """Raise SiteError for a scripted or traced network or module, which takes no hooks."""
    for site, point in points.items():
        scripted = isinstance(network, torch.jit.ScriptModule)
        if scripted or isinstance(network.get_submodule(point.module), torch.jit.ScriptModule):
            raise SiteError(
                f"site '{site}' lies in a scripted or traced network (torch.jit), which takes no "
                "hooks: record the network that it was made from"
            )


def _why_silent(network: nn.Module) -> str:
    """Why a site may not have run although the network did; empty where nothing says so."""
    compiled = hasattr(network, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in network.modules()
    )
    if not compiled:
        return ""
    return (
        ". The network is compiled (torch.compile), and ran before: record it before it runs, or "
        "the network as it was (network._orig_mod, or an uncompiled copy)"
    )


def _asked(point: SitePoint, site: str, axis: int | Mapping[str, int] | None) -> SitePoint:
    chosen = axis.get(site) if isinstance(axis, Mapping) else axis
    return point if chosen is None else replace(point, axis=chosen)


def _point(network: nn.Module, site: str) -> SitePoint:
    entry = re.fullmatch(r"(.+)\[(\w+)\]((?:#\d+)?(?:@-?\d+)?)", site)
    if entry is None:
        return find_site(network, site)
    key: int | str = int(entry[2]) if entry[2].isdecimal() else entry[2]
    return replace(find_site(network, entry[1] + entry[3]), entry=key)


def _keeper(
    recording: Recording,
    site: str,
    point: SitePoint,
    network: nn.Module,
    attached: Attached,
    reduce: Reduce | None,
) -> Callable[[tuple[Any, ...], Any], None]:
    """What is done with the tensor at a site: make it tokens, reduce or copy, and append."""

    def keep(inputs: tuple[Any, ...], output: Any) -> None:
        if recomputed():
            return
        number, call = attached.passes.call(site)
        if point.call is not None and call != point.call:
            return
        tensor = _tensor(site, point, inputs, output).detach()
        if tensor.ndim < 2:
            raise SiteError(f"site '{site}' is of the shape {tuple(tensor.shape)}: no channels")
        axes = axes_at(network, site, point, tensor, attached.passes)
        grid = attached.grid_of(point, tensor) if tensor.ndim == 3 else axes.grid(tensor)
        tokens = axes.tokens(tensor)
        kept = tokens if reduce is None else reduce(tokens)
        if kept.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
            kept = kept.clone()
        recording.append(site, kept, grid, 1 if point.call else call, number)

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
