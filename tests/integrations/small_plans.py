"""Plans of nnU-Net's made small enough for a processor: fewer and narrower stages, small patches.

python tests/integrations/small_plans.py PREPROCESSED/DatasetXXX [nnUNetPlans] [nnUNetPlansSmall]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FEATURES = (8, 16, 24)


def shrink(folder: Path, base: str = "nnUNetPlans", name: str = "nnUNetPlansSmall") -> None:
    """Write the plans ``base`` again as ``name``, each of its networks with three narrow stages."""
    plans = json.loads((folder / f"{base}.json").read_text(encoding="utf-8"))
    plans["plans_name"] = name
    for entry in plans["configurations"].values():
        if "architecture" not in entry:
            continue
        arguments = entry["architecture"]["arch_kwargs"]
        stages = len(FEATURES)
        axes = len(entry["patch_size"])
        arguments["n_stages"] = stages
        arguments["features_per_stage"] = list(FEATURES)
        for key in ("kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"):
            if key in arguments:
                arguments[key] = arguments[key][:stages]
        arguments["n_conv_per_stage_decoder"] = [1] * (stages - 1)
        entry["patch_size"] = [4, 32, 32] if axes == 3 else [32, 32]
        if axes == 3:
            arguments["strides"] = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
            arguments["kernel_sizes"] = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
        entry["batch_size"] = 2
    (folder / f"{name}.json").write_text(json.dumps(plans, indent=4), encoding="utf-8")


if __name__ == "__main__":
    shrink(Path(sys.argv[1]), *sys.argv[2:])
