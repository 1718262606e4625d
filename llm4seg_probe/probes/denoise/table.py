"""The denoise probe: signal against noise in the features of images with known noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.passes import (
    Pool,
    Run,
    checked,
    joined,
    recorded,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.activations.recorder import Grid
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection, RawImage
from llm4seg_probe.data.patches import view_of
from llm4seg_probe.data.preprocess import Preprocess
from llm4seg_probe.errors import DataError, UserError, unknown
from llm4seg_probe.measures.noise import (
    decibels,
    displacement,
    noise_variance,
    principal_directions,
    signal_variance,
)
from llm4seg_probe.measures.tokens import foreground_tokens
from llm4seg_probe.probes.denoise import DENOISE, DIRECTIONS, TOKENS, Options
from llm4seg_probe.probes.denoise.noises import NOISES, STRENGTHS, with_noise
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.probes.robustness.corruptions import value_range
from llm4seg_probe.probes.similarity.table import positions
from llm4seg_probe.randomness import address, generator

PARTS = ("all", "foreground", "background")


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`denoise_tables`."""
    tables = denoise_tables(
        probed.run, probed.collection, probed.batches(), options, untrained=probed.untrained
    )
    return Measurement(tables[DENOISE.name], further={
        schema.name: tables[schema.name] for schema in (DIRECTIONS, TOKENS)
    })  # fmt: skip


def denoise_tables(
    run: Run,
    collection: Collection,
    batches: Iterable[Batch],
    options: Options | None = None,
    *,
    untrained: nn.Module | None = None,
) -> dict[str, pd.DataFrame]:
    """``denoise.csv``, ``denoise-directions.csv`` and ``denoise-tokens.csv`` of one run.

    The images of lowest address, the same for all runs, are looked at clean, and with ``draws``
    independent draws of noise at each strength: from the address (image, noise, strength, draw),
    in the image's own units before the run's normalisation, with an SD (``parameter``) that is a
    share of the range of intensities (of CT the window, of 8-bit images 0 to 255, of others the
    image's own).

    ``denoise.csv`` has a row per site, noise, strength, part and image: ``signal_variance``, the
    image's share in the unbiased variance between images, and ``noise_variance``, between its
    draws, both summed over channels and averaged over the part's tokens
    (:mod:`llm4seg_probe.measures.noise`); ``snr`` their ratio and ``snr_db`` its decibels, empty
    where no signal is left to see (a ratio of 0 or below). ``shift`` is the squared distance by
    which noise moves the image's features on average, as a share of the variance between clean
    images. ``foreground`` are the tokens of which at least half lies in the mask, ``background``
    the others; an image without such tokens has ``tokens`` 0 and no values.

    The other two are of all images together: along each principal direction of the features
    without noise (``direction`` 1 is where images differ most, 0 stands for all channels; the
    shares are of these), and at each ``token`` by its place in raster order.

    Nulls: ``untrained``, the network before training where it is given; ``shuffled``, tokens
    exchanged between images at the same position anew in each draw, which leaves no signal and has
    no ``shift``; ``random-map``, the site's tokens behind a linear map of independent Gaussian
    weights, the same for all runs: what weighing directions anew gains without knowing anything.

    Raises UserError for an unknown noise or part, SiteError for an unknown site, DataError for
    images that the network does not take, fewer than two of them, and none with foreground where
    that is asked for.
    """
    options = Options() if options is None else options
    _refuse_unknown(options)
    sites = tuple(dict.fromkeys(options.sites))
    pool = Pool(options.images)
    for batch in checked(run, batches, sites, "Choosing images"):
        pool.add(batch)
    images = joined(pool.batches())
    if len(pool) < 2:
        raise DataError(
            f"{len(pool)} image is too few for a variance between images of run {run.name}: give "
            "at least two"
        )
    if set(options.parts) - {"all"}:
        refuse_without_foreground(
            bool(images.masks.any()), run,
            "give images with masks, or measure all tokens (--parts all)",
        )  # fmt: skip
    noisy = _NoisyImages(collection, images.names, run.config.data)
    rows = _DenoiseRows(run, images, sites, options)
    networks = {"": run.network} | ({} if untrained is None else {"untrained": untrained})
    clean = {null: rows.features(network, images.images) for null, network in networks.items()}
    steps = [(kind, strength) for kind in dict.fromkeys(options.noises) for strength in STRENGTHS]
    for kind, strength in progress.track(steps, f"Noise in {run.name}"):
        drawn: dict[str, list[dict[str, Tensor]]] = {null: [] for null in networks}
        for draw in range(options.draws):
            seen = noisy.drawn(kind, strength, draw)
            for null, network in networks.items():
                drawn[null].append(rows.features(network, seen))
        for site in sites:
            for null in networks:
                draws = torch.stack([each[site] for each in drawn[null]], 1)
                rows.add((site, kind, strength, null), draws, clean[null][site])
                if not null:
                    rows.add_nulls((site, kind, strength), draws, clean[null][site])
    return rows.tables()


