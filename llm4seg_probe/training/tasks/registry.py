"""The part of each task, by its name."""

from __future__ import annotations

from llm4seg_probe.config import Config
from llm4seg_probe.training.tasks import classification, detection, segmentation
from llm4seg_probe.training.tasks.part import TaskPart

PARTS: dict[str, TaskPart] = {
    "segmentation": segmentation.PART,
    "classification": classification.PART,
    "detection": detection.PART,
}


def part_of(config: Config) -> TaskPart:
    """What a configuration's task does in a run."""
    return PARTS[config.task]
