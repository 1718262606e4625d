"""The tasks: one registry of what is asked of an image, and what follows from it everywhere.

A task is an entry of :data:`TASKS` (and its name in :data:`TaskName`). What it trains towards, how
it is scored and what it predicts is its part of :mod:`llm4seg_probe.training.tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["segmentation", "classification", "detection"]


@dataclass(frozen=True)
class Task:
    """What is asked of an image, and what the network and the configuration need to know of it.

    ``pooled``: the answer is one for the whole image, from pooled features through one linear
    layer, without a decoder. ``overlap``: whether the loss may have terms of overlap, Dice and
    Tversky. ``exclusive``: whether classes may exclude each other (``training.output: softmax``).
    ``patches``: whether it can be trained on patches, and scored by a window that slides.
    """

    name: TaskName
    asks: str
    pooled: bool = False
    overlap: bool = False
    exclusive: bool = True
    patches: bool = False


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("segmentation", "which pixels are of each class", overlap=True, patches=True),
        Task("classification", "which classes the image has", pooled=True),
        Task("detection", "where the objects of each class have their centres", exclusive=False),
    )
}


def misfit(
    task: Task,
    *,
    overlap: float,
    output: str,
    sampling: str,
    deep_supervision: bool,
    nnunet: bool,
    label_noise: float,
) -> str:
    """What of a configuration does not fit its task, with what to do; empty where all does.

    ``overlap`` is the weight of Dice and Tversky in the loss together.
    """
    masks = f"is for masks, but task is '{task.name}'"
    if overlap > 0 and not task.overlap:
        return (
            f"the loss of overlap {masks}: set training.dice_weight and tversky_weight to 0 "
            "(cross_entropy_weight and focal_weight are left)"
        )
    if deep_supervision and not task.overlap:
        return f"backbone.deep_supervision {masks}: set it to false"
    if nnunet and not task.overlap:
        return f"data.nnunet {masks}: leave it out"
    if label_noise and task.pooled:
        return f"data.label_noise {masks}, whose images have labels: set it to 0"
    if output == "softmax" and not task.exclusive:
        return (
            f"training.output is 'softmax', but task is '{task.name}', where each class has a map "
            "of its own: set it to sigmoid"
        )
    if sampling == "patches" and not task.patches:
        return (
            f"data.sampling is 'patches', but task is '{task.name}', whose answer is of the whole "
            "image: set it to whole"
        )
    return ""
