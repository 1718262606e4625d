"""How alike the features of finished runs are, between sites, arms and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure

from llm4seg_probe import progress, tables
from llm4seg_probe.study.single.result import ProbeResult, means, written


def similarity_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...],
    split: str = "test",
    data: Path | None = None,
    images: int = 64,
    tokens: int = 2048,
) -> ProbeResult:
    """Similarity of the runs' features at the sites: ``similarity.csv`` and its figures.

    images, tokens: how many of them are looked at, the same for every run. Only two features
    are in memory at a time; the others wait in a temporary folder.
    """
    from llm4seg_probe.probing.similarity import sampled_features, similarity_table
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    samples = []
    with TemporaryDirectory() as temporary:
        for number, path in enumerate(progress.track(checkpoints, "Features")):
            run = load(path)
            compute = run.config.compute
            with computing(compute):
                found = sampled_features(
                    run,
                    run.batches(split, data),
                    sites,
                    Path(temporary) / str(number),
                    images=images,
                    tokens=tokens,
                )
            samples.append(found.on(run.collection(data).name))
        with computing(compute):
            measured = similarity_table(samples)
    table, target = written(measured, out, tables.SIMILARITY)
    keys = ["between", "arm", "site", "other_arm", "other_site", "null"]
    summary = means(table, keys, ["cka", "procrustes", "cosine"])
    return ProbeResult(table, summary, target, _figures(out))


def _figures(out: Path) -> tuple[Path, ...]:
    from llm4seg_probe.reporting.figures import similarity
    from llm4seg_probe.reporting.saving import save_figure

    source = out / tables.SIMILARITY.name
    table = tables.read_table(source, tables.SIMILARITY)
    kinds = set(table["between"])
    drawn: dict[str, Figure] = {}
    if kinds & {"arms", "seeds"}:
        drawn["similarity-arms"] = similarity.figure(table)
    if "sites" in kinds:
        drawn["similarity-sites"] = similarity.sites_figure(table)
    saved = [save_figure(figure, out / "figures", name, source) for name, figure in drawn.items()]
    return tuple(path for paths in saved for path in paths.values())
