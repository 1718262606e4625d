"""Cost of loading one decoder layer, against ``from_pretrained`` on the same folder.

    python analyses/benchmarks/layer_loading.py [--repeats 5] > layer_loading.csv

Each measurement is a process of its own, the ways take turns, and imports are not counted:

- ``layer``: this project's way, one layer in the file's precision, then run on 256 tokens;
- ``model``: the whole model by ``from_pretrained``, then run on 256 tokens;
- ``taken``: the published code's way, ``from_pretrained`` in float32, then one of its layers run.

``first_seconds`` is the first load of a process, with the files out of the page cache where the
system allows that; ``warm_seconds`` the fastest of three loads that follow; ``ready_seconds`` the
same with the run. ``memory_mb`` is the growth of the peak resident set over load and run (weights
of the file's own precision are mapped by transformers 5, and only come when they are used),
``read_mb`` what came from the disk. Ratios are to ``model``, of the medians over the repeats.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

WAYS = ("layer", "model", "taken")
MEASURES = ("first_seconds", "warm_seconds", "ready_seconds", "memory_mb", "read_mb")
LAYER = 15
TOKENS = 256


def main() -> None:
    """Measure both ways on SmolLM2 and on a random model of 2 GB, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    import pandas as pd

    with tempfile.TemporaryDirectory() as scratch:
        folders = {"smollm2-135m": smollm2_folder(), "random-2gb": random_folder(Path(scratch))}
        rows = [
            {"model": name, "way": way, **in_a_process(way, folder)}
            for name, folder in folders.items()
            for _ in range(arguments.repeats)
            for way in WAYS
        ]
    medians = pd.DataFrame(rows).groupby(["model", "way"])[list(MEASURES)].median()
    for column in MEASURES:
        whole = medians[column].xs("model", level="way")
        medians[f"{column}_ratio"] = medians[column].div(whole, level="model")
    medians.to_csv(sys.stdout)


def smollm2_folder() -> Path:
    """The embedded model, converted now if it is not in the cache."""
    from llm4seg_probe.llm.catalogue import fetch_source

    return fetch_source("smollm2-135m")


def random_folder(folder: Path) -> Path:
    """A LLaMA of 16 layers, 2 GB in bfloat16, in shards, as transformers writes it."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=8000,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="500MB")
    os.sync()
    return folder


def in_a_process(way: str, folder: Path) -> dict[str, float]:
    """One measurement in a fresh process, the model's files put out of the page cache first."""
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    done = subprocess.run(
        [sys.executable, __file__, "--measure", way, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def measure(way: str, folder: str) -> dict[str, float]:
    """Seconds, megabytes of memory and megabytes read of loading in this process."""
    load, run = loader(way, folder)
    Path("/proc/self/clear_refs").write_text("5")  # The peak counts from here.
    memory, read = status("VmRSS"), bytes_read()
    start = time.perf_counter()
    loaded = load()
    first = time.perf_counter() - start
    run(loaded)
    grown, came = status("VmHWM") - memory, bytes_read() - read
    del loaded
    warm, ready = [], []
    for _ in range(3):
        start = time.perf_counter()
        loaded = load()
        warm.append(time.perf_counter() - start)
        run(loaded)
        ready.append(time.perf_counter() - start)
        del loaded
    return {
        "first_seconds": first,
        "warm_seconds": min(warm),
        "ready_seconds": min(ready),
        "memory_mb": grown / 1e3,
        "read_mb": came / 1e6,
    }


def loader(way: str, folder: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    """How to load and how to run what was loaded, with everything imported that they need."""
    import torch
    from transformers import AutoModelForCausalLM

    from llm4seg_probe.config import BoosterConfig
    from llm4seg_probe.llm.decoder import load_decoder

    # Not at the first load, where it would be counted.
    importlib.import_module("transformers.models.llama.modeling_llama")
    config = json.loads((Path(folder) / "config.json").read_text())
    dtype = torch.float32 if way == "taken" else getattr(torch, config["dtype"])
    tokens = torch.randn(1, TOKENS, config["hidden_size"], dtype=dtype)
    angle = torch.zeros(1, TOKENS, 1)
    torch.set_grad_enabled(False)
    if way == "layer":
        precision: Literal["fp32", "bf16"] = "fp32" if dtype == torch.float32 else "bf16"
        booster = BoosterConfig(source=folder, layer=LAYER, layer_precision=precision)
        return lambda: load_decoder(booster), lambda decoder: decoder(tokens, (TOKENS, 1))
    if way == "model":
        return (
            lambda: AutoModelForCausalLM.from_pretrained(folder),
            lambda model: model.model(inputs_embeds=tokens),
        )
    return (
        lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        lambda model: model.model.layers[LAYER - 1](
            tokens, position_embeddings=(angle.cos(), angle.sin())
        ),
    )


def status(field: str) -> int:
    """A field of this process' status, in kilobytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1))


def bytes_read() -> int:
    """Bytes that this process had fetched from the disk."""
    found = re.search(r"read_bytes: (\d+)", Path("/proc/self/io").read_text())
    assert found
    return int(found.group(1))


if __name__ == "__main__":
    main()
