"""Malformed inputs of all families, each a function of (family, seed) alone.

A family makes one good input of its kind and damages it: bytes flipped, cut, put in; fields
removed, exchanged, made huge, negative, deep, of another type. What a command answers is one of
three things: it accepts (the damage was harmless), or it refuses in one line with exit 2.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from damage import ODD, as_yaml, changed, damaged, yaml_text
from image_files import FIELDS, IMAGES
from PIL import Image

SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Materials:
    """Good inputs that the families start from."""

    run: Path
    """A ``run.pt``, and ``last.pt`` beside it."""
    llm: Path
    data: Path
    results: Path
    config: str
    analysis: str


Case = list[str]
"""A command; ``OUT`` in it stands for a folder to write into."""


def checkpoint(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A run.pt with fields changed, or its bytes damaged."""
    import torch

    path = folder / "run.pt"
    is_whole = draw.random() < 0.7
    if not is_whole:
        path.write_bytes(damaged(source.run.read_bytes(), draw))
    else:
        content = torch.load(source.run, weights_only=True)
        state = content.pop("state")
        if draw.random() < 0.3:
            name = draw.choice(list(state))
            like = state[name].float()
            state[name] = draw.choice(
                (
                    torch.full_like(like, float("nan")), like.bool(), like.to(torch.complex64),
                    "text", 3, [1], like.expand(5, *like.shape), torch.zeros(()).expand(10**6),
                    torch.empty(like.shape, device="meta"), like.to_sparse(), None,
                )
            )  # fmt: skip
            content["state"] = state
        else:
            content = changed({**content, "state": state}, draw)
        torch.save(content, path)
    if is_whole and draw.random() < 0.1:
        with zipfile.ZipFile(path) as whole:
            members = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members.items():
                packed.writestr(name, content)
    command = draw.choice((["rank"], ["evaluate"], ["similarity", "--sites", "before,logits"]))
    return [*command, "--ckpt", str(path), "--data", str(source.data), "--out", "OUT"]


