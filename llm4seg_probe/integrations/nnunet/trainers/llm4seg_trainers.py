"""Answer nnU-Net's look-up: every ``BASE_LLM4Seg_ARM_sSEED`` is a trainer of this module.

nnU-Net imports every module of the folder that ``nnUNet_extTrainer`` names, and forgets them
again, so this one is alone in its folder and holds nothing.
"""

from llm4seg_probe.integrations.nnunet.trainer import external as __getattr__  # noqa: F401
