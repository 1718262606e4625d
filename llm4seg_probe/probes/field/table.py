"""The effective receptive field: which input moves the centre, with and without the layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations.gate import INPUT, gated
from llm4seg_probe.activations.passes import Pool, Run, checked, evaluating, run_columns
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.measures.receptive_field import field_radius, radial_profile, raster_sides
from llm4seg_probe.models.sites import boosters_of, sites_of
from llm4seg_probe.probes.field import FIELD, Options
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`field_table`."""
    table, arrays = field_table(
        probed.run, probed.batches(), options.sites, untrained=probed.untrained,
        images=options.images,
    )  # fmt: skip
    return Measurement(table, arrays)


def field_table(
    run: Run,
    batches: Iterable[Batch],
    sites: Sequence[str] = ("logits",),
    *,
    untrained: nn.Module | None = None,
    images: int = 48,
    null_images: int = 16,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """``field.csv`` of one run, and the arrays of ``field.npz``.

    The field is the absolute gradient of the site's centre (all channels summed) with respect to
    the image, summed over its channels; ``wrt`` is ``input``. ``layer`` is ``with``, ``bypassed``
    (each booster hands on its input) or ``none`` for a network without a booster. For each
    booster there is one more field, of its output's centre ``after`` with respect to its input
    ``before``: at the level of tokens, where a causal mask shows undisturbed.

    One row per image of the first ``images`` (the same for all runs): ``mass``, the sum of the
    field; ``radius_50`` and ``radius_90``, that hold these shares of it, in positions of ``wrt``;
    ``before`` and ``after`` the centre in raster order, and their ``asymmetry``. In 3D discs are
    balls, and raster order goes by slice, row, column. The null band ``untrained`` is the network
    before training, on ``null_images`` of them, where it is given.

    Arrays: ``fields`` (F, H, W), each image's field at a mass of 1, then averaged (in 3D the
    plane of the centre), and ``profiles`` (F, R) by distance, NaN beyond the last; smaller fields
    are NaN beyond their edge; ``field_size`` (F, 2) and ``field_{run,arm,seed,site,wrt,layer,
    null}`` (F,) say whose.

    Raises SiteError for an unknown site, DataError for images that the network does not take.
    """
    sites = tuple(dict.fromkeys(sites))
    pool = Pool(images)
    for batch in checked(run, batches, sites, "Choosing images"):
        pool.add(batch)
    rows = _FieldRows(run)
    for batch in progress.track(list(pool.batches(size=4)), f"Receptive field of {run.name}"):
        for found in _fields(run.network, sites):
            rows.add(found, "", run.network, batch)
    if untrained is not None:
        for batch in pool.batches(null_images, size=4):
            for found in _fields(untrained, sites):
                rows.add(found, "untrained", untrained, batch)
    return rows.table(), rows.arrays()


@dataclass(frozen=True)
class _Field:
    """Which field: of the centre of a site, with respect to another, and what the layer does."""

    site: str
    wrt: str
    layer: str


def _fields(network: nn.Module, sites: Sequence[str]) -> list[_Field]:
    boosted = any(True for _ in boosters_of(network))
    states = ("with", "bypassed") if boosted else ("none",)
    fields = [_Field(site, INPUT, state) for site in sites for state in states]
    pairs = [(name.replace("before", "after"), name) for name in sites_of(network)]
    if boosted:
        fields += [_Field(*pair, "with") for pair in pairs if pair[1].startswith("before")]
    return fields


@contextmanager
def bypassed(network: nn.Module) -> Iterator[None]:
    """Run a block with every booster handing on its input, as if nothing stood there."""

    def hand_on(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return inputs[0]

    with ExitStack() as attached:
        for _, booster in boosters_of(network):
            attached.callback(booster.register_forward_hook(hand_on).remove)
        yield


def receptive_field(
    network: nn.Module, images: Tensor, site: str = "logits", wrt: str = INPUT
) -> Tensor:
    """Absolute gradient of the centre of one site with respect to another: (B, *grid of wrt).

    images: (B, C, *size). The centre is position ``length // 2`` of each axis; its channels are
    summed (as in Luo et al., NeurIPS 2016), the absolute gradient is summed over channels. The
    network is run in evaluation mode, where images do not see each other. On the CPU, float32.
    """
    device = next((parameter.device for parameter in network.parameters()), images.device)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen[name] = output

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        for name in (wrt, site):
            gate = stack.enter_context(gated(network, name))
            gate.register_forward_hook(keep(name))
        with torch.enable_grad():
            network(images.detach().clone().to(device).requires_grad_())
            centre = seen[site]
            for length in centre.shape[2:]:
                centre = centre.select(2, length // 2)
            (gradient,) = torch.autograd.grad(centre.sum(), seen[wrt])
    return gradient.detach().abs().sum(1).float().cpu()


@dataclass(eq=False)
class _Sum:
    """Fields and profiles of some images, summed."""

    count: int = 0
    plane: Tensor = field(default_factory=lambda: torch.zeros(()))
    profile: Tensor = field(default_factory=lambda: torch.zeros(()))


class _FieldRows:
    """Rows of the table and sums of the fields, as they come."""

    def __init__(self, run: Run) -> None:
        self._run = run_columns(run)
        self._rows = Rows(FIELD)
        self._sums: dict[tuple[_Field, str], _Sum] = {}

    def add(self, which: _Field, null: str, network: nn.Module, batch: Batch) -> None:
        """Measure one field of the images of a batch."""
        with ExitStack() as stack:
            if which.layer == "bypassed":
                stack.enter_context(bypassed(network))
            found = receptive_field(network, batch.images, which.site, which.wrt)
        centre = tuple(length // 2 for length in found.shape[1:])
        sides = raster_sides(found, centre)
        columns = {
            "mass": found.flatten(1).sum(1),
            "radius_50": field_radius(found, centre, 0.5),
            "radius_90": field_radius(found, centre, 0.9),
            **dict(zip(("before", "after", "asymmetry"), sides, strict=True)),
        }
        keys = {"site": which.site, "wrt": which.wrt, "layer": which.layer, "null": null}
        for index, (image, group) in enumerate(zip(batch.names, batch.groups, strict=True)):
            values = {name: column[index].item() for name, column in columns.items()}
            self._rows.add({**self._run, **keys, "image": image, "group": group, **values})
        self._add_to_sum((which, null), found, centre)

    def _add_to_sum(self, key: tuple[_Field, str], found: Tensor, centre: Sequence[int]) -> None:
        mass = found.flatten(1).sum(1).double()
        shares = found[mass > 0].double() / mass[mass > 0].reshape(-1, *[1] * len(centre))
        total = self._sums.setdefault(key, _Sum())
        total.count += len(shares)
        total.plane = total.plane + (shares[:, centre[0]] if len(centre) == 3 else shares).sum(0)
        total.profile = total.profile + radial_profile(shares, centre).sum(0)

    def table(self) -> pd.DataFrame:
        """``field.csv``."""
        return self._rows.table()

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of ``field.npz``."""
        planes = [(one.plane / max(one.count, 1)).numpy() for one in self._sums.values()]
        profiles = [(one.profile / max(one.count, 1)).numpy() for one in self._sums.values()]
        columns: dict[str, list[Any]] = {
            name: [value] * len(planes) for name, value in self._run.items() if name != "dataset"
        }
        for name in ("site", "wrt", "layer"):
            columns[name] = [getattr(which, name) for which, _ in self._sums]
        columns["null"] = [null for _, null in self._sums]
        return {
            **{f"field_{name}": np.array(column) for name, column in columns.items()},
            "field_size": np.array([plane.shape for plane in planes]),
            "fields": _padded(planes),
            "profiles": _padded(profiles),
        }


def _padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of different sizes as one, NaN beyond the end of each."""
    shape = np.max([array.shape for array in arrays], axis=0)
    whole = np.full((len(arrays), *shape), np.nan, dtype=np.float32)
    for place, array in enumerate(arrays):
        whole[place][tuple(slice(length) for length in array.shape)] = array
    return whole
