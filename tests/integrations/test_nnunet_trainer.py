"""The mixin on a stand-in of nnU-Net's trainer: seeds, bits, arms, checkpoints, and refusals."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_nnunet import DATASET, toy_plans

from llm4seg_probe.arms import ARMS
from llm4seg_probe.errors import CheckpointError, ConfigError, SourceError, TrainingError
from llm4seg_probe.integrations.nnunet.names import trainer_name
from llm4seg_probe.integrations.nnunet.sealing import SEAL_KEY, keeper_of
from llm4seg_probe.integrations.nnunet.trainer import Boosting, external, trainers_of


def trainer(plans: dict[str, Any], arm: str = "llm", seed: int = 0) -> Any:
    name = f"nnUNetTrainer_LLM4Seg_{arm.replace('-', '')}_s{seed}"
    configuration = next(iter(plans["configurations"]))
    return external(name)(copy.deepcopy(plans), configuration, 0, DATASET, torch.device("cpu"))


def trained(plans: dict[str, Any], arm: str = "llm", seed: int = 0) -> Any:
    made = trainer(plans, arm, seed)
    made.run_training()
    return made


def predictor(plans: dict[str, Any], checkpoint: Path) -> torch.nn.Module:
    """A network for prediction as nnU-Net builds it, from the checkpoint and the plans alone."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    content = torch.load(checkpoint, weights_only=False)
    manager = PlansManager(copy.deepcopy(plans))
    network = external(content["trainer_name"]).build_network_architecture(
        manager, manager.get_configuration("2d"), 1, 3, enable_deep_supervision=False
    )
    network.load_state_dict(content["network_weights"])
    return network.eval()


def without(plans: dict[str, Any]) -> dict[str, Any]:
    """The plans with a source that is not to be had."""
    changed = copy.deepcopy(plans)
    changed["llm4seg_probe"]["booster"]["source"] = "/no/such/folder"
    return changed


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_arm_trains_is_saved_and_predicts_without_its_source(planned):
    image = torch.randn(1, 1, 16, 16)
    for arm in ARMS:
        made = trained(planned, arm)
        path = made.output_folder / "checkpoint_final.pth"
        network = predictor(without(planned), path)
        made.network.eval()
        made.network.decoder.deep_supervision = False
        assert torch.equal(network(image), made.network(image)), arm


def test_the_cnn_arm_is_the_plain_network(planned):
    made = trainer(planned, "cnn")
    made.initialize()
    assert SEAL_KEY not in made.network.state_dict()
    assert not any("booster" in name for name in made.network.state_dict())


def test_arms_of_a_seed_share_the_cnn_and_the_batches(planned):
    plain, boosted, other = (
        trainer(planned, arm, seed) for arm, seed in (("cnn", 1), ("llm", 1), ("llm", 2))
    )
    for made in (plain, boosted, other):
        made.initialize()
    begun = [{k: v.clone() for k, v in m.network.state_dict().items()} for m in (plain, boosted)]
    assert_same(*begun)
    assert not torch.equal(
        other.network.decoder.seg_layers[0].weight, plain.network.decoder.seg_layers[0].weight
    )
    for made in (plain, boosted, other):
        made.run_training()
    assert plain.seen == boosted.seen
    assert len(set(plain.seen)) == len(plain.seen) == 8
    assert not set(plain.seen) & set(other.seen)