def _refuse_unknown(options: Options) -> None:
    for what, given, known in (
        ("noise", options.noises, tuple(NOISES)),
        ("part", options.parts, PARTS),
    ):
        if not given:
            raise UserError(f"no {what} is named: give some of {', '.join(known)}")
        for name in given:
            if name not in known:
                raise UserError(unknown(what, name, known))


class _NoisyImages:
    """Some images as they are stored, read once, and what the network sees of them with noise."""

    def __init__(self, collection: Collection, names: Sequence[str], config: DataConfig) -> None:
        self._raw = {name: collection.read(collection.sample(name)) for name in names}
        self._preprocess = Preprocess(config)
        self._view = view_of(config, None)
        self._window = config.ct_window

    def drawn(self, kind: str, strength: int, draw: int) -> Tensor:
        """One draw of each image: (I, C, *size)."""
        return torch.stack(
            [self._seen(raw, kind, strength, address("denoise", name, kind, strength, draw))
             for name, raw in self._raw.items()]
        )  # fmt: skip

    def _seen(self, raw: RawImage, kind: str, strength: int, seed: int) -> Tensor:
        image = torch.from_numpy(np.ascontiguousarray(raw.image))
        span = value_range(image, raw.modality, self._window)
        noisy = with_noise(image, kind, strength, value_range=span, seed=seed)
        worse = RawImage(noisy.numpy(), raw.mask, raw.spacing, raw.modality)
        # The mask says where a patch lies, so that it is the same in every draw.
        kept = self._view.prepared(self._preprocess(worse), self._preprocess.mask(worse))
        return self._view.seen(kept, 0, 0)[0]


Place = tuple[str, str, int, str]
"""Site, kind of noise, strength and null."""


@dataclass(frozen=True)
class _Measured:
    """Variances of each image, token and channel, and what they are divided by for the shift."""

    signal: Tensor
    noise: Tensor
    moved: Tensor | None
    between: float

    @classmethod
    def of(cls, draws: Tensor, clean: Tensor | None) -> _Measured:
        """From draws (I, K, P, C), and the features without noise (I, P, C) for the shift."""
        return cls(
            signal_variance(draws).sum(-1),
            noise_variance(draws).sum(-1),
            None if clean is None else displacement(draws, clean).sum(-1),
            0.0 if clean is None else clean.double().var(0).sum(-1).mean().item(),
        )


