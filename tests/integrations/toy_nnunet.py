"""Toy plans and a toy dataset.json, as nnU-Net writes them."""

from __future__ import annotations

from typing import Any

DATASET = {
    "channel_names": {"0": "zscore"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "file_ending": ".nii.gz",
}


_NETWORKS = "dynamic_network_architectures.architectures.unet"


def toy_plans(axes: int = 2, network: str = "PlainConvUNet") -> dict[str, Any]:
    """Plans of a toy network of three stages, as nnU-Net would write them."""
    arguments: dict[str, Any] = {"conv_op": f"torch.nn.modules.conv.Conv{axes}d"}
    imports = ["conv_op"]
    if network != "Primus":
        imports.append("norm_op")
        arguments |= {
            "n_stages": 3,
            "features_per_stage": [4, 6, 8],
            "strides": [[1] * axes, [2] * axes, [2] * axes],
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        }
    return {
        "plans_name": "nnUNetPlans",
        "dataset_name": "Dataset001_Toy",
        "configurations": {
            f"{axes}d": {
                "data_identifier": f"nnUNetPlans_{axes}d",
                "patch_size": [16] * axes,
                "spacing": [1.0] * axes,
                "batch_size": 2,
                "architecture": {
                    "network_class_name": f"{_NETWORKS}.{network}",
                    "arch_kwargs": arguments,
                    "_kw_requires_import": imports,
                },
            }
        },
    }