@pytest.mark.parametrize("workers", ["1", "2", "3"])
def test_the_bits_do_not_depend_on_the_workers(planned, monkeypatch, workers):
    alone = trained(planned)
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    together = trained(planned)
    assert together.seen == alone.seen
    assert_same(together.network.state_dict(), alone.network.state_dict())


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_training_that_was_stopped_ends_with_the_same_bits(planned, monkeypatch, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    whole = trained(planned)
    stopped = trainer(planned)
    stopped.num_epochs = 1
    stopped.run_training()
    torch.rand(7)  # whatever else the process draws
    continued = trainer(without(planned))
    continued.load_checkpoint(str(stopped.output_folder / "checkpoint_latest.pth"))
    continued.run_training()
    assert stopped.seen + continued.seen == whole.seen
    assert_same(continued.network.state_dict(), whole.network.state_dict())


def test_batches_leave_the_generators_of_the_network_alone(planned):
    made = trainer(planned)
    made.on_train_start()
    before = torch.random.get_rng_state()
    next(made.dataloader_train)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_frozen_layer_does_not_move(planned):
    made = trained(planned)
    seal = keeper_of(made.network).seal
    assert seal.layer["sha256"] == planned["llm4seg_probe"]["sha256"]
    assert seal.frozen == keeper_of(made.network).fingerprint()


def test_a_layer_that_is_left_out_is_filled_in_from_its_source(planned, tiny_llm):
    kept = trained(planned)
    size = (kept.output_folder / "checkpoint_final.pth").stat().st_size
    planned["llm4seg_probe"]["store_layer"] = False
    made = trained(planned)
    path = made.output_folder / "checkpoint_final.pth"
    assert not any(
        "middle" in name for name in torch.load(path, weights_only=False)["network_weights"]
    )
    assert path.stat().st_size < size - 4 * 10_000
    image = torch.randn(1, 1, 16, 16)
    made.network.eval()
    made.network.decoder.deep_supervision = False
    assert torch.equal(predictor(planned, path)(image), made.network(image))
    with pytest.raises(CheckpointError, match=r"without its frozen layer .* cannot be had here"):
        predictor(without(planned), path)


@pytest.mark.parametrize("first", ["cnn", "adapters", "random-frozen"])
def test_pretrained_weights_go_into_the_cnn(planned, first, tmp_path):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    given = trained(planned, first, 5)
    path = given.output_folder / "checkpoint_final.pth"
    made = trainer(planned, "llm")
    made.initialize()
    adapter = made.network.encoder.stages[2]
    booster = made.network.get_submodule("encoder.stages.2.booster.adapter1").weight.clone()
    load_pretrained_weights(made.network, str(path))
    assert torch.equal(
        made.network.encoder.stages[0][0].weight, given.network.encoder.stages[0][0].weight
    )
    assert torch.equal(adapter[0].weight, given.network.encoder.stages[2][0].weight)
    assert torch.equal(
        made.network.get_submodule("encoder.stages.2.booster.adapter1").weight, booster
    )
    made.run_training()
    assert keeper_of(made.network).seal.layer["sha256"] == planned["llm4seg_probe"]["sha256"]


def renamed(path: Path, name: str) -> Path:
    """The checkpoint as if another trainer had written it."""
    content = torch.load(path, weights_only=False)
    content["trainer_name"] = name
    target = path.with_name("renamed.pth")
    torch.save(content, target)
    return target


def test_weights_of_another_arm_are_refused(planned):
    path = trained(planned).output_folder / "checkpoint_final.pth"
    for name, words in (
        ("nnUNetTrainer_LLM4Seg_randomfrozen_s0", "arm is llm, here it is random-frozen"),
        ("nnUNetTrainer_LLM4Seg_llm_s1", "seed is 0, here it is 1"),
        ("nnUNetTrainer_LLM4Seg_cnn_s0", "weights are of arm llm, seed 0"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            predictor(planned, renamed(path, name))
        assert "\n" not in str(caught.value)


def test_plain_weights_are_refused_with_the_way_to_start_from_them(planned):
    path = trained(planned, "cnn").output_folder / "checkpoint_final.pth"
    with pytest.raises(CheckpointError, match="-pretrained_weights"):
        predictor(planned, renamed(path, "nnUNetTrainer_LLM4Seg_llm_s0"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("attention", "bidirectional"), ("position", "none"), ("residual", True), ("layer", 2)],
)
def test_options_that_leave_no_trace_in_the_weights_are_compared(planned, option, value):
    path = trained(planned).output_folder / "checkpoint_final.pth"
    planned["llm4seg_probe"]["booster"][option] = value
    with pytest.raises(CheckpointError, match=f"{option} is .*, here it is {value}"):
        predictor(planned, path)


def test_a_changed_layer_is_refused(planned):
    path = trained(planned).output_folder / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    changed = next(name for name in content["network_weights"] if "middle" in name)
    content["network_weights"][changed].view(-1)[0] += 1e-3
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="it is not the layer of this training"):
        predictor(planned, path)


def test_another_version_of_the_source_is_not_trained_with(planned, tiny_llm, tmp_path):
    from safetensors.torch import load_file, save_file

    copied = tmp_path / "other-llm"
    shutil.copytree(tiny_llm, copied)
    tensors = load_file(copied / "model.safetensors")
    tensors["model.layers.2.mlp.up_proj.weight"] += 1
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    planned["llm4seg_probe"]["booster"]["source"] = str(copied)
    for arm in ("llm", "shuffled-frozen"):
        with pytest.raises(SourceError, match="it is not the layer that was used"):
            trainer(planned, arm).run_training()


def test_a_network_that_has_no_weights_yet_does_not_run(planned):
    made = trainer(planned)
    made.initialize()
    with pytest.raises(CheckpointError, match="not in the network yet"):
        made.network(torch.zeros(1, 1, 16, 16))


def test_a_copy_of_a_network_keeps_its_own_state(planned):
    made = trained(planned)
    copied = copy.deepcopy(made.network)
    keeper_of(copied).plain = True
    assert SEAL_KEY not in copied.state_dict()
    assert SEAL_KEY in made.network.state_dict()


def test_a_compiled_network_keeps_its_seal(planned):
    made = trained(planned)
    compiled = torch.compile(made.network.eval(), backend="eager", fullgraph=True)
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(compiled(image)[0], made.network(image)[0])
    assert keeper_of(compiled) is keeper_of(made.network)


def test_plans_without_a_layer_are_enough_for_the_cnn_alone(planned):
    trained(toy_plans(), "cnn")
    with pytest.raises(ConfigError, match=r"nnUNetPlans names no language model: .* nnunet plans"):
        trainer(toy_plans(), "adapters").run_training()


def test_a_network_without_stages_is_refused_in_one_line(planned):
    plans = toy_plans(network="Primus") | {"llm4seg_probe": planned["llm4seg_probe"]}
    with pytest.raises(ConfigError, match=r"Primus has no encoder\.stages"):
        trainer(plans).run_training()


def test_volumes_train_and_predict(planned):
    plans = toy_plans(axes=3) | {"llm4seg_probe": planned["llm4seg_probe"]}
    made = trained(plans)
    assert made.network(torch.zeros(1, 1, 16, 16, 16))[0].shape == (1, 3, 16, 16, 16)


def test_the_mixin_stands_before_any_trainer(planned):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Short(nnUNetTrainer):
        def __init__(self, plans, configuration, fold, dataset_json, device=None):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs = 1

    class Mine(Boosting, Short):
        arm, seed = "mlp", 4

    made = Mine(planned, "2d", 0, DATASET, torch.device("cpu"))
    made.run_training()
    assert made.current_epoch == 1
    by_name = trainers_of(Short)("Short_LLM4Seg_mlp_s4")
    assert (by_name.arm, by_name.seed, issubclass(by_name, Short)) == ("mlp", 4, True)
    assert trainers_of(Short)("Short_LLM4Seg_mlp_s4") is by_name
    with pytest.raises(AttributeError):
        trainers_of(Short)("nnUNetTrainer_LLM4Seg_mlp_s4")


def test_the_old_signature_of_build_network_architecture_is_served(planned):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Old(nnUNetTrainer):
        @staticmethod
        def build_network_architecture(name, arguments, imports, inputs, outputs, deep=True):
            class Manager:
                network_arch_class_name, network_arch_init_kwargs = name, arguments
                network_arch_init_kwargs_req_import = imports

            return nnUNetTrainer.build_network_architecture(None, Manager, inputs, outputs, deep)

    trainers_of(Old)("Old_LLM4Seg_llm_s0")(
        planned, "2d", 0, DATASET, torch.device("cpu")
    ).run_training()


def test_loaders_that_cannot_be_seeded_are_refused(planned):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Own(nnUNetTrainer):
        def get_dataloaders(self):
            return iter([1]), iter([1])

    made = trainers_of(Own)("Own_LLM4Seg_llm_s0")(planned, "2d", 0, DATASET, torch.device("cpu"))
    with pytest.raises(TrainingError, match="cannot be seeded"):
        made.run_training()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nnUNetTrainer_LLM4Seg_lmm_s0", "unknown arm 'lmm'. Did you mean 'llm'"),
        ("nnUNetTrainer_LLM4Seg_random-frozen_s0", "without its hyphens"),
        ("nnUNetTrainer_LLM4Seg__llm__s0", "two underscores"),
        ("nnUNetTrainer_LLM4Seg_llm", "ends in no seed"),
        ("nnUNetTrainer_LLM4Seg_llm_s03", "no leading zeros"),
        ("nnUNetTrainer_LLM4Seg", "such as nnUNetTrainer_LLM4Seg_randomfrozen_s3"),
    ],
)
def test_a_wrong_name_says_what_is_wrong_with_it(standin, name, words):
    with pytest.raises(ConfigError) as caught:
        external(name)
    assert words in str(caught.value)


def test_names_that_are_not_ours_are_left_to_others(standin):
    with pytest.raises(AttributeError):
        external("nnUNetTrainerDA5")
    with pytest.raises(ConfigError, match="there is no trainer nnUNetTrainerDA6"):
        external("nnUNetTrainerDA6_LLM4Seg_llm_s0")


def test_every_arm_has_a_name_of_its_own():
    names = {str(trainer_name(f"X_LLM4Seg_{arm.replace('-', '')}_s12")) for arm in ARMS}
    assert len(names) == len(ARMS)
    assert {trainer_name(name).arm for name in names} == set(ARMS)
