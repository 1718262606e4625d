"""The attribution probe: which places the network's answer rests on, against the mask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.gate import INPUT, gated, place
from llm4seg_probe.activations.passes import (
    Pool,
    Run,
    checked,
    evaluating,
    joined,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError, UserError, unknown
from llm4seg_probe.measures.attribution import completeness_gap, inside_share
from llm4seg_probe.models.heads import class_logits, decided
from llm4seg_probe.probes.attribute import ATTRIBUTE, RANDOMISED, Options
from llm4seg_probe.probes.attribute.methods import (
    ADDS_UP,
    METHODS,
    Score,
    baseline_of,
    explain,
    infidelity,
    sensitivity,
)
from llm4seg_probe.probes.attribute.randomised import Key, Whole, randomised_table
from llm4seg_probe.probes.maps.gallery import gallery_arrays, predicted_labels
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`attribution_table`."""
    table, arrays, further = attribution_tables(
        probed.run, probed.batches(), options, untrained=probed.untrained
    )
    return Measurement(table, arrays, further)


def attribution_table(
    run: Run,
    batches: Iterable[Batch],
    options: Options | None = None,
    *,
    untrained: nn.Module | None = None,
    gallery: int = 4,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """``attribute.csv`` of one run, and the arrays; see :func:`attribution_tables`."""
    return attribution_tables(run, batches, options, untrained=untrained, gallery=gallery)[:2]


def attribution_tables(
    run: Run,
    batches: Iterable[Batch],
    options: Options | None = None,
    *,
    untrained: nn.Module | None = None,
    gallery: int = 4,
) -> tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, pd.DataFrame]]:
    """``attribute.csv`` of one run, the arrays of ``attribute.npz``, and what was asked for beside.

    A site is ``input`` or one of ``sites_of``; each method is taken at each. One row per image of
    the first ``options.images`` with foreground (the same for all runs) and class. ``score`` and
    ``baseline_score`` are f(x) and f(baseline), see :class:`Options`; ``completeness_gap`` is
    that of the sum against their difference, empty for GradCAM, which does not add up;
    ``foreground_share`` is the share of absolute attribution inside the mask, and
    ``mask_share`` that of the area. Values are empty where the class was not predicted (target
    ``prediction``) or is not in the mask.

    Null rows: ``untrained``, the same pixels explained in that network (which before training
    hardly looks further than the pixels that are asked for: its share inside is large), and
    ``other-image``, the attribution against the mask of another image. The arrays are those of
    ``maps.npz`` with signed maps, see :func:`gallery_arrays`; ``map_method`` and ``map_class``
    say whose. With ``options.randomise`` the third part holds ``attribute-randomised.csv``, see
    :func:`~llm4seg_probe.probes.attribute.randomised.randomised_table`.

    Raises SiteError for an unknown site, UserError for an unknown method; DataError for images
    that the network does not take, and when there is nothing to explain.
    """
    options = options or Options()
    _check(run, options.sites, options.methods)
    rows = _AttributionRows(run, options)
    pool = Pool(options.images, foreground_only=True)
    inner = [site for site in options.sites if site != INPUT]
    for batch in checked(run, batches, inner or ["logits"], "Choosing images"):
        pool.add(batch)
    refuse_without_foreground(
        len(pool) > 0, run, "attributions are compared with masks; give images that have some"
    )
    chosen = list(pool.batches(size=1))
    shown = [rows.image(one, untrained) for one in progress.track(chosen, "Attribution")]
    if not any(of_image.maps for of_image in shown):
        raise DataError(
            f"run {run.name} predicts no foreground in any of {len(chosen)} images, so that there "
            "is no answer to explain: take the pixels of the mask instead (--target mask)"
        )
    rows.other_images(chosen, shown)
    further = {}
    if options.randomise:
        wholes = [
            Whole(one, dict(of_image.regions), dict(of_image.maps))
            for one, of_image in zip(chosen, shown, strict=True)
        ]
        further[RANDOMISED.name] = randomised_table(run, wholes, options)
    return rows.table(), _arrays(run, chosen[:gallery], shown, rows.keys), further


def _check(run: Run, sites: Sequence[str], methods: Sequence[str]) -> None:
    if not sites:
        raise SiteError("no site to probe: name some, such as input and after")
    for site in sites:
        place(run.network, site)
    if not methods:
        raise UserError(f"no method: name some of {', '.join(METHODS)}")
    for method in methods:
        if method not in METHODS:
            raise UserError(unknown("method", method, METHODS))


@dataclass(frozen=True, eq=False)
class _Explained:
    """Attributions of one image by site, method and class, and its labels as predicted."""

    maps: dict[Key, Tensor]
    predictions: Tensor
    regions: dict[str, Tensor]
    """Pixels that are explained, by class."""


