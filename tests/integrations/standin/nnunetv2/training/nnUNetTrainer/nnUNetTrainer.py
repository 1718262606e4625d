"""The trainer's shape: its methods, their order, what its checkpoints hold; images of noise."""

import inspect
import os
import random
from pathlib import Path
from pydoc import locate

import numpy as np
import torch
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

RESULTS, WORKERS = "nnUNet_results", "nnUNet_n_proc_DA"
CPU = torch.device("cpu")


class ToyLoader:
    """Random patches of random images, drawn from all three global generators."""

    def __init__(self, channels, patch, classes):
        self.channels, self.patch, self.classes = channels, tuple(patch), classes

    def set_thread_id(self, number):
        self.number = number

    def __next__(self):
        image = torch.randn(2, self.channels, *self.patch) + random.random()
        target = np.random.randint(self.classes, size=(2, *self.patch))  # noqa: NPY002
        return {"data": image, "target": torch.from_numpy(target)}


class nnUNetTrainer:
    def __init__(self, plans, configuration, fold, dataset_json, device=CPU):
        self.my_init_kwargs = {}
        for k in inspect.signature(self.__init__).parameters:
            self.my_init_kwargs[k] = locals()[k]
        self.plans_manager = PlansManager(plans)
        self.configuration_manager = self.plans_manager.get_configuration(configuration)
        self.dataset_json, self.device, self.fold = dataset_json, device, fold
        self.num_epochs, self.num_iterations_per_epoch = 2, 3
        self.num_val_iterations_per_epoch = 1
        self.current_epoch, self.local_rank = 0, 0
        self.network = None
        self.was_initialized = False
        self.output_folder = Path(os.environ[RESULTS]) / type(self).__name__
        self.seen = []

    def initialize(self):
        self.network = self.build_network_architecture(
            self.plans_manager, self.configuration_manager, len(self.dataset_json["channel_names"]),
            len(self.dataset_json["labels"]), True,
        ).to(self.device)  # fmt: skip
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.01, momentum=0.9)
        self.was_initialized = True

    @staticmethod
    def build_network_architecture(
        plans_manager, configuration_manager, num_input_channels, num_output_channels,
        enable_deep_supervision=True,
    ):  # fmt: skip
        arguments = dict(configuration_manager.network_arch_init_kwargs)
        for name in configuration_manager.network_arch_init_kwargs_req_import:
            arguments[name] = locate(arguments[name])
        network = locate(configuration_manager.network_arch_class_name)(
            input_channels=num_input_channels, num_classes=num_output_channels,
            deep_supervision=enable_deep_supervision, **arguments,
        )  # fmt: skip
        if hasattr(network, "initialize"):
            network.apply(network.initialize)
        return network

    def get_dataloaders(self):
        classes = len(self.dataset_json["labels"])
        loader = ToyLoader(
            len(self.dataset_json["channel_names"]), self.configuration_manager.patch_size, classes
        )
        assert os.environ[WORKERS] == "0", "processes would be started in vain"
        made = SingleThreadedAugmenter(loader, None), SingleThreadedAugmenter(loader, None)
        for augmenter in made:
            next(augmenter)
        return made

    def on_train_start(self):
        if not self.was_initialized:
            self.initialize()
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        self.output_folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_start(self):
        pass

    def train_step(self, batch):
        self.seen.append(batch["data"].sum().item())
        self.optimizer.zero_grad()
        loss = sum(
            torch.nn.functional.cross_entropy(
                torch.nn.functional.interpolate(output, batch["target"].shape[1:]), batch["target"]
            )
            for output in self.network(batch["data"])
        )
        loss.backward()
        self.optimizer.step()

    def run_training(self):
        self.on_train_start()
        for _ in range(self.current_epoch, self.num_epochs):
            self.on_epoch_start()
            self.network.train()
            for _ in range(self.num_iterations_per_epoch):
                self.train_step(next(self.dataloader_train))
            for _ in range(self.num_val_iterations_per_epoch):
                self.seen.append(next(self.dataloader_val)["data"].sum().item())
            self.save_checkpoint(str(self.output_folder / "checkpoint_latest.pth"))
            self.current_epoch += 1
        self.current_epoch -= 1
        self.save_checkpoint(str(self.output_folder / "checkpoint_final.pth"))
        self.current_epoch += 1
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):
                loader._finish()

    def save_checkpoint(self, filename):
        torch.save(
            {
                "network_weights": self.network.state_dict(),
                "optimizer_state": self.optimizer.state_dict(),
                "grad_scaler_state": None,
                "logging": {"ema_fg_dice": [np.float64(0.5)], "lrs": [np.float32(0.1)]},
                "_best_ema": np.float64(0.5),
                "current_epoch": self.current_epoch + 1,
                "init_args": self.my_init_kwargs,
                "trainer_name": self.__class__.__name__,
                "inference_allowed_mirroring_axes": (0, 1),
            },
            filename,
        )

    def load_checkpoint(self, filename_or_checkpoint):
        if not self.was_initialized:
            self.initialize()
        checkpoint = torch.load(filename_or_checkpoint, weights_only=False)
        weights = {}
        for k, value in checkpoint["network_weights"].items():
            key = k
            if key not in self.network.state_dict() and key.startswith("module."):
                key = key[7:]
            weights[key] = value
        self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(checkpoint["optimizer_state"])
        self.current_epoch = checkpoint["current_epoch"]