class _DenoiseRows:
    """Rows of the three tables, as they come."""

    def __init__(self, run: Run, images: Batch, sites: Sequence[str], options: Options) -> None:
        self._run = run_columns(run)
        self._images = images
        self._sites = sites
        self._options = options
        self._rows = {schema.name: Rows(schema) for schema in (DENOISE, DIRECTIONS, TOKENS)}
        self._chosen: dict[str, Tensor] = {}
        self._inside: dict[str, Tensor] = {}

    def features(self, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """Tokens (I, P, C) at the sites: of a large grid the same positions of each image."""
        parts: dict[str, list[Tensor]] = {site: [] for site in self._sites}
        for some in torch.split(images, 16):
            recording, _ = recorded(network, some, self._sites)
            for site in self._sites:
                if site not in self._chosen:
                    self._choose(site, recording.grid(site))
                parts[site].append(recording[site][:, self._chosen[site]].float())
        return {site: torch.cat(found) for site, found in parts.items()}

    def _choose(self, site: str, grid: Grid) -> None:
        self._chosen[site] = positions(grid, self._options.tokens)
        self._inside[site] = foreground_tokens(self._images.masks, grid)[:, self._chosen[site]]

    def add(self, place: Place, draws: Tensor, clean: Tensor) -> None:
        """Measure draws (I, K, P, C): by image and part, along directions, and by token."""
        found = _Measured.of(draws, clean)
        self._add_images(place, found, draws.shape[-1])
        self._add_directions(place, found, draws, clean)
        if not place[3]:
            self._add_tokens(place, found)

    def add_nulls(self, place: tuple[str, str, int], draws: Tensor, clean: Tensor) -> None:
        """Measure the same draws with their images exchanged, and behind a random map.

        The exchange is the same at all sites of one grid, so that before and after are a pair.
        """
        channels = draws.shape[-1]
        exchanged = [
            nulls.shuffled(draws[:, draw], f"denoise draw {draw}") for draw in range(draws.shape[1])
        ]
        without_signal = _Measured.of(torch.stack(exchanged, 1), None)
        self._add_images((*place, "shuffled"), without_signal, channels)
        source = generator("null", "random-map", channels)
        weights = torch.randn(channels, channels, generator=source) / channels**0.5
        mapped = _Measured.of(draws @ weights, clean @ weights)
        self._add_images((*place, "random-map"), mapped, channels)

    def _add_images(self, place: Place, found: _Measured, channels: int) -> None:
        site, kind, strength, _ = place
        said = {"parameter": NOISES[kind].parameters[strength - 1], "unit": NOISES[kind].unit}
        for part in dict.fromkeys(self._options.parts):
            for index, chosen in enumerate(self._tokens_of(site, part)):
                keys = {"part": part, "image": self._images.names[index],
                        "group": self._images.groups[index]}  # fmt: skip
                sizes = {"tokens": int(chosen.sum()), "channels": channels}
                values: dict[str, float] = {}
                if chosen.any():
                    means = (each[index, chosen].mean() for each in (found.signal, found.noise))
                    values = _ratios(*means)
                    if found.moved is not None and found.between > 0:
                        values["shift"] = found.moved[index, chosen].mean().item() / found.between
                self._add(DENOISE.name, place, {**keys, **sizes, **said, **values})

    def _add_directions(self, place: Place, found: _Measured, draws: Tensor, clean: Tensor) -> None:
        signal, noise = found.signal.mean(), found.noise.mean()
        whole = {"signal_share": 1.0, "noise_share": 1.0}
        self._add(DIRECTIONS.name, place, {"direction": 0, **_ratios(signal, noise), **whole})
        if not bool(torch.isfinite(clean).all()):
            return
        directions = principal_directions(clean, self._options.directions)
        along = draws.double() @ directions
        signals, noises = (each(along).mean((0, 1)) for each in (signal_variance, noise_variance))
        for number, pair in enumerate(zip(signals, noises, strict=True), start=1):
            shares = {
                "signal_share": _share(pair[0], signal),
                "noise_share": _share(pair[1], noise),
            }
            self._add(DIRECTIONS.name, place, {"direction": number, **_ratios(*pair), **shares})

    def _add_tokens(self, place: Place, found: _Measured) -> None:
        inside = self._inside[place[0]].double().mean(0)
        where = self._chosen[place[0]]
        for index, token in enumerate(where.tolist()):
            values = _ratios(found.signal[:, index].mean(), found.noise[:, index].mean())
            row = {"token": token, **values, "foreground_share": inside[index].item()}
            self._add(TOKENS.name, place, row)

    def _tokens_of(self, site: str, part: str) -> Iterator[Tensor]:
        """Which tokens of each image belong to a part: (P,) boolean."""
        inside = self._inside[site]
        chosen = {"all": torch.ones_like(inside), "foreground": inside, "background": ~inside}
        return iter(chosen[part])

    def _add(self, name: str, place: Place, values: dict[str, Any]) -> None:
        keys = dict(zip(("site", "noise", "strength", "null"), place, strict=True))
        self._rows[name].add({**self._run, **keys, **values})

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by file name."""
        return {name: rows.table() for name, rows in self._rows.items()}


def _ratios(signal: Tensor, noise: Tensor) -> dict[str, float]:
    """The four columns of a ratio, which is missing where there is no noise to divide by."""
    ratio = signal / noise if noise > 0 else torch.full_like(signal, torch.nan)
    return {
        "snr_db": decibels(ratio).item(),
        "snr": ratio.item(),
        "signal_variance": signal.item(),
        "noise_variance": noise.item(),
    }


def _share(part: Tensor, whole: Tensor) -> float:
    return (part / whole).item() if whole > 0 else float("nan")
