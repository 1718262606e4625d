"""Every probe as a call: of runs, or of any network with a batch of images and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from torch import nn

from llm4seg_probe.errors import CheckpointError, UserError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.base import Option, Probe
from llm4seg_probe.probes.probed import ProbedRun, Source
from llm4seg_probe.probes.result import ProbeResult, take
from llm4seg_probe.reading.names import files_of
from llm4seg_probe.results.networks import NAME, GivenImages, GivenNetwork, given_networks
from llm4seg_probe.results.result import Result
from llm4seg_probe.training.stored_run import Run

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

_NUMBER = "n_images"
"""In Python the option ``images`` of a probe, since ``images`` are those to look at."""
What = Any
"""What can be probed: runs (opened ones, paths, globs, or several), or networks with images."""


class Probed(Result):
    """What a probe measured.

    ``tables`` are all its tables by file name, ``arrays`` what the figures are drawn from beside
    them, run by run; ``probe`` is its descriptor, with what it shows and what it cannot show.
    """

    def __init__(self, result: ProbeResult, notes: Sequence[str] = ()) -> None:
        self.result = result
        self.notes = tuple(notes)
        """What was decided for the user, such as where to look."""

    @property
    def probe(self) -> Probe:
        """The probe's descriptor."""
        return self.result.probe

    @property
    def table(self) -> pd.DataFrame:
        """Its table, as ``<name>.csv`` has it."""
        return self.result.table

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """All its tables by file name."""
        return self.result.tables

    @property
    def arrays(self) -> tuple[Mapping[str, np.ndarray], ...]:
        """The arrays of each run that has some: maps, spectra, predictions."""
        return self.result.arrays

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A few rows that say most, as the command prints them."""
        return self.result.summary

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """What may be said of the table, and what was decided for the user."""
        return (*self.result.sentences, *self.notes)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        # A probe draws all its figures at once, and says then which there are.
        return {name: partial(_same, figure) for name, figure in self.result.figures().items()}

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write tables, arrays and figures into a folder, as the command does."""
        saved = self.result.save(Path(folder))
        return (*saved.tables.values(), *saved.figures)


def _same(figure: Figure) -> Figure:
    return figure


def probe(
    what: What,
    name: str,
    images: Any = None,
    masks: Any = None,
    *,
    sites: Sequence[str] | str | None = None,
    split: str = "test",
    data: str | Path | None = None,
    network: str | None = None,
    device: str | None = None,
    **options: Any,
) -> Probed:
    """Take a probe of runs, or of any network with a batch of images.

    Parameters
    ----------
    what : run, path, glob, network, or several
        Runs as :func:`llm4seg_probe.load`, :func:`llm4seg_probe.train` or
        :func:`llm4seg_probe.runs` give them, or by the paths of their ``run.pt``; or a
        ``torch.nn.Module``, or a mapping of names to modules.
    name : str
        A probe of ``lp.list("probes")``, or ``package.module:PROBE`` of one of your own.
    images, masks : tensor or array
        With networks: images (B, C, H, W) or (B, C, D, H, W), as the network sees them; masks
        (B, K, H, W), or (B, H, W) of labels.
    sites : sequence of str, optional
        Where to look: names of ``lp.list("sites")``, or paths of modules. Of a network without
        such sites its deepest features unless given, which is said.
    split, data
        With runs: the side of their own split, or another folder of images.
    network : str, optional
        With runs whose network is from outside: ``package.module:callable``.
    device : str, optional
        With runs: where they are computed, ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. By
        default ``auto``, and an opened run where it lies. A network is looked at where it lies.
    **options
        Of the probe, as its command has them; how many images it looks at is ``n_images``.

    Returns
    -------
    Probed
        Its ``.table``, ``.summary``, ``.sentences``, ``.plot()`` and ``.save(folder)``. Nothing is
        written before.

    Raises
    ------
    UserError
        For what cannot be probed, in one line.
    """
    chosen = registry.find(name)
    given = {("images" if key == _NUMBER else key): value for key, value in options.items()}
    if sites is not None:
        given["sites"] = (sites,) if isinstance(sites, str) else tuple(sites)
    networks = _networks(what)
    if networks is None:
        if images is not None or masks is not None:
            raise UserError(
                "images and masks go with a network, lp.rank(network, images, masks); runs have "
                "their own (split=…), or take those of a folder (data=…)"
            )
        values = chosen.with_options(**given)
        sources = sources_of(what, split, data, network, device)
        return Probed(take(chosen, sources, values))
    if images is None:
        raise UserError("a network needs images to look at: give them, images=(B, C, H, W)")
    if data is not None or network is not None or device is not None or split != "test":
        raise UserError(
            "split, data, network and device go with runs; a network has images and masks, and is "
            "looked at where it lies"
        )
    batch = GivenImages.of(images, masks)
    found = given_networks(chosen, networks, batch, given.get("sites"))
    if masks is None:
        given = {**(chosen.without_masks or {}), **given}
    return _of_networks(chosen, found, given)


