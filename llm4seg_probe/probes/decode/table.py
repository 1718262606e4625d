"""The decoding probe: how well a linear reading of the tokens finds the foreground, by site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.passes import Pool, Run, checked, recorded, run_columns
from llm4seg_probe.activations.recorder import Recording
from llm4seg_probe.data.batches import Batch, ImageDataset, batches
from llm4seg_probe.errors import DataError, UserError
from llm4seg_probe.measures.activation import map_auroc
from llm4seg_probe.measures.linear_probe import (
    Moments,
    Probe,
    ScoreCounts,
    average_precision,
    dice,
    fit_probes,
    levels,
    position_features,
)
from llm4seg_probe.measures.tokens import foreground_tokens
from llm4seg_probe.probes.base import NotMeasurable
from llm4seg_probe.probes.decode import DECODE, Options
from llm4seg_probe.probes.decode.sides import Side, sides_of
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows, means
from llm4seg_probe.randomness import address

Images = Callable[[Side], Iterable[Batch]]
"""The images of a side, from the beginning each time it is called."""

SIZES: tuple[int, ...] = Options.images

_OTHER_MASKS = 32


@dataclass(frozen=True)
class _Decoding:
    """What is decoded from what: ``target`` 0 is the image's own mask, 1 another image's."""

    input: Literal["features", "position", "features+position"]
    null: str
    target: int = 0


_MEASURED = (
    _Decoding("features", ""),
    _Decoding("features+position", ""),
    _Decoding("position", "position"),
    _Decoding("features", "other-image", 1),
)
_UNTRAINED = (_Decoding("features", "untrained"),)


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`decode_table`, and :func:`sides_of` for who learns from what."""
    run, collection = probed.run, probed.collection
    sides = sides_of(run, probed.split, probed.data, options.split_seed)

    def images(side: Side) -> Iterator[Batch]:
        dataset = ImageDataset(collection, sides[side], run.config.data, augment_seed=None)
        return batches(dataset, 16)

    table = decode_table(run, images, options.sites, options.images, untrained=probed.untrained)
    return Measurement(table)