def resuming(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A last.pt with fields changed, to be resumed from."""
    import shutil

    import torch

    run = folder / "run"
    shutil.copytree(source.run.parent, run)
    (run / "environment.json").unlink()
    if draw.random() < 0.3:
        (run / "last.pt").write_bytes(damaged((run / "last.pt").read_bytes(), draw))
    else:
        content = torch.load(run / "last.pt", weights_only=True)
        torch.save(changed(content, draw), run / "last.pt")
    return ["train", str(run / "config.yaml"), "--out", str(run), "--resume"]


def configuration(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A configuration with fields changed."""
    path = folder / "s.yaml"
    path.write_text(yaml_text(changed(json.loads(source.config), draw), draw), errors="replace")
    return ["show", str(path)]


def analysis(source: Materials, folder: Path, draw: random.Random) -> Case:
    """An analysis with fields changed."""
    path = folder / "s.yaml"
    path.write_text(yaml_text(changed(json.loads(source.analysis), draw), draw), errors="replace")
    return ["sweep", str(path), "--size", "quick", "--dry-run", "--out", "OUT"]


def table(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A CSV table or a summary.json, damaged."""
    rows = ["arm,seed,case,dice", *(f"{a},{s},c{c},0.{s + c}5" for a in "ab" for s in range(3)
            for c in range(4))]  # fmt: skip
    text = "\n".join(rows)
    kind = draw.randrange(5)
    if kind == 0:
        case = {"reference_file": "a.nii.gz", "metrics": {"1": {"Dice": 0.5, "IoU": 0.4}}}
        content = changed({"metric_per_case": [case, case]}, draw)
        (folder / "summary.json").write_text(
            "[" * 100_000 + "]" * 100_000 if draw.random() < 0.1 else json.dumps(content)
        )
        return [draw.choice(("audit", "compare")), str(folder / "summary.json")]
    if kind == 1:
        text = rows[0]
    elif kind == 2:
        cells = [row.split(",") for row in rows]
        for _ in range(4):
            cells[draw.randrange(len(cells))][draw.randrange(4)] = str(draw.choice(ODD))
        text = "\n".join(map(",".join, cells))
    data = text.encode("utf-8", "replace")
    path = folder / "t.csv"
    path.write_bytes(data if kind in (1, 2) else damaged(data, draw))
    return [draw.choice(("audit", "compare")), str(path)]


def image(source: Materials, folder: Path, draw: random.Random) -> Case:
    """An image of a data set, damaged."""
    array = np.asarray(
        np.random.default_rng(draw.randrange(99)).integers(0, 255, (16, 16, 4)), "u1"
    )
    suffix = draw.choice(list(IMAGES))
    content = IMAGES[suffix](array)
    if suffix in (".nrrd", ".mha") and draw.random() < 0.6:
        for old, new in draw.sample(FIELDS, 2):
            content = content.replace(old.encode(), new.encode(), 1)
        suffix = ".mhd" if suffix == ".mha" and draw.random() < 0.4 else suffix
    elif suffix == ".nii.gz" and draw.random() < 0.5:
        content = gzip.compress(damaged(gzip.decompress(content), draw))
    elif draw.random() < 0.05:
        content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    else:
        content = damaged(content, draw)
    for part in ("images", "masks"):
        (folder / "d" / part).mkdir(parents=True)
        Image.fromarray(array[..., 0] // 128).save(folder / "d" / part / "b.png")
        good = IMAGES[".nii.gz"](array[..., :1] // 128)
        (folder / "d" / part / "a.nii.gz").write_bytes(good)
    part = draw.choice(("images", "masks"))
    (folder / "d" / part / "a.nii.gz").unlink()
    (folder / "d" / part / f"a{suffix}").write_bytes(content)
    return ["data", "check", str(folder / "d"), "--out", "OUT"]


def new_image(source: Materials, folder: Path, draw: random.Random) -> Case:
    """An image to predict, damaged."""
    image(source, folder, draw)
    return [
        *("predict", "--ckpt", str(source.run), "--images", str(folder / "d" / "images")),
        *("--modality", "photo", "--out", "OUT"),
    ]


def data_set(source: Materials, folder: Path, draw: random.Random) -> Case:
    """The description of a data set, damaged: dataset.json, samples.csv, a table of paths."""
    import shutil

    data = folder / "d"
    shutil.copytree(source.data, data)
    names = [f"disc{index:02d}" for index in range(6)]
    kind = draw.randrange(4)
    description = {"name": "x", "classes": {"c": 255}, "modality": "photo"}
    if kind == 0:
        description = {
            "labels": {"background": 0, "c": 1}, "channel_names": {"0": "CT"},
            "training": [{"image": f"images/{n}.png", "label": f"masks/{n}.png"} for n in names],
        }  # fmt: skip
    text = json.dumps(changed(description, draw))
    (data / "dataset.json").write_text(
        text if draw.random() < 0.8 else damaged(text.encode(), draw).decode("latin-1")
    )
    rows = ["image,group,image_file,mask_file,slice,spacing_y,spacing_x"]
    rows += [f"{n},g{n[-1]},images/{n}.png,masks/{n}.png,,1,1" for n in names]
    cells = [row.split(",") for row in rows]
    for _ in range(3):
        cells[draw.randrange(len(cells))][draw.randrange(7)] = str(draw.choice(ODD))
    if kind:
        (data / "samples.csv").write_bytes("\n".join(map(",".join, cells)).encode("utf-8"))
    split = ["--split", str(data / "split.json")] if kind == 3 else []
    stored = {
        "name": "a", "dataset": "d", "dataset_fingerprint": "f", "seed": 0, "within_case": False,
        "validation_is_test": False, "train": names[:3], "val": names[3:4], "test": names[4:],
        "fingerprint": "0",
    }  # fmt: skip
    (data / "split.json").write_text(json.dumps(changed(stored, draw)))
    return ["data", "check", str(data), "--out", "OUT", *split]


def language_model(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A folder of a language model, damaged."""
    import shutil

    model = folder / "m"
    shutil.copytree(source.llm, model)
    kind = draw.randrange(3)
    if kind == 0:
        values = changed(json.loads((model / "config.json").read_text()), draw)
        if draw.random() < 0.3:
            key = draw.choice(("num_hidden_layers", "hidden_size", "vocab_size", "rope_scaling"))
            values[key] = draw.choice((10**9, {"rope_type": "x"}, {"rope_type": "yarn"}, -1, 0))
        if draw.random() < 0.2:
            values = {"model_type": "gemma3", "text_config": draw.choice(ODD)}
        (model / "config.json").write_text(json.dumps(values))
    elif kind == 1:
        (model / "model.safetensors").write_bytes(
            damaged((model / "model.safetensors").read_bytes(), draw)
        )
    else:
        names = {"model.layers.0.mlp.up_proj.weight": draw.choice(ODD), "x": "../../etc/passwd"}
        index = changed({"weight_map": names}, draw)
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return ["llm", "show", str(model)]


def results(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A folder of results, damaged: tables, arrays, descriptions, figures of probes."""
    import shutil

    target = folder / "r"
    shutil.copytree(source.results, target)
    files = sorted(path for path in target.glob("*.*") if path.suffix in (".csv", ".npz", ".yaml"))
    path = draw.choice(files)
    kind = draw.randrange(4)
    if kind == 0 and path.suffix == ".csv":
        cells = [row.split(",") for row in path.read_text().splitlines()]
        for _ in range(3):
            row = draw.randrange(len(cells))
            cells[row][draw.randrange(len(cells[row]))] = str(draw.choice(ODD)).replace("\n", " ")
        path.write_text("\n".join(map(",".join, cells)), errors="replace")
    elif kind == 1:
        import yaml

        values = changed(yaml.safe_load((target / "analysis.yaml").read_text()), draw)
        (target / "analysis.yaml").write_text(as_yaml(values))
    elif kind == 2:
        probe = target / "p" / "figures"
        probe.mkdir(parents=True)
        (target / "p" / "about.yaml").write_text("title: t\nshows: s\n")
        (target / "p" / "leak.csv").symlink_to("/etc/passwd")
        svg = draw.choice(
            (
                f'<svg xmlns="{SVG}"><meta http-equiv="refresh" content="1"/></svg>',
                f'<svg xmlns="{SVG}" onload="x()"><script>x()</script></svg>',
                "<svg>" + "<g>" * 5000 + "</g>" * 5000 + "</svg>", "no figure", "",
                '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><svg>&c;</svg>',
            )
        )  # fmt: skip
        (probe / "f.svg").write_bytes(damaged(svg.encode() or b"x", draw) if draw.random() < 0.4
                                      else svg.encode())  # fmt: skip
    else:
        path.write_bytes(damaged(path.read_bytes(), draw))
    return ["report", str(target), "--out", "OUT"]


def archive(source: Materials, folder: Path, draw: random.Random) -> Case:
    """A delivered archive, damaged."""
    path = folder / draw.choice(("a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"))
    names = [
        "benign/benign (1).png",
        "benign/benign (1)_mask.png",
        draw.choice(
            ("../x.png", "/x.png", "a\0b.png", "a" * 300 + ".png", "C:\\x.png", "ok.png", "d/" * 90)
        ),
    ]
    picture = IMAGES[".png"](np.zeros((16, 16, 1), "u1"))
    stream = io.BytesIO()
    if path.suffix == ".zip":
        with zipfile.ZipFile(stream, "w") as made:
            for name in names:
                made.writestr(name, picture)
    else:
        mode: Any = {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix]
        with tarfile.open(fileobj=stream, mode=mode, format=tarfile.PAX_FORMAT) as packed:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(picture)
                if draw.random() < 0.2:
                    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                if draw.random() < 0.2:
                    info.pax_headers = {"path": draw.choice(("a\0b", "../x", "x" * 4000))}
                packed.addfile(info, io.BytesIO(picture))
    content = stream.getvalue()
    path.write_bytes(content if draw.random() < 0.3 else damaged(content, draw))
    return ["data", "prepare", "busi", str(path), "--out", "OUT"]


FAMILIES: dict[str, Callable[[Materials, Path, random.Random], Case]] = {
    "checkpoint": checkpoint,
    "resuming": resuming,
    "configuration": configuration,
    "analysis": analysis,
    "table": table,
    "image": image,
    "new image": new_image,
    "data set": data_set,
    "language model": language_model,
    "results": results,
    "archive": archive,
}
