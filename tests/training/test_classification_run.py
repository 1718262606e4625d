"""A classification from its configuration to its tables, as commands and in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import llm4seg_probe as lp
from llm4seg_probe import tables
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.subsets import training_split
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.measures.classification import auroc_parts
from llm4seg_probe.probes.probed import Source
from llm4seg_probe.probes.registry import find
from llm4seg_probe.probes.result import take
from llm4seg_probe.scores import OF_SETS
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.training.evaluation import scores_of
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.tasks.classification import labels_in, target
from llm4seg_probe.training.tasks.registry import part_of
from llm4seg_probe.training.train import train


def drawn(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise with a bright square, whose place says the class."""
    draw = np.random.default_rng(seed)
    images = draw.integers(60, 120, (count, 16, 16), dtype=np.uint8)
    labels = np.arange(count) % classes
    for image, label in zip(images, labels, strict=True):
        image[2 + 4 * label : 6 + 4 * label, 2:14] += 100
    return images, labels[:, None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = {}
    for seed, (side, count) in enumerate({"train": 24, "val": 9, "test": 9}.items()):
        found[f"{side}_images"], found[f"{side}_labels"] = drawn(count, 3, seed)
    path = tmp_path_factory.mktemp("medmnist") / "bars.npz"
    np.savez(path, **found)
    return path


@pytest.fixture(scope="module")
def config(data: Path, tiny_llm: Path) -> Config:
    return Config.model_validate(
        {
            "task": "classification", "arm": "llm",
            "data": {
                "name": str(data), "split": "own", "classes": ["top", "middle", "bottom"],
                "image_size": [32, 32], "augmentation": "none",
            },
            "backbone": {"widths": [4, 8, 8, 8, 8]},
            "booster": {"source": str(tiny_llm), "layer": 3},
            "training": {"epochs": 2, "output": "softmax"},
            "compute": {"threads": 1, "device": "cpu"},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "llm-0"
    train(config, folder)
    return folder


def test_a_run_has_the_files_of_a_run_and_its_own_columns(run):
    metrics = tables.read_table(run / "metrics.csv", tables.METRICS)
    assert metrics["val_iou"].isna().all()
    assert metrics["val_accuracy"].between(0, 1).all()
    scores = tables.read_table(run / "scores.csv", tables.SCORES)
    assert len(scores) == 2 * 2 * 9 * 3  # checkpoints, sides, images, classes
    assert scores["iou"].isna().all()
    assert scores[[name for name in OF_SETS if name.startswith("image")]].notna().to_numpy().all()
    by_image = scores.groupby(["checkpoint", "split", "image"])["probability"].sum()
    assert (by_image <= 1 + 1e-6).all()  # softmax, beside which there is "none of them"
    assert (scores.groupby(["checkpoint", "split", "image"])["present"].sum() == 1).all()


def test_the_chosen_epoch_has_the_lowest_loss(run):
    metrics = tables.read_table(run / "metrics.csv", tables.METRICS)
    assert load(run / "run.pt").epoch == int(metrics["val_loss"].argmin())


def test_the_probabilities_are_those_of_the_network(run, config, data):
    opened = load(run / "run.pt")
    scores = tables.read_table(run / "scores.csv", tables.SCORES)
    best = scores[(scores["checkpoint"] == "best") & (scores["split"] == "test")]
    collection = open_collection(str(data), classes=config.data.classes)
    sample = collection.sample("test-000003")
    with torch.no_grad():
        logits = opened.network(opened.transform(collection.read(sample))[None])
    assert logits.shape == (1, 4, 1, 1)
    rows = best[best["image"] == sample.image].set_index("class").loc[list(config.data.classes)]
    expected = logits.flatten().softmax(0)[1:]
    np.testing.assert_allclose(rows["probability"], expected, rtol=1e-5)


def test_scores_are_those_of_evaluate(run, tmp_path):
    table = scores_of([load(run / "run.pt", device="cpu")])
    stored = tables.read_table(run / "scores.csv", tables.SCORES)
    stored = stored[(stored["checkpoint"] == "best") & (stored["split"] == "test")]
    np.testing.assert_allclose(table["image_auroc"], stored["image_auroc"])
    given = ["evaluate", "--ckpt", str(run / "run.pt"), "--out", str(tmp_path)]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 0, said.output
    assert "image_auroc" in said.output
    assert "hd95" not in said.output


def test_predict_writes_a_table(run, tmp_path):
    for number, image in enumerate(drawn(4, 3, seed=9)[0]):
        Image.fromarray(image).save(tmp_path / f"new{number}.png")
    out = tmp_path / "out"
    given = ["predict", "--ckpt", str(run / "run.pt"), "--images", str(tmp_path), "--out", str(out)]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 0, said.output
    table = pd.read_csv(out / "predictions.csv")
    assert list(table.columns) == ["image", "class", "probability", "said", "file"]
    assert len(table) == 12
    assert table.groupby("image")["probability"].sum().max() <= 1 + 1e-5
    refused = CliRunner().invoke(app, [*given, "--overlays"])
    assert refused.exit_code == 2
    assert "one table" in refused.output


def test_python_gives_the_same_table(run, tmp_path):
    Image.fromarray(drawn(3, 3, seed=9)[0][1]).save(tmp_path / "new.png")
    found = lp.predict(run / "run.pt", tmp_path / "new.png", device="cpu")
    assert list(found.table["class"]) == ["top", "middle", "bottom"]
    (path,) = found.save(tmp_path / "out")
    assert path.name == "predictions.csv"
    assert lp.runs(run / "run.pt").best().name == run.name


def test_data_check_counts_labels(data, tmp_path):
    given = ["data", "check", str(data), "--classes", "top,middle,bottom", "--out", str(tmp_path)]
    said = CliRunner().invoke(app, [*given, "--split", "own"])
    assert said.exit_code == 0, said.output
    assert "8 of 24" not in said.output
    assert "14 of 42 images have the class 'top'" in said.output
    assert "full mask" not in said.output


def test_probes_that_need_masks_are_refused_and_others_are_taken(run):
    source = Source(run / "run.pt", device="cpu")
    table = take(find("rank"), [source]).tables["rank.csv"]
    assert set(table["part"]) == {"all", "dataset"}
    assert table["effective_rank"].notna().any()
    for name in ("maps", "decode", "robustness", "intervene", "attribute"):
        with pytest.raises(
            SiteError, match=f"{name} (needs the masks|looks at the masks)"
        ) as error:
            take(find(name), [source])
        assert "'classification'" in str(error.value)
        assert "\n" not in str(error.value)


def test_two_arms_compare_by_the_areas_of_their_seeds():
    draw = np.random.default_rng(0)
    rows = []
    for arm, shift in (("cnn", 0.5), ("llm", 1.5)):
        for seed in range(4):
            truth = np.arange(40) % 2 == 1
            p = torch.sigmoid(torch.from_numpy(draw.normal(shift * truth)))
            parts = auroc_parts(p, torch.from_numpy(truth)).tolist()
            rows += [
                {"arm": arm, "seed": seed, "image": f"i{n}", "image_auroc": part}
                for n, part in enumerate(parts)
            ]
    table = pd.DataFrame(rows)
    (found,) = compare(table, score="image_auroc", bootstrap=200).to_dict("records")
    means = table.groupby(["arm", "seed"])["image_auroc"].mean().unstack("arm")
    assert found["margin"] == 0.005
    assert found["difference"] == pytest.approx((means["llm"] - means["cnn"]).mean())


def test_an_image_has_the_classes_that_its_mask_holds(tiny_config):
    masks = torch.zeros(2, 2, 4, 4)
    masks[0, 1, 2, 2] = 1
    assert target(masks, tiny_config).flatten(1).tolist() == [[0, 1], [0, 0]]
    assert target(masks[..., :1, :1], tiny_config).shape == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (
            lambda labels: labels.__setitem__("val_labels", np.zeros((9, 1), int)),
            "all images of val have",
        ),
        (lambda labels: labels.__setitem__("test_labels", labels["test_labels"] % 2), "of test"),
    ],
)
def test_a_side_without_a_class_is_refused(data, config, tmp_path, lacking, said):
    with np.load(data) as stored:
        found = dict(stored)
    lacking(found)
    np.savez(tmp_path / "bars.npz", **found)
    changed = config.model_dump()
    changed["data"]["name"] = str(tmp_path / "bars.npz")
    with pytest.raises(DataError, match=said) as error:
        train(Config.model_validate(changed), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_class_that_is_rarer_in_validation_is_told(config, tmp_path, capsys):
    images = np.zeros((40, 16, 16), np.uint8)
    found = {f"{s}_images": images for s in ("train", "val", "test")}
    found |= {f"{s}_labels": (np.arange(40) % 2)[:, None] for s in ("train", "test")}
    values = config.model_dump()
    values["data"] |= {"name": str(tmp_path / "rare.npz"), "classes": ("no", "yes")}
    for count, told in ((20, 0), (4, 2)):  # Fisher: p = 1, and 0.0002 for both classes
        found["val_labels"] = (np.arange(40) < count).astype(int)[:, None]
        np.savez(tmp_path / "rare.npz", **found)
        of_files = Config.model_validate(values)
        collection = open_collection(of_files.data.name, classes=of_files.data.classes)
        part_of(of_files).check(of_files, collection, training_split(collection, of_files))
        said = capsys.readouterr().err
        assert said.count("divide the data otherwise") == told
    assert "class 'yes': 50% of the training images have it and 10% of those for valid" in said


def test_masks_and_labels_are_not_taken_for_each_other(config, tiny_config, tmp_path):
    values = config.model_dump()
    for task, section in (("segmentation", "set task to classification"), ("detection", "masks")):
        changed = {**values, "task": task, "training": {"epochs": 1}}
        with pytest.raises(DataError, match=section):
            train(Config.model_validate(changed), tmp_path / task)
    # Every image of the tiny data has a disc: there is nothing to tell apart.
    values = tiny_config.model_dump()
    values |= {"task": "classification", "training": {"epochs": 1}}
    with pytest.raises(DataError, match="all images of train have the class 'foreground'"):
        train(Config.model_validate(values), tmp_path / "masks")


def test_classes_that_exclude_each_other_are_not_in_one_image(config, tmp_path):
    images = np.zeros((4, 16, 16), np.uint8)
    found = {f"{s}_images": images for s in ("train", "val", "test")}
    found |= {f"{s}_labels": np.array([[0, 1], [1, 0]] * 2) for s in ("val", "test")}
    found["train_labels"] = np.array([[0, 1], [1, 0], [0, 1], [1, 1]])
    np.savez(tmp_path / "both.npz", **found)
    values = config.model_dump()
    values["data"] |= {"name": str(tmp_path / "both.npz"), "classes": ("a", "b")}
    with pytest.raises(DataError, match="image 'train-000003' has several classes"):
        train(Config.model_validate(values), tmp_path / "run")


def test_a_side_of_one_kind_is_scored_by_rule(run, config, data, capsys):
    opened = load(run / "run.pt")
    collection = open_collection(str(data), classes=config.data.classes)
    alike = [sample for sample in collection.samples if sample.labels == (True, False, False)]
    rows = part_of(config).score(opened.network, config, collection, alike, "some")
    frame = pd.DataFrame(rows)
    assert frame["image_auroc"].isna().all()
    assert frame["image_balanced_accuracy"].isna().all()
    assert frame["image_brier"].notna().all()
    assert frame["image_ece"].notna().all()
    assert "all of" in (said := capsys.readouterr().err)
    assert "none of" in said
    assert labels_in(collection, alike[0]).tolist() == [True, False, False]