def summarise(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All test tokens of a run together, read by the probes that learned from all images."""
    table = tables[DECODE.name]
    most = table.groupby("run")["training_images"].transform("max")
    together = table[(table["image"] == "") & (table["training_images"] == most)]
    keys = ["run", "site", "input", "null", "training_images"]
    return means(together, keys, ["auroc", "average_precision", "dice"])


def decode_table(
    run: Run,
    images: Images,
    sites: Sequence[str] = ("before", "after"),
    sizes: Sequence[int] = SIZES,
    *,
    untrained: nn.Module | None = None,
) -> pd.DataFrame:
    """``decode.csv`` of one run: linear probes fitted on train images, measured on test images.

    A token is foreground if at least half of its cell lies in the mask, whichever the class.
    One row per site, input, number of training images and test image, and one with ``image``
    and ``group`` empty for the tokens of all test images together. Probes are fitted on
    ``sizes`` of the training images (the same for all runs, those with foreground first and
    every group once before one comes twice; sizes that are not fewer than there are, are left
    out) and on all of them. The penalty has the least squared error, and the threshold of
    ``dice`` the best Dice, on the validation images.

    ``input`` is ``features``, ``position`` (:func:`position_features`) or both. The null bands
    are ``position`` alone; ``other-image``, the features with another training image's mask (of
    another group, if there is one), to learn and to be tested on; and ``untrained``, where that
    network is given. Values are empty where an image, or the training images, have no foreground
    on the site's grid. Lent masks cover another share of the tokens, on which average precision
    and Dice depend; AUROC does not. Memory does not grow with the number of images.

    Raises SiteError for an unknown site; DataError for images that the network does not take,
    and when no training image has any foreground; NotMeasurable where no test token has.
    """
    sites = tuple(dict.fromkeys(sites))
    for size in sizes:
        if size < 1:
            raise UserError(f"{size} training images: give at least 1")
    plan = Plan.of(run, images("train"), sites, sizes)
    rows = Rows(DECODE)
    measured = [kind for kind in _MEASURED if kind.target == 0 or plan.has_other_masks]
    _decode(run, run.network, images, sites, plan, measured, rows)
    if untrained is not None:
        _decode(run, untrained, images, sites, plan, _UNTRAINED, rows)
    table = rows.table()
    own = table["null"] == ""  # lent masks may be larger
    if not (table.loc[own, "foreground"] > 0).any():
        raise NotMeasurable(
            "no token of a test image is foreground: no cell of the grid is half in a mask. The "
            "objects are too small for the sites; choose finer ones (--sites)"
        )
    return table


class Plan:
    """Which training images are in which subset, and the masks that are lent to others."""

    def __init__(self, order: Sequence[str], sizes: Sequence[int], lent: Pool) -> None:
        total = len(order)
        self.sizes = [*sorted({size for size in sizes if size < total}), total]
        self._place = {name: place for place, name in enumerate(order)}
        batches = list(lent.batches())
        self._masks = torch.cat([batch.masks for batch in batches])
        self._lenders = [
            lender for batch in batches for lender in zip(batch.names, batch.groups, strict=True)
        ]

    @classmethod
    def of(
        cls, run: Run, train: Iterable[Batch], sites: Sequence[str], sizes: Sequence[int]
    ) -> Plan:
        """Look at the training images once, without the network."""
        lent = Pool(_OTHER_MASKS, foreground_only=True)
        seen: list[tuple[bool, int, str, str]] = []
        for batch in checked(run, train, sites, "Training images"):
            lent.add(batch)
            empty = (~(batch.masks > 0.5).flatten(1).any(1)).tolist()
            for name, group, none in zip(batch.names, batch.groups, empty, strict=True):
                seen.append((none, address("decode", "train", name), name, group))
        if not len(lent):
            raise DataError(
                f"no training image of run {run.name} has any foreground: there is nothing to "
                "decode; give images with masks"
            )
        times: Counter[tuple[bool, str]] = Counter()
        order = []
        for none, place, name, group in sorted(seen):
            order.append((none, times[none, group], place, name))
            times[none, group] += 1
        return cls([name for *_, name in sorted(order)], sizes, lent)

    @property
    def has_other_masks(self) -> bool:
        """Whether every image can be given the mask of another one."""
        return len(self._lenders) > 1

    def shell(self, name: str) -> int:
        """Index of the smallest subset that a training image belongs to."""
        place = self._place[name]
        return next(i for i, size in enumerate(self.sizes) if place < size)

    def labels(self, batch: Batch, grid: Sequence[int]) -> Tensor:
        """Foreground tokens (B, N, 2) of each image's own mask and of another image's."""
        lenders = [self._lender(*image) for image in zip(batch.names, batch.groups, strict=True)]
        own = foreground_tokens(batch.masks, grid)
        return torch.stack([own, foreground_tokens(self._masks[lenders], grid)], -1)

    def _lender(self, name: str, group: str) -> int:
        others = [index for index, lender in enumerate(self._lenders) if lender[0] != name] or [0]
        groups = [of_lender for _, of_lender in self._lenders]
        chosen = nulls.partner(name, group, groups, others, "null", "other-image")
        assert chosen is not None
        return chosen


def _decode(
    run: Run,
    network: nn.Module,
    images: Images,
    sites: Sequence[str],
    plan: Plan,
    kinds: Sequence[_Decoding],
    rows: Rows,
) -> None:
    """Fit the probes of one network at all sites, test them, and add their rows."""
    readers = {site: _Reader(plan, kinds) for site in sites}

    def passes(side: Side, doing: str) -> Iterator[tuple[Batch, Recording]]:
        for batch in checked(run, images(side), sites, f"Decoding ({doing})"):
            yield batch, recorded(network, batch.images, sites)[0]

    for batch, seen in passes("train", "learning"):
        for site, reader in readers.items():
            reader.learn(batch, seen[site], seen.grid(site))
    for batch, seen in passes("validation", "choosing penalties"):
        for site, reader in readers.items():
            reader.validate(batch, seen[site], seen.grid(site))
    for reader in readers.values():
        reader.fit()
    for batch, seen in passes("validation", "choosing thresholds"):
        for site, reader in readers.items():
            reader.calibrate(batch, seen[site], seen.grid(site))
    keys = run_columns(run)
    for batch, seen in passes("test", "testing"):
        for site, reader in readers.items():
            for row in reader.test(batch, seen[site], seen.grid(site)):
                rows.add({**keys, "site": site, **row})
    for site, reader in readers.items():
        if reader.unusable:
            some = ", ".join(list(reader.unusable)[:3])
            progress.say(
                f"run {run.name}: at {site} the features of {len(reader.unusable)} image(s) are "
                f"not numbers (NaN or infinite): they are left out of what is learnt and of the "
                f"rows of all tokens ({some})"
            )
        for row in reader.together():
            rows.add({**keys, "site": site, **row})


class _Reader:
    """The probes at one site, from the sums over training tokens to the scores of test tokens."""

    def __init__(self, plan: Plan, kinds: Sequence[_Decoding]) -> None:
        self._plan = plan
        self._kinds = kinds
        self._shells: list[Moments] = []
        self._validation: Moments | None = None
        self._channels = 0
        self._probes: list[tuple[int, _Decoding, Probe]] = []
        self._cuts = torch.empty(0)
        self._counts = ScoreCounts(0)
        self.unusable: dict[str, None] = {}
        """Images whose features are not numbers."""

    def learn(self, batch: Batch, tokens: Tensor, grid: Sequence[int]) -> None:
        """Add training tokens (B, N, C) to the smallest subset of theirs."""
        features, labels = self._inputs(batch, tokens, grid)
        if not self._shells:
            self._channels = tokens.shape[-1]
            self._shells = [Moments(features.shape[-1], 2) for _ in self._plan.sizes]
        usable = self._usable(batch, tokens).tolist()
        for name, image, own, counts in zip(batch.names, features, labels, usable, strict=True):
            if not counts:
                continue
            self._shells[self._plan.shell(name)].add(image, own)

    def validate(self, batch: Batch, tokens: Tensor, grid: Sequence[int]) -> None:
        """Add validation tokens, on which penalties are compared."""
        features, labels = self._inputs(batch, tokens, grid)
        if self._validation is None:
            self._validation = Moments(features.shape[-1], 2)
        usable = self._usable(batch, tokens)
        if usable.any():
            self._validation.add(features[usable].flatten(0, 1), labels[usable].flatten(0, 1))

    def fit(self) -> None:
        """Fit every kind of probe on every subset; the sums are not needed any more."""
        assert self._validation is not None
        everything = torch.arange(len(self._shells[0].means))
        columns = {
            "features": everything[: self._channels],
            "position": everything[self._channels :],
            "features+position": everything,
        }
        for size, train in zip(self._plan.sizes, accumulate(self._shells, _merged), strict=True):
            for name in dict.fromkeys(kind.input for kind in self._kinds):
                fitted = fit_probes(train, self._validation, columns[name])
                chosen = [kind for kind in self._kinds if kind.input == name]
                self._probes += [(size, kind, fitted[kind.target]) for kind in chosen]
        self._shells, self._validation = [], None
        self._counts = ScoreCounts(len(self._probes))

    def calibrate(self, batch: Batch, tokens: Tensor, grid: Sequence[int]) -> None:
        """Count the scores of validation tokens, on which thresholds are chosen."""
        self._count(batch, tokens, *self._scored(batch, tokens, grid))

    def _count(self, batch: Batch, tokens: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Count the scores of the images whose features are numbers, for all probes alike."""
        usable = self._usable(batch, tokens)
        self._counts.add(scores[:, usable].flatten(1), labels[:, usable].flatten(1))

    def _usable(self, batch: Batch, tokens: Tensor) -> Tensor:
        """Images (B,) whose features are numbers; the others are noted."""
        usable = torch.isfinite(tokens).flatten(1).all(1)
        self.unusable |= {
            name: None for name, good in zip(batch.names, usable.tolist(), strict=True) if not good
        }
        return usable

    def test(
        self, batch: Batch, tokens: Tensor, grid: Sequence[int]
    ) -> Iterator[dict[str, str | int | float]]:
        """Rows of each test image and probe."""
        if not len(self._cuts):
            self._cuts = self._counts.best_cuts()
            self._counts = ScoreCounts(len(self._probes))
        scores, labels = self._scored(batch, tokens, grid)
        self._count(batch, tokens, scores, labels)
        count = labels.sum(-1)
        for place, (values, own) in enumerate(zip(scores, labels, strict=True)):
            found = {
                "auroc": map_auroc(values, own),
                "average_precision": average_precision(values, own),
                "dice": dice(levels(values) >= self._cuts[place], own).where(
                    ~values.isnan().any(-1), torch.nan
                ),
            }
            columns = {name: column.tolist() for name, column in found.items()}
            for index, image in enumerate(zip(batch.names, batch.groups, strict=True)):
                yield {
                    **self._keys(place, image),
                    "tokens": own.shape[-1],
                    "foreground": int(count[place, index]),
                    **{name: column[index] for name, column in columns.items()},
                }

    def together(self) -> Iterator[dict[str, str | int | float]]:
        """Rows of all test tokens together, one for each probe."""
        foreground, background = self._counts.tokens.long().tolist()
        columns = {
            "auroc": self._counts.auroc().tolist(),
            "average_precision": self._counts.average_precision().tolist(),
            "dice": self._counts.dice(self._cuts).tolist(),
        }
        for place in range(len(self._probes)):
            yield {
                **self._keys(place, ("", "")),
                "tokens": foreground[place] + background[place],
                "foreground": foreground[place],
                **{name: column[place] for name, column in columns.items()},
            }

    def _keys(self, place: int, image: tuple[str, str]) -> dict[str, str | int | float]:
        size, kind, probe = self._probes[place]
        return {
            "input": kind.input,
            "training_images": size,
            "null": kind.null,
            "image": image[0],
            "group": image[1],
            "penalty": probe.penalty,
        }

    def _inputs(self, batch: Batch, tokens: Tensor, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Features with positions (B, N, C + P), and labels (B, N, 2)."""
        places = position_features(grid).expand(len(tokens), -1, -1)
        return torch.cat([tokens.double(), places], -1), self._plan.labels(batch, grid)

    def _scored(self, batch: Batch, tokens: Tensor, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Scores of M probes (M, B, N), and the labels that each is measured against."""
        features, labels = self._inputs(batch, tokens, grid)
        weights = torch.stack([probe.weights for _, _, probe in self._probes], -1)
        offsets = torch.tensor([probe.offset for _, _, probe in self._probes], dtype=torch.float64)
        targets = [kind.target for _, kind, _ in self._probes]
        # Cells that were never foreground score alike; rounding errors must not rank them.
        # Position alone needs no features, and is known where these are not numbers.
        known = features.nan_to_num(0.0, 0.0, 0.0)
        alone = torch.tensor([kind.input == "position" for _, kind, _ in self._probes])
        scores = (features @ weights + offsets).where(~alone, known @ weights + offsets)
        scores = scores.round(decimals=9)
        return scores.movedim(-1, 0), labels[..., targets].movedim(-1, 0)


def _merged(so_far: Moments, shell: Moments) -> Moments:
    shell.merge(so_far)
    return shell
