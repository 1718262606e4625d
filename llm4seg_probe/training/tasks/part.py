"""A task in a run: its target and loss, and the way it is followed, checked and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.splits import Split

if TYPE_CHECKING:
    from llm4seg_probe.training.stored_run import Run


Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class TaskPart:
    """Functions of one task; masks are (B, K, *grid), or labels (B, K, 1, 1).

    Parameters
    ----------
    target
        What logits are compared with, (B, K, *size), from the masks of a batch.
    loss
        The loss of a configuration, of logits (B, channels, *size) and targets.
    follow
        Measures of each image, (B,) by name, beside the loss: columns ``train_NAME`` and
        ``val_NAME`` of ``metrics.csv``.
    check
        Raises DataError where images and split give nothing to learn, or nothing to score.
    score
        Rows of ``scores.csv`` by image and class, without what names the run.
    constant
        What a network says of every validation image, where it always says the same; else None.
    learned
        The scores of a run on its test images, in words.
    """

    target: Callable[[Tensor, Config], Tensor]
    loss: Callable[[Config], nn.Module]
    follow: Callable[[Tensor, Tensor, Config], Mapping[str, Tensor]]
    check: Callable[[Config, Collection, Split], None]
    score: Callable[[nn.Module, Config, Collection, Sequence[Sample], str], Rows]
    constant: Callable[[Run], str | None]
    learned: Callable[[pd.DataFrame], str]
