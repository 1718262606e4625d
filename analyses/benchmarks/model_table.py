"""Cost of the networks and the decoder layers, beside what others have printed about them.

    python analyses/benchmarks/layer_loading.py --repeats 3 > reports/model/layer_loading.csv
    python analyses/benchmarks/model_table.py [--out reports/model]

Writes ``parameters.csv`` (every backbone), ``layers.csv`` (the paper's two decoder layers and the
embedded one, in the paper's setting), ``memory.csv`` (the estimate against a training step that is
really run, in a process of its own) and a README.md with these tables and that of the loading.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.storage import atomically, write_text

SIDES = {2: (256, 256), 3: (96, 96, 96)}
LAYERS = {
    "meta-llama/Llama-3.2-1B": 15,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 28,
    "smollm2-135m": 15,
}
NARROW = [2, 2, 2, 2, 2]
STEPS = [
    {"arm": "cnn", "data": {"image_size": [96, 96]}},
    {"arm": "llm", "data": {"image_size": [96, 96]}},
    {"arm": "llm-trainable", "data": {"image_size": [96, 96]}},
    {"arm": "llm", "data": {"image_size": [192, 192]}},
]


def backbones() -> pd.DataFrame:
    """Each backbone in its published size: parameters beside the published ones, and MACs."""
    from llm4seg_probe.config import Config
    from llm4seg_probe.models.backbones import BACKBONES
    from llm4seg_probe.models.costs import costs

    rows = []
    for name, row in BACKBONES.items():
        classes = [f"class {number}" for number in range(row.classes)]
        data = {"channels": row.channels, "classes": classes, "image_size": SIDES[row.dimensions]}
        config = Config.model_validate({"arm": "cnn", "data": data, "backbone": {"name": name}})
        total = costs(config).total
        rows.append(
            {
                "backbone": name,
                "published": row.parameters,
                "ours": total.parameters,
                "ratio": total.parameters / row.parameters if row.parameters else None,
                "source": row.source,
                "reason": row.note,
                "image_size": " x ".join(map(str, config.data.image_size)),
                "macs": total.macs,
                "weights_mb": total.weights / 1e6,
            }
        )
    return pd.DataFrame(rows).astype({"published": "Int64"})


def layers() -> pd.DataFrame:
    """Layer and adapters of each language model after CMUNeXt's encoder at 256 x 256."""
    from llm4seg_probe.config import Config
    from llm4seg_probe.models.costs import costs
    from llm4seg_probe.models.published import beside

    rows = []
    for source, layer in LAYERS.items():
        values = {"data": {"image_size": SIDES[2], "channels": 3}, "booster": {"source": source}}
        config = Config.model_validate(values | {"arm": "llm"})
        found = costs(config)
        own, adapters = found.part("layer"), found.part("adapters")
        printed = {(row.quantity, row.portion): row.published for row in beside(config, found)}
        rows.append(
            {
                "language_model": source,
                "layer": layer,
                "parameters": own.parameters,
                "adapters": adapters.parameters,
                "adapters_published": printed.get(("trainable", "adapters")),
                "layer_macs": own.macs,
                "booster_macs": own.macs + adapters.macs,
                "booster_macs_published": printed.get(("macs", "booster")),
                "weights_mb": own.weights / 1e6,
            }
        )
    return pd.DataFrame(rows)


def memory() -> pd.DataFrame:
    """Estimated memory of a training step, and what a process grew by when it took two."""
    from llm4seg_probe.config import Config
    from llm4seg_probe.models.costs import costs

    rows = []
    for values in STEPS:
        config = Config.model_validate(values)
        command = [sys.executable, __file__, "--measure", json.dumps(values)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        estimated, measured = costs(config).total.memory / 1e6, float(done.stdout)
        rows.append(
            {
                "arm": config.arm,
                "image_size": " x ".join(map(str, config.data.image_size)),
                "batch": config.training.batch_size,
                "estimated_mb": estimated,
                "measured_mb": measured,
                "ratio": estimated / measured,
            }
        )
    return pd.DataFrame(rows)


def measure(values: dict[str, Any]) -> float:
    """Growth of this process' peak resident set, in MB, over building a network and two steps."""
    from llm4seg_probe.config import Config
    from llm4seg_probe.models.costs import hollow_network
    from llm4seg_probe.training.work import median_step

    # Imports, kernels and threads are not the network's memory. What this frees is small, and
    # would be taken again without growth.
    hollow_network(Config.model_validate({"arm": "llm", "backbone": {"widths": NARROW}}))
    small = {"arm": "cnn", "backbone": {"widths": NARROW}, "data": {"image_size": [32, 32]}}
    median_step(Config.model_validate(small), repeats=1)
    Path("/proc/self/clear_refs").write_text("5")  # The peak counts from here.
    before = _status("VmRSS")
    median_step(Config.model_validate(values), repeats=1)
    return (_status("VmHWM") - before) / 1e3


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1))


