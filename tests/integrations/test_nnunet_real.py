"""The real nnU-Net, from images to a verdict, in an environment that has it.

`make test-nnunet` makes that environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

if importlib.util.find_spec("nnunetv2") is None:
    pytest.skip("nnU-Net is not installed here: make test-nnunet", allow_module_level=True)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLANS, BASE = "nnUNetPlansSmol", "nnUNetTrainerShort"
ARMS, SEEDS, FOLDS = ("cnn", "llm"), (0, 1), (0, 1)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class World:
    """A machine with nnU-Net: its three folders, and its commands."""

    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "raw" / "Dataset777_Spine"

    @property
    def preprocessed(self) -> Path:
        return self.folder / "preprocessed" / "Dataset777_Spine"

    @property
    def results(self) -> Path:
        return self.folder / "results" / "Dataset777_Spine"

    def checkpoint(self, arm: str, seed: int = 0, fold: int = 0, base: str = BASE) -> Path:
        name = f"{base}_LLM4Seg_{arm}_s{seed}__{PLANS}__2d"
        return self.results / name / f"fold_{fold}" / "checkpoint_final.pth"

    def run(self, *words: object, check: bool = True, **variables: str) -> str:
        """What a command prints; ``nnUNetv2_…`` and ``llm4seg-probe`` are those of this Python."""
        command = [str(word) for word in words]
        if command[0] == "llm4seg-probe":
            command[:1] = [sys.executable, "-m", "llm4seg_probe"]
        elif command[0] == "python":
            command[0] = sys.executable
        else:
            command[0] = str(Path(sys.executable).parent / command[0])
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | variables,
            cwd=ROOT,
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        folders = {f"nnUNet_{n}": str(self.folder / n) for n in ("raw", "preprocessed", "results")}
        return (
            os.environ
            | folders
            | {
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "nnUNet_def_n_proc": "1",
                "nnUNet_extTrainer": os.pathsep.join(
                    [
                        str(ROOT / "llm4seg_probe/integrations/nnunet/trainers"),
                        str(HERE / "short_trainers"),
                    ]
                ),
            }
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Spine planned and preprocessed by nnU-Net, in two folds, and plans with a SmolLM2 layer."""
    made = World(tmp_path_factory.mktemp("nnunet"))
    for name in ("raw", "preprocessed", "results"):
        (made.folder / name).mkdir()
    made.run("python", HERE / "spine_dataset.py", made.raw, "--slices", 4, "--side", 48)
    made.run(
        "nnUNetv2_plan_and_preprocess", "-d", 777, "-c", "2d", "3d_fullres", "-np", 1, "-npfp", 1,
        "--verify_dataset_integrity", nnUNet_n_proc_DA="2",
    )  # fmt: skip
    made.run("python", HERE / "small_plans.py", made.preprocessed)
    cases = sorted(path.name.split(".")[0] for path in (made.raw / "labelsTr").iterdir())
    halves = cases[::2], cases[1::2]
    splits = [{"train": halves[1 - k], "val": halves[k]} for k in FOLDS]
    (made.preprocessed / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    said = made.run(
        "llm4seg-probe", "nnunet", "plans", 777, "--source", "smollm2-135m", "--layer", 15,
        "--plans", "nnUNetPlansSmall", "--out", PLANS,
    )  # fmt: skip
    assert "In 2d it sees 64 tokens" in said
    return made


@pytest.fixture(scope="module")
def trained(world: World) -> World:
    """Two arms with two seeds on two folds, the first of them by nnU-Net's own command."""
    runs = [f"{BASE}_LLM4Seg_{arm}_s{seed}:{k}" for arm in ARMS for seed in SEEDS for k in FOLDS]
    first, fold = runs.pop(0).split(":")
    common = {"nnUNet_n_proc_DA": "0"}
    world.run(
        "nnUNetv2_train", 777, "2d", fold, "-p", PLANS, "-tr", first, "-device", "cpu", **common
    )
    world.run("python", HERE / "train_several.py", 777, "2d", PLANS, *runs, **common)
    return world


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=False)["network_weights"]
    return found


def test_the_trainers_folder_is_printed(world):
    printed = world.run("llm4seg-probe", "nnunet", "trainers").strip()
    assert printed == str(ROOT / "llm4seg_probe/integrations/nnunet/trainers")


