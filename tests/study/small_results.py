"""A folder of results small enough to know what must come out: four seeds, two images."""

from __future__ import annotations

from pathlib import Path

import studies

from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.tables import RUNS, SCORES

SEEDS = 4
IOU = {"cnn": 0.50, "llm": 0.60, "llm[layer=1]": 0.40, "llm-trainable": 0.60}
"""Mean test IoU of each condition; runs lie around it, by about 0.001."""
EFFECTIVE_RANK = {"cnn@after": 5.0, "llm@before": 4.0, "llm@after": 3.0}
MAP_IOU = {"cnn@after": 0.3, "llm@before": 0.2, "llm@after": 0.3}


def write_small_results(folder: Path, *, size: str = "small", iou: studies.Levels = IOU) -> Path:
    """Write ``analysis.yaml`` and the tables; conditions and their mean IoU can be chosen."""
    spread = {"case_sd": 0.0, "run_sd": 0.001, "noise_sd": 0.0001}
    design = {"seeds": SEEDS, "cases": [("a", "a"), ("b", "b")], **spread}
    tables = (
        (studies.runs_table(iou, SEEDS), RUNS),
        (studies.scores_table(studies.per_case(iou, level=0.0, **design)), SCORES),
        (studies.rank_table(EFFECTIVE_RANK, **design), RANK),
        (studies.maps_table(MAP_IOU, **design), MAPS),
    )
    return studies.write_folder(
        folder,
        [(table.assign(dataset="toys"), schema) for table, schema in tables],
        studies.description(
            name=folder.name, title=f"Title of {folder.name}", rests_on="Made-up numbers.",
            size=size, dataset={"name": "toys"}, seeds=list(range(SEEDS)),
            arms=sorted({condition.partition("[")[0] for condition in iou}),
        ),
    )  # fmt: skip