class _AttributionRows:
    """Rows of the table, as they come."""

    def __init__(self, run: Run, options: Options) -> None:
        self._run = run
        self._sites = tuple(dict.fromkeys(options.sites))
        self._methods = tuple(dict.fromkeys(options.methods))
        self._options = options
        self._classes = run.config.data.classes
        self._rows = Rows(ATTRIBUTE)

    @property
    def keys(self) -> list[Key]:
        """Site, method and class of each map."""
        return [
            (site, method, name)
            for name in self._classes
            for site in self._sites
            for method in self._methods
        ]

    def image(self, one: Batch, untrained: nn.Module | None) -> _Explained:
        """Measure a batch of one image, in the run's network and in the one before training."""
        network, config = self._run.network, self._run.config
        log_odds = partial(class_logits, config=config)
        device = next((p.device for p in network.parameters()), one.images.device)
        image = one.images.to(device)
        maps: dict[Key, Tensor] = {}
        with evaluating(network):
            logits = network(image).float()
        regions = decided(logits, config)[0]
        if self._options.target == "mask":
            regions = one.masks[0].to(device) > 0.5
        explained: dict[str, Tensor] = {}
        for index, name in enumerate(self._classes):
            region = regions[index].float()
            if not region.any():
                self._add_empty(name, one)
                continue
            explained[name] = region
            maps |= self._explained("", Score(network, region, index, log_odds), image, one)
            if untrained is not None:
                score = Score(untrained, region, index, log_odds)
                self._explained("untrained", score, image, one)
        return _Explained(maps, predicted_labels(logits.cpu(), config), explained)

    def other_images(self, chosen: Sequence[Batch], explained: Sequence[_Explained]) -> None:
        """Measure each attribution against the mask of another image."""
        if len(chosen) < 2:
            return
        names = [one.names[0] for one in chosen]
        partners = nulls.other_images(names, [one.groups[0] for one in chosen])
        for one, of_image, partner in zip(chosen, explained, partners, strict=True):
            for key, found in of_image.maps.items():
                masks = chosen[partner].masks[:, self._classes.index(key[2])]
                self._add(key, "other-image", one, _shares(found, masks))

    def table(self) -> pd.DataFrame:
        """``attribute.csv``."""
        return self._rows.table()

    def _explained(self, null: str, score: Score, image: Tensor, one: Batch) -> dict[Key, Tensor]:
        """Rows of one class of one image, and the maps on the CPU."""
        options, name = self._options, self._classes[score.index]
        baseline = baseline_of(image, options)
        maps: dict[Key, Tensor] = {}
        with evaluating(score.network):
            values = {"score": score(image).item(), "baseline_score": score(baseline).item()}
            difference = torch.tensor([values["score"] - values["baseline_score"]])
            for site, method, gate in self._gates(score.network):

                def attribution(
                    images: Tensor, method: str = method, gate: nn.Module = gate
                ) -> Tensor:
                    return explain(method, score, gate, images, options, baseline.expand_as(images))

                found = attribution(image)
                row = values | _shares(found.cpu(), one.masks[:, score.index])
                if method in ADDS_UP:
                    total = found.flatten(1).sum(1).cpu()
                    row["completeness_gap"] = completeness_gap(total, difference).item()
                row["infidelity"], row["unexplained"] = infidelity(
                    score, image, baseline, found, one.names[0], options.boxes
                )
                if not null:
                    row["sensitivity"] = sensitivity(
                        attribution, image, found, one.names[0], options.changes
                    )
                self._add((site, method, name), null, one, row)
                maps[site, method, name] = found.cpu()
        return maps

    def _gates(self, network: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
        for site in self._sites:
            with gated(network, site) as gate:
                for method in self._methods:
                    yield site, method, gate

    def _add(self, key: Key, null: str, one: Batch, values: dict[str, float]) -> None:
        site, method, name = key
        keys = {"site": site, "method": method, "class": name, "null": null}
        chosen = {"target": self._options.target, "baseline": self._options.baseline}
        image = {"image": one.names[0], "group": one.groups[0]}
        self._rows.add({**run_columns(self._run), **keys, **chosen, **image, **values})

    def _add_empty(self, name: str, one: Batch) -> None:
        for key in self.keys:
            if key[2] == name:
                self._add(key, "", one, {})


def _shares(found: Tensor, masks: Tensor) -> dict[str, float]:
    """Shares of one attribution (1, *grid) and of one mask (1, *size)."""
    if not masks.any():
        return {"foreground_share": math.nan, "mask_share": 0.0}
    return {
        "foreground_share": inside_share(found, masks).item(),
        "mask_share": masks.double().mean().item(),
    }


def _arrays(
    run: Run, chosen: Sequence[Batch], everything: Sequence[_Explained], keys: Sequence[Key]
) -> dict[str, np.ndarray]:
    """The arrays of ``attribute.npz``; a class that was not predicted has a map of zeros."""
    grids = {
        key[:2]: found.shape for of_image in everything for key, found in of_image.maps.items()
    }
    shown = everything[: len(chosen)]
    maps = {}
    for number, key in enumerate(keys):
        parts = [of_image.maps.get(key, torch.zeros(grids[key[:2]])) for of_image in shown]
        maps[str(number)] = torch.cat(parts) if parts else torch.empty(0)
    predictions = torch.cat([of_image.predictions for of_image in shown] or [torch.empty(0)])
    arrays = gallery_arrays(run, joined(chosen), maps, predictions)
    for part, name in enumerate(("map_site", "map_method", "map_class")):
        arrays[name] = np.array([key[part] for key in keys], dtype=np.str_)
    return arrays
