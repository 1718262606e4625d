"""Checkpoints of a stand-in of nnU-Net's trainer as runs: what they hold, see, and refuse."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_nnunet_trainer import trained, without
from toy_nnunet import DATASET, toy_plans
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.data.batches import WholeImages
from llm4seg_probe.data.nnunet_cases import labelling_of, padded
from llm4seg_probe.errors import CheckpointError, ConfigError, DataError
from llm4seg_probe.integrations.nnunet.checkpoints import is_nnunet, read_nnunet
from llm4seg_probe.integrations.nnunet.conversion import convert_nnunet
from llm4seg_probe.models.nnunet_plans import planned as planned_network
from llm4seg_probe.training.stored_run import load

CASES = ("ann", "bob", "cy", "dee")


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.output if done.exit_code == 0 else f"{done.exit_code}: {done.output}"


@pytest.fixture
def prepared(standin: Path) -> Path:
    """Four preprocessed cases of three slices, one of them smaller than the patch; two folds."""
    folder = standin / "nnUNet_preprocessed" / "Dataset001_Toy"
    (folder / "nnUNetPlans_2d").mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for number, case in enumerate(CASES):
        shape = (3, 12, 20) if number == 1 else (3, 20, 24)
        image = draw.normal(size=(1, *shape)).astype(np.float32)
        labels = draw.integers(0, 3, size=(1, *shape)).astype(np.int8)
        labels[:, 0, :2] = -1
        np.savez(folder / "nnUNetPlans_2d" / f"{case}.npz", data=image, seg=labels)
    splits = [{"train": list(CASES[2:]), "val": list(CASES[:2])}]
    (folder / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


@pytest.fixture
def checkpoint(planned: dict[str, Any], prepared: Path) -> Path:
    return trained(planned).output_folder / "checkpoint_final.pth"


def test_a_checkpoint_is_known_without_being_unpickled(checkpoint, tmp_path):
    assert is_nnunet(checkpoint)
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    assert not is_nnunet(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("network_weights trainer_name init_args")
    assert not is_nnunet(tmp_path / "text.pth")


@pytest.mark.parametrize(
    "arm",
    [
        "cnn",
        "llm",
        "random-frozen",
        "adapters",
        "transformer",
        "llm-lora",
        "mlp-only",
        "llm-mix",
        "random-gated",
    ],
)
def test_a_run_computes_what_the_training_did(planned, prepared, tmp_path, arm):
    made = trained(planned, arm, 3)
    out = tmp_path / "run.pt"
    found = convert_nnunet(made.output_folder / "checkpoint_final.pth", out)
    run = load(out)
    assert (run.arm, run.seed, run.epoch) == (arm, 3, 2)
    assert found.said == (
        f"Its images: {prepared}, 2 cases to train, 2 to validate, 6 slices of these.",
    )
    image = torch.randn(2, 1, 16, 16)
    made.network.eval()
    made.network.decoder.deep_supervision = False
    with torch.no_grad():
        assert torch.equal(run.network(image), made.network(image))


def test_a_run_needs_no_language_model(planned, prepared, tmp_path):
    for arm in ("llm", "adapters"):
        path = trained(planned, arm).output_folder / "checkpoint_final.pth"
        content = torch.load(path, weights_only=False)
        content["init_args"]["plans"] = without(content["init_args"]["plans"])
        torch.save(content, path)
        convert_nnunet(path, tmp_path / f"{arm}.pt")
        load(tmp_path / f"{arm}.pt")


def test_the_split_is_the_fold_and_the_images_are_the_prepared_slices(
    checkpoint, prepared, tmp_path
):
    convert_nnunet(checkpoint, tmp_path / "run.pt")
    run = load(tmp_path / "run.pt")
    assert run.images("val") == run.images("test")
    assert run.images("test") == tuple(f"{c}_z{n:04d}" for c in CASES[:2] for n in range(3))
    assert {name.split("_")[0] for name in run.images("train")} == set(CASES[2:])
    assert run.split.validation_is_test
    assert run.config.data.classes == ("liver", "tumour")
    assert run.config.training.output == "softmax"
    images = WholeImages(run.collection(), run.images("test"), run.config.data)
    for number, name in enumerate(run.images("test")):
        stored = np.load(prepared / "nnUNetPlans_2d" / f"{name.split('_')[0]}.npz")
        plane = int(name[-1])
        image, mask, _ = images[number]
        assert np.array_equal(image.numpy(), padded(stored["data"][:, plane], (16, 16)))
        for channel, label in enumerate((1, 2)):
            theirs = padded(stored["seg"][:, plane] == label, (16, 16))[0]
            assert np.array_equal(mask[channel].numpy() > 0, theirs)


def test_what_is_smaller_than_the_patch_gets_zeros_around_it():
    found = padded(np.ones((1, 3, 4)), (6, 2))
    assert found.shape == (1, 6, 4)
    assert found[0, :, 0].tolist() == [0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("probe", "table"), [("rank", "rank.csv"), ("maps", "maps.csv"), ("evaluate", "scores.csv")]
)
def test_probes_open_it(planned, prepared, tmp_path, probe, table):
    for arm in ("cnn", "llm"):
        path = trained(planned, arm).output_folder / "checkpoint_final.pth"
        assert "The run:" in invoke("convert", path, "--out", tmp_path / f"{arm}.pt")
    said = invoke(probe, "--ckpt", tmp_path / "*.pt", "--out", tmp_path / "found")
    assert set(pd.read_csv(tmp_path / "found" / table)["arm"]) == {"cnn", "llm"}, said


def test_new_images_are_left_to_nnunet(checkpoint, tmp_path, tiny_data):
    invoke("convert", checkpoint, "--out", tmp_path / "run.pt")
    ckpt = ("--ckpt", tmp_path / "run.pt")
    said = invoke("predict", *ckpt, "--images", tiny_data / "images", "--out", tmp_path / "p")
    assert "nnUNetv2_predict" in said
    said = invoke("rank", *ckpt, "--data", tiny_data, "--out", tmp_path / "r")
    assert "sees images that nnU-Net has prepared" in said


def test_without_its_images_a_run_asks_for_them(checkpoint, prepared, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(prepared / "nnUNetPlans_2d", moved / "nnUNetPlans_2d")
    said = invoke("convert", checkpoint, "--out", tmp_path / "run.pt")
    assert "It does not know its images here" in said
    with pytest.raises(DataError, match="--data FOLDER"):
        load(tmp_path / "run.pt").images("test")
    run = load(tmp_path / "run.pt")
    assert len(run.images(data=moved)) == 12


def test_the_cases_are_those_of_the_folder_of_validation_where_no_split_is(
    checkpoint, prepared, tmp_path
):
    (prepared / "splits_final.json").unlink()
    said = convert_nnunet(checkpoint, tmp_path / "a.pt").said
    assert "says which cases fold 0 left out" in said[0]
    (checkpoint.parent / "validation").mkdir()
    (checkpoint.parent / "validation" / "cy.nii.gz").touch()
    assert (
        "3 cases to train, 1 to validate" in convert_nnunet(checkpoint, tmp_path / "b.pt").said[0]
    )


def test_the_checkpoint_of_a_plain_trainer_is_arm_cnn(standin, prepared, tmp_path):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plain = nnUNetTrainer(toy_plans(), "2d", "all", DATASET)
    plain.initialize()
    plain.output_folder.mkdir()
    path = plain.output_folder / "checkpoint_final.pth"
    plain.save_checkpoint(str(path))
    said = invoke("convert", path, "--out", tmp_path / "run.pt")
    assert "nnUNetTrainer says no seed: the run has seed 0." in said
    assert "trained on every case" in said
    assert load(tmp_path / "run.pt").arm == "cnn"


class Harmful:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def test_objects_in_a_checkpoint_are_refused_unrun(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=False)
    content["logging"]["more"] = Harmful(tmp_path / "touched")
    torch.save(content, checkpoint)
    assert is_nnunet(checkpoint)
    with pytest.raises(CheckpointError, match="could run code; it was refused"):
        read_nnunet(checkpoint)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(checkpoint, weights_only=True)  # what was allowed is not allowed any more


@pytest.mark.parametrize("key", ["network_class_name", "conv_op"])
def test_plans_cannot_name_code_to_run(checkpoint, tmp_path, key):
    content = torch.load(checkpoint, weights_only=False)
    architecture = content["init_args"]["plans"]["configurations"]["2d"]["architecture"]
    (architecture if key in architecture else architecture["arch_kwargs"])[key] = "os.system"
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match="import another is to run its code"):
        convert_nnunet(checkpoint, tmp_path / "run.pt")


def test_names_that_are_no_networks_are_refused(standin):
    architecture = toy_plans()["configurations"]["2d"]["architecture"]
    for name, words in (
        ("dynamic_network_architectures.architectures.unet.torch", "is no torch module"),
        ("dynamic_network_architectures.architectures.nothing.UNet", "is not installed here"),
        ("dynamic_network_architectures.architectures.unet.Encoder", "cannot be built"),
    ):
        changed = {**architecture, "network_class_name": name}
        with pytest.raises(ConfigError, match=words):
            planned_network(1, 3, (4, 6, 8), changed)
    parts = copy.deepcopy(architecture)
    parts["arch_kwargs"]["norm_op"] = "torch.nn.init.zeros_"
    with pytest.raises(ConfigError, match="is no torch module"):
        planned_network(1, 3, (4, 6, 8), parts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"previous_stage": "3d_lowres"}, "refines what 3d_lowres has predicted"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "label 'ignore'"),
        ({"weights": "decoder.seg_layers.0.bias"}, "trained another one"),
        ({"lacks": "trainer_name"}, "it lacks trainer_name"),
    ],
)
def test_what_cannot_be_probed_says_why(checkpoint, tmp_path, change, words):
    content = torch.load(checkpoint, weights_only=False)
    if "previous_stage" in change:
        content["init_args"]["plans"]["configurations"]["2d"].update(change)
    elif "labels" in change:
        content["init_args"]["dataset_json"].update(change)
    elif "weights" in change:
        content["network_weights"].pop(change["weights"])
    else:
        content[f"not_{change['lacks']}"] = content.pop(change["lacks"])
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match=words):
        convert_nnunet(checkpoint, tmp_path / "run.pt")


def test_a_wrong_arm_and_a_taken_name_are_refused(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="says that it is llm"):
        convert_nnunet(checkpoint, tmp_path / "run.pt", "cnn")
    (tmp_path / "run.pt").touch()
    with pytest.raises(CheckpointError, match="exists already"):
        convert_nnunet(checkpoint, tmp_path / "run.pt")


def test_labels_are_the_channels_of_the_output():
    plain = labelling_of({"labels": {"background": 0, "tumour": 2, "liver": 1}})
    assert (plain.classes, plain.output) == (("liver", "tumour"), "softmax")
    regions = labelling_of({"labels": {"background": 0, "whole": [1, 2], "core": [2]}})
    assert (regions.classes, regions.output) == (("whole", "core"), "sigmoid")
    assert regions.masks(np.array([-1, 0, 1, 2])).tolist() == [
        [False, False, True, True],
        [False, False, False, True],
    ]
    for labels in (None, {}, {"background": 0}):
        with pytest.raises(ConfigError):
            labelling_of({"labels": labels})


def test_volumes_are_one_image_each(planned, standin, tmp_path):
    plans = toy_plans(axes=3) | {"llm4seg_probe": planned["llm4seg_probe"]}
    folder = standin / "nnUNet_preprocessed" / "Dataset001_Toy"
    (folder / "nnUNetPlans_3d").mkdir()
    for case in CASES:
        shape = (1, 8, 18, 16)
        np.savez(
            folder / "nnUNetPlans_3d" / f"{case}.npz",
            data=np.ones(shape, np.float32), seg=np.ones(shape, np.int8),
        )  # fmt: skip
    splits = [{"train": list(CASES[1:]), "val": [CASES[0]]}]
    (folder / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    path = trained(plans).output_folder / "checkpoint_final.pth"
    convert_nnunet(path, tmp_path / "run.pt")
    run = load(tmp_path / "run.pt")
    assert run.images("test") == ("ann",)
    batch = next(run.batches("test"))
    assert batch.images.shape == (1, 1, 16, 16, 16)
    assert batch.images[0, 0, :4].abs().max() == 0  # eight slices of sixteen, in the middle
    assert run.network(batch.images).shape == (1, 3, 16, 16, 16)
