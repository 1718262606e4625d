"""Runs whose weights are finite, and so large that there is nothing finite to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llm4seg_probe import progress
from llm4seg_probe.errors import SiteError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llm4seg_probe.data.batches import Batch
    from llm4seg_probe.probes.probed import ProbedRun
    from llm4seg_probe.training.stored_run import Run


def refuse_overflow(probed: ProbedRun, options: Any = None) -> None:
    """Raise CheckpointError for a run that gives finite numbers for none of the images.

    Both its answer and its features at the options' sites must be numbers, the squares of the
    features too. It ends at the first image that has them, which is the first one as a rule; what
    else keeps a run from being probed, the probe says in its own words.
    """
    from llm4seg_probe.training.finite_answers import overflow

    run = probed.run
    wrong: tuple[str, str] | None = None
    for batch in run.batches(probed.split, probed.data, size=1):
        if batch.images.shape[1] != run.config.data.channels:
            return
        try:
            wrong = _without_numbers(run, batch, getattr(options, "sites", ()))
        except SiteError:
            return
        if wrong is None:
            return
    if wrong is not None:
        raise overflow(run.path, run.name, *wrong)


def _without_numbers(run: Run, batch: Batch, sites: tuple[str, ...]) -> tuple[str, str] | None:
    """What of a run gives no numbers for an image, and whether that is NaN or infinite."""
    from llm4seg_probe.activations.passes import recorded
    from llm4seg_probe.models.heads import why_no_numbers

    there = [site for site in dict.fromkeys(sites) if _has(run.network, site)]
    recording, logits = recorded(run.network, batch.images, there)
    for site in there:
        features = recording[site].float()
        # Every measure takes squares: in float32 they are infinite from 1.8e19 on.
        squares = features.square().sum()
        if not squares.isfinite():
            return f"its features at {site}", "NaN" if features.isnan().any() else "infinite"
    why = why_no_numbers(logits, run.config)
    return ("its answer", why) if why else None


def _has(network: nn.Module, site: str) -> bool:
    from llm4seg_probe.models.sites import find_site

    try:
        find_site(network, site)
    except SiteError:
        return False
    return True


@contextmanager
def told_of_no_numbers(run: Run) -> Iterator[None]:
    """Say, after a block that runs a run's network, in how many passes it gave no numbers."""
    from llm4seg_probe.models.heads import why_no_numbers

    passes = without = 0

    def look(module: nn.Module, inputs: Any, answer: Tensor) -> None:
        nonlocal passes, without
        passes += 1
        without += bool(why_no_numbers(answer.detach(), run.config))

    hook = run.network.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()
    if without:
        progress.say(
            f"run {run.name}: the network gives no finite numbers in {without} of {passes} passes: "
            "what rests on them is left empty"
        )