def _of_networks(chosen: Probe, found: list[GivenNetwork], given: dict[str, Any]) -> Probed:
    """Take a probe of networks; where each has its own deepest module, each is measured there."""
    own = dict.fromkeys(source.sites for source in found)
    notes = [note for source in found for note in source.notes]
    if len(own) == 1:
        sites = next(iter(own))
        values = chosen.with_options(**({"sites": sites} if sites else {}), **given)
        return Probed(take(chosen, found, values), notes)
    raise UserError(
        "these networks have no site of the same name: say where to look, sites=['…'] "
        f"({' '.join(notes)})"
    )


def sources_of(
    what: What,
    split: str = "test",
    data: str | Path | None = None,
    network: str | None = None,
    device: str | None = None,
) -> list[Source]:
    """Runs as a probe takes them. Raises CheckpointError for a path or pattern without a file."""
    place = None if data is None else Path(data)
    found: list[Source] = []
    for one in _each(what):
        if isinstance(one, Run):
            found.append(OpenedRun(one.path, split, place, network, device, one))
        elif isinstance(one, str | Path):
            found += [
                Source(path, split, place, network, device)
                for path in files_of([one], CheckpointError)
            ]
        else:
            raise UserError(
                f"a {type(one).__name__} is no run: give one (lp.load), the path of a run.pt or a "
                "glob of them; a probe takes a torch network with images, too"
            )
    if not found:
        raise CheckpointError("there is no run to probe: give at least one")
    return list({source.path: source for source in found}.values())


@dataclass(frozen=True)
class OpenedRun(Source):
    """A run that is open already."""

    run: Run | None = None

    def open(self, others: Sequence[Source] = ()) -> ProbedRun:
        """The run as it is, moved where a device was named."""
        assert self.run is not None
        return ProbedRun(self.run.on(self.device), self.split, self.data, others)


def _each(what: What) -> Iterable[Any]:
    if isinstance(what, Run | str | Path):
        return [what]
    if isinstance(getattr(what, "run", None), Run):  # as lp.train gives it
        return [what.run]
    paths: Sequence[Path] | None = getattr(what, "paths", None)
    if paths is not None:  # as lp.runs gives them, opened one at a time
        return paths
    try:
        return [getattr(one, "run", one) for one in what]
    except TypeError:
        return [what]


def _networks(what: What) -> dict[str, nn.Module] | None:
    """Networks by name, where ``what`` is such; None where it is runs."""
    if isinstance(what, nn.Module):
        return {NAME: what}
    if isinstance(what, Mapping):
        wrong = [name for name, one in what.items() if not isinstance(one, nn.Module)]
        if wrong:
            raise UserError(f"'{wrong[0]}' is no torch network: a mapping is of names to networks")
        return {str(name): one for name, one in what.items()}
    if isinstance(what, list | tuple) and what and isinstance(what[0], nn.Module):
        return {f"{NAME}-{number}": one for number, one in enumerate(what, start=1)}
    return None


class ProbeCall(Protocol):
    """A call of :func:`probe` with a probe's name, whose options are its parameters."""

    def __call__(self, what: What, images: Any = None, masks: Any = None, **options: Any) -> Probed:
        """See :func:`probe`."""


def call_of(name: str) -> ProbeCall:
    """The call of one probe, with its options as parameters: ``lp.rank`` and its siblings.

    Raises ConfigError for a probe that there is not.
    """
    chosen = registry.find(name)

    def call(what: What, images: Any = None, masks: Any = None, **options: Any) -> Probed:
        return probe(what, name, images, masks, **options)

    options = [each for each in chosen.option_list() if each.name != "sites"]
    keyword = Parameter.KEYWORD_ONLY
    shared = {"sites": None, "split": "test", "data": None, "network": None}
    shared["device"] = None
    call.__name__ = call.__qualname__ = chosen.name.replace("-", "_")
    call.__doc__ = _help(chosen, options)
    call.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter("what", Parameter.POSITIONAL_OR_KEYWORD),
            Parameter("images", Parameter.POSITIONAL_OR_KEYWORD, default=None),
            Parameter("masks", Parameter.POSITIONAL_OR_KEYWORD, default=None),
            *(Parameter(key, keyword, default=default) for key, default in shared.items()),
            *(Parameter(python_name(each), keyword, default=each.default) for each in options),
        ],
        return_annotation=Probed,
    )
    return call


def python_name(option: Option) -> str:
    """Name of a probe's option as an argument in Python."""
    return _NUMBER if option.name == "images" else option.name


def in_python(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a probe by their names in Python."""
    return {(_NUMBER if name == "images" else name): value for name, value in values.items()}


def _help(chosen: Probe, options: Sequence[Option]) -> str:
    lines = [f"Measure {chosen.summary}.", "", chosen.shows, "", f"It cannot show {chosen.cannot}."]
    shared = "what, images, masks, sites, split, data, network, device"
    lines += ["", "Parameters", "----------", shared]
    lines.append("    As in :func:`llm4seg_probe.probe`.")
    for option in options:
        lines += [f"{python_name(option)} : {option.type.__name__}", f"    {option.help}"]
    return "\n".join([*lines, "", "Returns", "-------", "Probed", "    See :class:`Probed`.", ""])


def __getattr__(name: str) -> ProbeCall:
    """The call of a probe by its name, made when it is first asked for."""
    if name not in {probe.name for probe in registry.PROBES}:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    made = globals()[name] = call_of(name)
    return made