def test_arms_of_a_seed_begin_alike_and_end_apart(trained, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", trained.environment["nnUNet_extTrainer"])
    begun = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nnU-Net imports all its trainers to find one
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(json.loads((trained.preprocessed / f"{PLANS}.json").read_text()))
        planned = manager.get_configuration("2d")
        for arm in ARMS:
            found = recursive_find_trainer_class_by_name(f"{BASE}_LLM4Seg_{arm}_s0")
            begun.append(found.build_network_architecture(manager, planned, 1, 2).state_dict())
    assert all(torch.equal(value, begun[1][name]) for name, value in begun[0].items())
    ended = [weights(trained.checkpoint(arm)) for arm in ARMS]
    name = "decoder.seg_layers.1.bias"
    assert not torch.equal(ended[0][name], ended[1][name])


def test_a_killed_training_goes_on_to_the_same_bits_with_two_workers(trained):
    name = "nnUNetTrainerKilled_LLM4Seg_llm_s0"
    words = ("nnUNetv2_train", 777, "2d", 0, "-p", PLANS, "-tr", name, "-device", "cpu")
    trained.run(*words, check=False, KILL="1", nnUNet_n_proc_DA="2")
    killed = trained.checkpoint("llm", base="nnUNetTrainerKilled")
    assert not killed.exists()
    assert killed.with_name("checkpoint_latest.pth").exists()
    trained.run(*words, "--c", nnUNet_n_proc_DA="2")
    whole, continued = weights(trained.checkpoint("llm")), weights(killed)
    assert whole.keys() == continued.keys()
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    shutil.rmtree(killed.parents[1])


def predicted(world: World, out: str, **variables: str) -> dict[str, bytes]:
    folder = world.folder / out
    world.run(
        "nnUNetv2_predict", "-i", world.raw / "imagesTs", "-o", folder, "-d", 777, "-c", "2d",
        "-tr", f"{BASE}_LLM4Seg_llm_s0", "-p", PLANS, "-f", 0, 1, "-device", "cpu", "-npp", 1,
        "-nps", 1,
        **variables,
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def test_both_folds_predict_as_an_ensemble_without_the_language_model(trained, tmp_path):
    here = predicted(trained, "here")
    nowhere = predicted(
        trained, "nowhere", LLM4SEG_PROBE_CACHE=str(tmp_path / "empty"),
        HF_HOME=str(tmp_path / "empty-too"), HF_HUB_OFFLINE="1",
        http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9",
    )  # fmt: skip
    assert len(here) == 2
    assert here == nowhere


def test_validation_alone_gives_the_same_scores(trained):
    path = trained.checkpoint("llm").parent / "validation" / "summary.json"
    before = json.loads(path.read_text())["foreground_mean"]
    trained.run(
        "nnUNetv2_train", 777, "2d", 0, "-p", PLANS, "-tr", f"{BASE}_LLM4Seg_llm_s0", "--val",
        "-device", "cpu",
    )  # fmt: skip
    assert json.loads(path.read_text())["foreground_mean"] == before


def test_nnunet_gathers_and_ranks_the_folders(trained):
    names = [f"{BASE}_LLM4Seg_{arm}_s0" for arm in ARMS]
    said = trained.run(
        "nnUNetv2_find_best_configuration", 777, "-c", "2d", "-p", PLANS, "-tr", *names, "-f", 0, 1,
        "--disable_ensembling",
    )  # fmt: skip
    assert "LLM4Seg" in said


def test_the_table_and_the_comparison_speak_of_seeds(trained, tmp_path):
    trained.run("llm4seg-probe", "nnunet", "table", trained.results, "--out", tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    assert len(table) == len(ARMS) * len(SEEDS) * 6
    path = trained.checkpoint("llm", 1, 1).parent / "validation" / "summary.json"
    one = json.loads(path.read_text())["metric_per_case"][0]
    case = Path(one["prediction_file"]).name.split(".")[0]
    row = table[(table["arm"] == "llm") & (table["seed"] == 1) & (table["image"] == case)]
    assert row["dice"].tolist() == [pytest.approx(one["metrics"]["1"]["Dice"], abs=1e-12)]
    said = trained.run(
        "llm4seg-probe", "nnunet", "compare", trained.results, "--baseline", "cnn", "--out",
        tmp_path / "c",
    )  # fmt: skip
    assert "2 seeds with 2 folds each" in said
    rows = pd.read_csv(tmp_path / "c" / "comparison.csv")
    by_seed = table.groupby(["seed", "arm"])["dice"].mean().unstack()
    expected = (by_seed["llm"] - by_seed["cnn"]).mean()
    assert rows["difference"].tolist() == [pytest.approx(expected, abs=1e-12)]


@pytest.fixture(scope="module")
def runs(trained: World) -> Path:
    """Runs for the probes, of both arms and seeds."""
    folder = trained.folder / "runs"
    for arm in ARMS:
        for seed in SEEDS:
            said = trained.run(
                "llm4seg-probe", "convert", trained.checkpoint(arm, seed), "--out",
                folder / f"{arm}-{seed}.pt",
            )  # fmt: skip
            assert "3 cases to train, 3 to validate, 12 slices of these" in said
    return folder


@pytest.mark.parametrize(
    ("probe", "table"),
    [("rank", "rank.csv"), ("maps", "maps.csv"), ("decode", "decode.csv")],
)
def test_probes_open_the_runs(runs, trained, tmp_path, probe, table):
    trained.run("llm4seg-probe", probe, "--ckpt", runs / "*-0.pt", "--out", tmp_path)
    assert set(pd.read_csv(tmp_path / table)["arm"]) == set(ARMS)


def test_interventions_run(runs, trained, tmp_path):
    trained.run(
        "llm4seg-probe", "intervene", "--ckpt", runs / "*.pt", "--ranks", "1", "--directions", 0,
        "--only", "bypass", "--out", tmp_path,
    )  # fmt: skip
    assert len(pd.read_csv(next(tmp_path.glob("*.csv"))))


def test_the_networks_input_and_logits_are_nnunets_own(runs, trained, monkeypatch):
    from llm4seg_probe.data.batches import WholeImages
    from llm4seg_probe.training.stored_run import load

    for name, value in trained.environment.items():
        monkeypatch.setenv(name, value)
    run = load(runs / "llm-0.pt")
    images = run.images("test")
    own = WholeImages(run.collection(), images, run.config.data)
    raw = WholeImages(run.collection(trained.raw), images, run.config.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = nnunets_predictor(trained)
        for number, name in enumerate(images):
            case, _, place = name.partition("_z")
            theirs, mask = prepared(trained, case)
            image = own[number][0].numpy()
            assert np.abs(image - theirs[:, int(place)]).max() <= 1e-5
            assert np.abs(raw[number][0].numpy() - image).max() <= 1e-5
            assert np.array_equal(own[number][1].numpy()[0] > 0, mask[0, int(place)] == 1)
            assert torch.equal(raw[number][1], own[number][1])
            # One window: nnU-Net adds several up in half precision, with other weights than MONAI.
            window = own[number][0][None, :, :32, :32].contiguous()
            with torch.no_grad():
                assert torch.equal(run.network(window), predictor.network(window))


def prepared(world: World, case: str) -> tuple[np.ndarray, np.ndarray]:
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = str(world.preprocessed / "nnUNetPlans_2d")
    image, mask, _, _ = infer_dataset_class(folder)(folder, [case]).load_case(case)
    return image[:], mask[:]


def nnunets_predictor(world: World) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False,
        allow_tqdm=False,
    )  # fmt: skip
    folder = world.checkpoint("llm").parents[1]
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    return predictor


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-p", "nnUNetPlansSmall", "-tr", f"{BASE}_LLM4Seg_llm_s0"), "names no language model"),
        (("-p", PLANS, "-tr", f"{BASE}_LLM4Seg_lmm_s0"), "unknown arm 'lmm'. Did you mean 'llm'"),
        (("-p", PLANS, "-tr", f"{BASE}_LLM4Seg__llm__s0"), "two underscores"),
        (("-p", PLANS, "-tr", "nnUNetTrainerShrt_LLM4Seg_llm_s0"), "there is no trainer"),
    ],
)
def test_mistakes_end_in_one_line(world, words, expected):
    said = world.run("nnUNetv2_train", 777, "2d", 0, *words, "-device", "cpu", check=False)
    assert expected in said.strip().splitlines()[-1]
