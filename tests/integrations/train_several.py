"""Several trainings of nnU-Net's in one process, so that it is imported once.

python tests/integrations/train_several.py DATASET CONFIGURATION PLANS TRAINER:FOLD …
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    import torch
    from nnunetv2.run.run_training import run_training

    torch.set_num_threads(os.cpu_count() or 1)  # as nnUNetv2_train does; it changes the bits
    dataset, configuration, plans, *runs = sys.argv[1:]
    for run in runs:
        trainer, fold = run.split(":")
        run_training(dataset, configuration, fold, trainer, plans, device=torch.device("cpu"))


if __name__ == "__main__":  # nnU-Net starts processes that import this file again
    main()
