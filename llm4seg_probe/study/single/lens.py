"""The vocabulary lens on finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.errors import SiteError
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run


@dataclass(frozen=True)
class LensResult(ProbeResult):
    """What the lens gave: the words beside the distances, and what may be said of each run."""

    words: pd.DataFrame
    words_path: Path
    sentences: tuple[str, ...]


def lens_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...] = ("layer",),
    split: str = "test",
    data: Path | None = None,
    source: str | None = None,
) -> LensResult:
    """Words of each run's tokens: ``lens.csv``, ``lens-words.csv`` and their figures.

    The vocabulary is that of the run's own language model, or of ``source``. Runs of arms
    without a decoder layer are left out, which is said. Raises SiteError when none has any.
    """
    from llm4seg_probe.llm.vocabulary import read_vocabulary
    from llm4seg_probe.probing.lens import has_sites, lens_sentences, lens_table
    from llm4seg_probe.probing.rows import Rows

    vocabulary_of = cache(read_vocabulary)
    words: list[pd.DataFrame] = []

    def measure(run: Run) -> pd.DataFrame:
        if not has_sites(run.network, sites):
            progress.say(f"{run.name} left out: there is no decoder layer in arm '{run.arm}'")
            return Rows(tables.LENS).table()
        vocabulary = vocabulary_of(source or run.config.booster.source)
        batches = run.batches(split, data)
        table, found = lens_table(run, batches, vocabulary, sites, untrained=untrained(run))
        words.append(found.assign(dataset=run.collection(data).name))
        return table

    found = each_run(checkpoints, measure, doing="Vocabulary lens", data=data)
    if not words:
        raise SiteError(
            "there is no decoder layer in the arms of these checkpoints: give one with a layer, "
            "such as arm 'llm'"
        )
    table, target = written(found, out, tables.LENS)
    all_words, words_target = written(pd.concat(words, ignore_index=True), out, tables.LENS_WORDS)
    values = ["distance", "entropy_foreground", "entropy_background", "entropy", "top_share"]
    summary = means(table, ["run", "site", "null"], values)
    figures = _figures(out, sites)
    sentences = tuple(lens_sentences(table))
    return LensResult(table, summary, target, figures, all_words, words_target, sentences)


def _figures(out: Path, sites: Sequence[str]) -> tuple[Path, ...]:
    from llm4seg_probe.reporting.figures import lens
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.summaries import apart_by_dataset, told_apart

    distances, words = out / tables.LENS.name, out / tables.LENS_WORDS.name
    table = apart_by_dataset(told_apart(tables.read_table(distances, tables.LENS)))
    said = apart_by_dataset(told_apart(tables.read_table(words, tables.LENS_WORDS)))
    saved = []
    for site in sites:
        name = "lens" if site == "layer" else f"lens-{site}"
        folder = out / "figures"
        saved.append(save_figure(lens.figure(table, site), folder, name, distances))
        drawn = lens.words_figure(said, site)
        saved.append(save_figure(drawn, folder, f"{name}-words", words))
    return tuple(path for paths in saved for path in paths.values())