def readme(out: Path, found: dict[str, pd.DataFrame]) -> str:
    """The page: the tables, how they were made, and what they say."""
    parameters, layer, step = found["parameters"], found["layers"], found["memory"]
    shown = parameters.assign(
        published=parameters["published"].map(_count),
        ours=parameters["ours"].map(_count),
        macs=parameters["macs"].map(_giga),
    )
    return TEXT.format(
        parameters=_markdown(shown),
        layers=_markdown(
            layer.assign(
                parameters=layer["parameters"].map(_count),
                adapters=layer["adapters"].map(_count),
                adapters_published=layer["adapters_published"].map(_count),
                layer_macs=layer["layer_macs"].map(_giga),
                booster_macs=layer["booster_macs"].map(_giga),
                booster_macs_published=layer["booster_macs_published"].map(_giga),
            )
        ),
        memory=_markdown(step),
        loading=_loading(out / "layer_loading.csv"),
    )


def _loading(path: Path) -> str:
    if not path.is_file():
        return "Not measured yet."
    table = pd.read_csv(path).set_index(["model", "way"])
    columns = ["first_seconds", "warm_seconds", "ready_seconds", "memory_mb", "read_mb"]
    ratios = table.xs("layer", level="way")[[f"{name}_ratio" for name in columns]]
    warm = " and ".join(
        f"{ratio:.2f} of it for {model}" for model, ratio in ratios["warm_seconds_ratio"].items()
    )
    return LOADING.format(
        warm=warm,
        table=_markdown(table[columns].reset_index()),
        ratios=_markdown(ratios.reset_index()),
    )


def _markdown(table: pd.DataFrame) -> str:
    def cell(value: Any) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    head = [name.replace("_", " ") for name in table.columns]
    rows = [[cell(value) for value in row] for row in table.itertuples(index=False)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:,.0f}"


def _giga(value: Any) -> str:
    return "" if pd.isna(value) else f"{value / 1e9:.2f} G"


TEXT = """# What the networks and the decoder layers cost

```
python analyses/benchmarks/layer_loading.py --repeats 3 > reports/model/layer_loading.csv
python analyses/benchmarks/model_table.py
```

`llm4seg-probe show CONFIG.yaml` says the same of any run, by part, before it starts. MACs are
multiply-accumulates of matrix products and convolutions for one image, attention counted over all
pairs of tokens; FLOPs are twice as many. What the paper and the authors' benchmark print as FLOPs
are MACs.

## Backbones

Ours in the published size, with the channels and classes of the source. Where the counts are more
than 1 % apart, the reason stands beside them, and a test fails where it does not.

{parameters}

## Decoder layers

One layer between its two adapters, after CMUNeXt's encoder (256 channels, 256 tokens) on an image
of 256 x 256. Published: +1.05 M trainable parameters by a third party's note on the paper, "about
+16 G FLOPs" by a summary of it, which does not say with which language model; neither could be
checked against the paper's text.

{layers}

## Memory of a training step

What `show` estimates (weights, gradients, optimiser state, and what autograd keeps, from the
shapes alone) against the growth of a process that takes two steps on CMUNeXt with a layer of
SmolLM2, in float32 on the CPU. It is a sum, no bound: workspaces of kernels, copies in another
memory layout, the loss and what the backward pass has in flight are not in it, while gradients,
which are, come only as activations go.

{memory}

## Loading one layer

{loading}
"""

LOADING = """Medians over three processes each; `layer` is ours, `model` the whole model by
`from_pretrained`, both run once on 256 tokens, and `taken` the published code's way.

{table}

Ours divided by `model`:

{ratios}

Memory and bytes read are what the layer is of the model, and the first load and the way to a
first result take a fraction of the whole model's time. The *warm* load does not: {warm}.
transformers 5 maps weights of the file's own precision and reads none of them until the model is
used, so that a bare `from_pretrained` costs next to nothing, whatever the size, while ours reads
its layer and checks its hash. A target of a tenth of the warm time is therefore missed by that
measure; `ready_seconds`, until the first result, compares like with like.
"""


def main() -> None:
    """Read the command line, count, measure, and write tables and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/model"))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(json.loads(arguments.measure)))
        return
    found = {"parameters": backbones(), "layers": layers(), "memory": memory()}
    for name, table in found.items():
        with atomically(arguments.out / f"{name}.csv") as partial:
            table.to_csv(partial, index=False, lineterminator="\n")
    write_text(arguments.out / "README.md", readme(arguments.out, found))
    print(f"The tables: {arguments.out}")


if __name__ == "__main__":
    main()
