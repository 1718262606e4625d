"""nnU-Net's trainer with epochs that a processor gets through; saved after each."""

import os
import signal

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CUDA = torch.device("cuda")


class nnUNetTrainerShort(nnUNetTrainer):
    """Two epochs of a few iterations."""

    def __init__(self, plans, configuration, fold, dataset_json, device=CUDA):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.save_every = 2, 1
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 4, 2


class nnUNetTrainerKilled(nnUNetTrainerShort):
    """The same, killed without warning in the middle of its second epoch."""

    def train_step(self, batch):
        if self.current_epoch == 1 and os.environ.get("KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(batch)
