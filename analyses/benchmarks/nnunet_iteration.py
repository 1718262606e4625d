"""Cost of the booster in nnU-Net: one training iteration of its trainer, arm beside arm.

    python analyses/benchmarks/nnunet_iteration.py [--rounds 9] > nnunet_iteration.csv

In an environment with nnU-Net (``make test-nnunet`` makes one, ``.venv-nnunet``). An iteration is
``nnUNetTrainer.train_step`` with the network that the trainer of the arm builds, its loss with deep
supervision, its optimiser and clipping; batches are noise in memory. Settings are plans as nnU-Net
makes them, in 2D for patches of 96 and 256 pixels, in 3D for 32x96x96, with a layer of SmolLM2.

Arms take turns iteration by iteration, in one order and then the reverse. ``cpu_seconds`` is the
median time that the process computed, which others on the machine change little; ``to_cnn`` is the
median over the rounds of the ratio to the plain network's iteration in the same round, ``low`` and
``high`` its quartiles. One thread. The first round does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from llm4seg_probe.integrations.nnunet.sealing import keeper_of
from llm4seg_probe.integrations.nnunet.trainer import external
from llm4seg_probe.models.nnunet_plans import KEY, section_from

ARMS = ("cnn", "adapters", "llm", "transformer")
SETTINGS = {
    "2d-96": ((96, 96), [32, 64, 128, 256, 512]),
    "2d-256": ((256, 256), [32, 64, 128, 256, 512, 512, 512]),
    "3d-32x96x96": ((32, 96, 96), [32, 64, 128, 256, 320]),
}
BATCH = 2


def main() -> None:
    """Measure, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(Path(folder) / name)
        for setting in given.settings:
            rows += measured(setting, given.rounds)
    print(pd.DataFrame(rows).to_csv(index=False), end="")


def measured(setting: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each arm."""
    trainers = {arm: trainer(setting, arm) for arm in ARMS}
    batch = batch_of(trainers["cnn"])
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(rounds + 1):
        for arm in ARMS if turn % 2 else reversed(ARMS):
            begun = time.process_time()
            trainers[arm].train_step(batch)
            if turn:
                seconds[arm].append(time.process_time() - begun)
    rows = []
    for arm in ARMS:
        ratios = [own / cnn for own, cnn in zip(seconds[arm], seconds["cnn"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "setting": setting,
                "arm": arm,
                "cpu_seconds": statistics.median(seconds[arm]),
                "to_cnn": middle,
                "low": low,
                "high": high,
                "rounds": rounds,
            }
        )
    return rows


def trainer(setting: str, arm: str) -> Any:
    """The trainer of an arm, ready for an iteration."""
    made = external(f"nnUNetTrainer_LLM4Seg_{arm}_s0")(
        plans_of(setting) | {"continue_training": False},
        setting,
        0,
        {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}},
        torch.device("cpu"),
    )
    made._set_batch_size_and_oversample()
    made.network = made.build_network_architecture(
        made.plans_manager, made.configuration_manager, 1, 2, True
    )
    made.optimizer, made.lr_scheduler = made.configure_optimizers()
    made.loss = made._build_loss()
    keeper = keeper_of(made.network)
    if keeper is not None:
        keeper.fill()
    made.network.train()
    return made


def batch_of(made: Any) -> dict[str, Any]:
    """A batch of noise with the masks that deep supervision wants."""
    size = made.configuration_manager.patch_size
    source = torch.Generator().manual_seed(0)
    target = torch.randint(2, (BATCH, 1, *size), generator=source).float()
    scales = made._get_deep_supervision_scales()
    return {
        "data": torch.randn((BATCH, 1, *size), generator=source),
        "target": [
            torch.nn.functional.interpolate(
                target, [round(n * s) for n, s in zip(size, scale, strict=True)]
            )
            for scale in scales
        ],
    }


def plans_of(setting: str) -> dict[str, Any]:
    """Plans as nnU-Net makes them for such patches."""
    size, features = SETTINGS[setting]
    axes, stages = len(size), len(features)
    return {
        "dataset_name": "Dataset001_Noise",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        KEY: section_from("smollm2-135m", 15, {}, store_layer=True).to_dict(),
        "configurations": {
            setting: {
                "data_identifier": "none",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": BATCH,
                "patch_size": list(size),
                "spacing": [1.0] * axes,
                "batch_dice": True,
                "architecture": {
                    "network_class_name": (
                        "dynamic_network_architectures.architectures.unet.PlainConvUNet"
                    ),
                    "arch_kwargs": {
                        "n_stages": stages,
                        "features_per_stage": features,
                        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
                        "kernel_sizes": [[3] * axes] * stages,
                        "strides": [[1] * axes, *[[2] * axes] * (stages - 1)],
                        "n_conv_per_stage": [2] * stages,
                        "n_conv_per_stage_decoder": [2] * (stages - 1),
                        "conv_bias": True,
                        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
        },
    }


if __name__ == "__main__":
    main()
