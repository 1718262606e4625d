"""Put the booster into nnU-Net v2: trainers by name, plans with a layer, results, probes.

No line of nnU-Net is changed: it finds the trainers where ``nnUNet_extTrainer`` points. What is
imported here needs nnU-Net only when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm4seg_probe.integrations.nnunet.trainer import Boosting as Boosting
    from llm4seg_probe.integrations.nnunet.trainer import trainers_of as trainers_of

__all__ = ["Boosting", "trainers_of"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from llm4seg_probe.integrations.nnunet import trainer

    return getattr(trainer, name)
