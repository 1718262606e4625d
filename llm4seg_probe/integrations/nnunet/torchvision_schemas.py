"""Let torchvision be imported beside a torch that its compiled part was not built for.

    python -m llm4seg_probe.integrations.nnunet.torchvision_schemas

nnU-Net's look-up of trainers imports timm, and timm imports torchvision. The build on PyPI has a
compiled part for CUDA that does not load beside a CPU build of torch, and its Python part then
fails with "operator torchvision::nms does not exist", which takes transformers down too. Nothing
here uses these operators, so it is enough that they are declared: a few lines are put on top of
``torchvision/__init__.py`` of this environment. Installing torchvision again takes them away.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from llm4seg_probe.errors import ConfigError, UserError
from llm4seg_probe.storage import write_text

COMMAND = "python -m llm4seg_probe.integrations.nnunet.torchvision_schemas"
SYMPTOM = "torchvision::nms does not exist"
MARK = "# Operators declared by llm4seg-probe: the compiled part does not load beside this torch."
_LINES = f"""{MARK}
import torch as _torch

_declared = _torch.library.Library("torchvision", "DEF")
_declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

"""


def trouble() -> str:
    """Give the last line of what importing torchvision says here; empty where it works."""
    tried = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, text=True
    )
    return "" if tried.returncode == 0 else tried.stderr.strip().splitlines()[-1]


def declare() -> str:
    """Declare the operators where that is what is missing, and return what was done.

    Raises ConfigError where torchvision is absent, or fails for another reason.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "torchvision is not installed: pip install 'llm4seg-probe[nnunet]' brings it"
        )
    path = Path(spec.origin)
    reason = trouble()
    if not reason:
        return f"{path.parent}: torchvision can be imported, nothing was changed"
    before = path.read_text(encoding="utf-8")
    if SYMPTOM not in reason or MARK in before:
        raise ConfigError(
            f"torchvision cannot be imported, and not for want of operators: {reason}"
        )
    write_text(path, _LINES + before)
    reason = trouble()
    if reason:
        write_text(path, before)
        raise ConfigError(f"torchvision cannot be imported with its operators declared: {reason}")
    return f"{path}: two operators are declared on top of it, and torchvision can be imported"


if __name__ == "__main__":
    try:
        print(declare())
    except UserError as error:
        sys.exit(f"Error: {error}")
