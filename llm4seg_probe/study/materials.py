"""What the runs of a study need from elsewhere, fetched at once and before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llm4seg_probe.config import Config
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.llm.catalogue import fetch_source
from llm4seg_probe.models.arms import ARMS


def fetched(configs: Sequence[Config]) -> list[str]:
    """Bring data and decoder layers here, side by side; return the data's fingerprint per run.

    Raises the first UserError: a study that cannot be finished is not begun.
    """
    layers = {
        (config.booster.source, config.booster.layers)
        for config in configs
        if ARMS[config.arm].middle == "layer"
    }
    data = {(config.data.name, config.data.classes) for config in configs}
    # One thread for the layers: transformers' lazy imports fail when two threads begin them.
    with ThreadPoolExecutor(max_workers=1) as pool:
        arriving = [pool.submit(fetch_source, *wanted) for wanted in sorted(layers)]
        prints = {
            (name, classes): open_collection(name, classes=classes).fingerprint
            for name, classes in sorted(data)
        }
        for future in arriving:
            future.result()
    return [prints[config.data.name, config.data.classes] for config in configs]
