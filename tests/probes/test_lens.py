"""The probe `lens`: its tables, its figures and its command."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused
from scipy.spatial.distance import jensenshannon
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn

import llm4seg_probe as lp
from llm4seg_probe.activations import nulls
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.drawing.style import COLUMN, arm_style
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.llm.vocabulary import Vocabulary
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.lens import LENS, LENS_WORDS
from llm4seg_probe.probes.lens import figure as lens_figure
from llm4seg_probe.probes.lens.table import lens_sentences, lens_table
from llm4seg_probe.randomness import generator
from llm4seg_probe.tables import read_table, write_table

WORDS = [" the", "\n", "$x$ _ ^", "中文字", "a word of great length indeed", "%s<b>"]


def vocabulary_of(unembedding):
    words = {f"w{number}": number for number in range(len(unembedding))}
    words["line\nbreak, and ' quote"] = words.pop("w1")
    return Vocabulary(
        source="made",
        norm=nn.Identity(),
        unembedding=unembedding,
        soft_cap=None,
        tokenizer=Tokenizer(WordLevel(words, unk_token="w0")),
    )


@pytest.fixture(scope="module")
def vocabulary():
    """Fifty words for the tiny model's width."""
    return vocabulary_of(torch.randn(50, 32, generator=generator("vocabulary")))


@pytest.fixture(scope="module")
def orthonormal():
    """Eight words, each a direction of its own, so long that a token is one word or another."""
    square = torch.randn(8, 8, generator=generator("orthonormal"))
    return vocabulary_of(30 * torch.linalg.qr(square).Q)


class Spoken(nn.Module):
    """A network that turns the number in a cell into the direction of the word of that number."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.speech = nn.Conv2d(8, 8, 1, bias=False)
        self.speech.weight = nn.Parameter((vocabulary.unembedding.mT / 30)[..., None, None])

    def forward(self, images):
        numbers = images[:, 0].round().long()
        return self.speech(nn.functional.one_hot(numbers, 8).movedim(-1, 1).float())[:, :1]


def spoken_batch(foreground, background, count=6, side=6):
    """Images whose cells are numbers: ``foreground`` within the mask, else ``background``."""
    source = generator("spoken")
    masks = torch.zeros(count, 1, side, side)
    for mask in masks:
        row, column = torch.randint(0, side - 2, (2,), generator=source).tolist()
        mask[:, row : row + 3, column : column + 2] = 1

    def drawn(words):
        return torch.tensor(words)[torch.randint(len(words), masks.shape, generator=source)]

    images = torch.where(masks > 0, drawn(foreground), drawn(background)).float()
    names = tuple(f"i{index}" for index in range(count))
    return Batch(images, masks, names, names)


@pytest.fixture
def spoken(run, orthonormal):
    return replace(run, network=Spoken(orthonormal), name="spoken")


def test_an_orthonormal_vocabulary_gives_its_own_words_back(spoken, orthonormal):
    assert orthonormal.logits(orthonormal.unembedding / 30).argmax(-1).tolist() == list(range(8))
    batch = spoken_batch([1], [4, 6])
    table, words = lens_table(spoken, [batch], orthonormal, ["speech"])
    own = table[table["null"] == ""]
    assert own["distance"].tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    assert own["entropy"].tolist() == pytest.approx([0.0] * 6, abs=1e-4)
    assert own["entropy_foreground"].tolist() == pytest.approx([0.0] * 6, abs=1e-4)
    assert own["entropy_background"].between(0.6, math.log(2) + 1e-4).all()
    found = words[(words["null"] == "") & (words["share"] > 0)]
    foreground = found[found["part"] == "foreground"]
    assert foreground["word_id"].tolist() == [1]
    assert foreground["word"].tolist() == [repr("line\nbreak, and ' quote")]
    assert foreground["share"].tolist() == [1.0]
    assert foreground["other_share"].tolist() == [0.0]
    assert foreground["probability"].tolist() == pytest.approx([1.0], abs=1e-4)
    background = found[found["part"] == "background"]
    numbers = batch.images[batch.masks == 0]
    shares = {n: (numbers == n).double().mean().item() for n in (4, 6)}
    assert dict(zip(background["word_id"], background["share"], strict=True)) == pytest.approx(
        shares
    )
    assert background["place"].tolist() == [1, 2]
    # Where the mask of another image lies, words are mixed; it holds six of 36 cells.
    assert 0 < foreground["exchanged_share"].item() < 0.9
    lent = words[(words["null"] == "other-image") & (words["part"] == "foreground")]
    by_chance = lent.set_index("word_id")["share"]
    assert foreground["exchanged_share"].item() == by_chance[1]
    assert words.loc[words["null"] != "", "exchanged_share"].isna().all()
    assert background["share"].is_monotonic_decreasing


def test_words_that_follow_the_mask_are_beyond_the_null_and_others_within(spoken, orthonormal):
    said = {}
    for name, foreground, background in (("apt", [1], [4, 6]), ("noise", [2, 3], [2, 3])):
        batch = spoken_batch(foreground, background)
        table, _ = lens_table(replace(spoken, name=name), [batch], orthonormal, ["speech"])
        (said[name],) = lens_sentences(table)
        null = table[table["null"] == "other-image"]
        assert sorted(null["draw"].unique()) == list(range(19))
        assert len(null) == 19 * 6
    assert said["apt"].startswith(
        "apt, speech: foreground and background are 1.000 apart in words, further than chance ("
    )
    assert said["apt"].endswith("p = 0.05).")
    assert "which is within the null (" in said["noise"]
    assert said["noise"].endswith("these words are noise.")


def test_the_table_is_that_of_a_computation_with_numpy_alone(run, some_batches, vocabulary):
    table, words = lens_table(run, some_batches, vocabulary, null_images=4, top=50)
    head = vocabulary.unembedding.double().numpy()
    counts = {part: np.zeros(50) for part in ("foreground", "background")}
    own = table[table["null"] == ""].set_index("image")
    for batch in some_batches:
        with torch.no_grad(), lp.record(run.network, ["layer"]) as recording:
            run.network(batch.images)
        assert recording.grid("layer") == (2, 2)
        logits = recording["layer"].double().numpy() @ head.T
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        masks = batch.masks.numpy()[:, 0].reshape(-1, 2, 16, 2, 16).mean((2, 4)) >= 0.5
        for name, tokens, inside in zip(batch.names, p, masks.reshape(-1, 4), strict=True):
            row = own.loc[name]
            entropies = -(tokens * np.log(tokens)).sum(-1)
            assert row["entropy"] == pytest.approx(entropies.mean(), rel=1e-4)
            best = tokens.argmax(-1)
            assert row["top_share"] == np.unique(best, return_counts=True)[1].max() / 4
            assert row["foreground"] == inside.sum()
            counts["foreground"] += np.bincount(best[inside], minlength=50)
            counts["background"] += np.bincount(best[~inside], minlength=50)
            if inside.any() and not inside.all():
                expected = jensenshannon(tokens[inside].mean(0), tokens[~inside].mean(0), base=2)
                assert row["distance"] == pytest.approx(expected, abs=1e-3)
            else:
                assert math.isnan(row["distance"])
    for part, rows in words[words["null"] == ""].groupby("part"):
        found = rows.set_index("word_id")["share"]
        expected = counts[part] / counts[part].sum()
        assert found.to_dict() == pytest.approx(dict(enumerate(expected)))


def test_null_bands_are_rows_of_their_own(run, some_batches, vocabulary, tiny_config, fingerprint):
    untrained = build_network(tiny_config.model_copy(update={"seed": 5}))
    before = fingerprint(run.network), fingerprint(untrained)
    table, words = lens_table(
        run, some_batches, vocabulary, ["tokens", "attention", "layer"],
        untrained=untrained, null_images=5, draws=3, top=4,
    )  # fmt: skip
    assert (fingerprint(run.network), fingerprint(untrained)) == before
    for _, rows in table.groupby("site"):
        assert rows["null"].value_counts().to_dict() == {
            "": 10, "other-image": 15, "shuffled": 5, "gaussian": 5, "untrained": 5
        }  # fmt: skip
    assert set(words["null"]) == {"", "other-image", "shuffled", "gaussian", "untrained"}
    assert words["place"].max() == 4
    layer = table[table["site"] == "layer"]
    # Whole tokens are exchanged: what they are read as on average stays.
    kept = layer[layer["image"].isin(layer.loc[layer["null"] == "shuffled", "image"])]
    means = kept.groupby("null")["entropy"].mean()
    assert means["shuffled"] == pytest.approx(means[""], rel=1e-5)
    assert means["untrained"] != pytest.approx(means[""], rel=1e-3)


@pytest.mark.parametrize("arm", ["llm-lora", "attention-only", "random-frozen"])
def test_other_arms_with_a_layer_are_read_too(arm, run, some_batches, vocabulary, tiny_config):
    network = build_network(tiny_config.model_copy(update={"arm": arm})).eval()
    other = replace(run, network=network, arm=arm)
    table, _ = lens_table(other, some_batches[:1], vocabulary, draws=1)
    assert set(table["arm"]) == {arm}
    assert table["entropy"].dropna().between(0, math.log(50) + 1e-5).all()


def test_both_tables_survive_their_files_and_the_same_call_gives_the_same(
    run, some_batches, vocabulary, tmp_path
):
    found = lens_table(run, some_batches, vocabulary, draws=2)
    again = lens_table(run, some_batches, vocabulary, draws=2)
    for table, twin, schema in zip(found, again, (LENS, LENS_WORDS), strict=True):
        assert table.equals(twin)
        write_table(table, tmp_path / schema.name, schema)
        assert table.equals(read_table(tmp_path / schema.name, schema))


def test_masks_go_to_images_of_other_groups_and_to_others_in_every_draw():
    names, groups = list("abcdef"), ["x", "x", "x", "y", "y", "z"]
    draws = [nulls.other_images(names, groups, "null", "exchanged", draw) for draw in range(30)]
    for draw in draws:
        for index, partner in enumerate(draw):
            assert groups[index] != groups[partner]
    assert len({tuple(draw) for draw in draws}) > 20
    assert nulls.other_images(names[:2], groups[:2], "null", "exchanged", 0) == [1, 0]


def test_what_cannot_be_read_is_said_in_one_line(
    run, plain_run, some_batches, vocabulary, orthonormal
):
    with pytest.raises(SiteError, match="there is no decoder layer in arm 'cnn', whose output"):
        lens_table(plain_run, some_batches, vocabulary)
    with pytest.raises(SiteError, match=r"'layer' of run llm-0 has 32 channels, but the words of "):
        lens_table(run, some_batches, orthonormal)
    with pytest.raises(SiteError, match=r"unknown site 'layr'\. Did you mean 'layer'"):
        lens_table(run, some_batches, vocabulary, ["layr"])
    first = some_batches[0]
    empty = replace(first, masks=torch.zeros_like(first.masks))
    with pytest.raises(DataError, match=r"no image that run llm-0 was probed on has any fore"):
        lens_table(run, [empty], vocabulary)


def test_one_image_has_no_null_and_its_words_no_meaning(run, some_batches, vocabulary):
    first = some_batches[0]
    one = Batch(first.images[:1], first.masks[:1], first.names[:1], first.groups[:1])
    table, _ = lens_table(run, [one], vocabulary)
    assert set(table["null"]) == {"", "gaussian"}
    (sentence,) = lens_sentences(table)
    assert sentence.endswith("with foreground tokens for a null; read nothing into them.")


def test_p_counts_the_draws_that_are_at_least_as_far_apart():
    rows = [("", 0, 0.5), *(("other-image", draw, 0.1 + 0.05 * draw) for draw in range(19))]
    table = pd.DataFrame(
        [
            {"run": "r", "site": "layer", "null": null, "draw": draw, "image": "i", "distance": d}
            for null, draw, d in rows
        ]
    )
    (sentence,) = lens_sentences(table)
    above = sum(0.1 + 0.05 * draw >= 0.5 for draw in range(19))
    assert f"p = {(1 + above) / 20:.2f})" in sentence
    assert "(0.100 to 1.000 with other images' masks" in sentence


@pytest.fixture(scope="module")
def distances():
    return distance_rows()


def distance_rows():
    rows = [
        {
            "run": f"{arm}-{seed}", "arm": arm, "seed": seed, "site": "layer", "null": null,
            "draw": draw, "image": image,
            "distance": base + 0.01 * seed + 0.002 * draw + (9 if image == "left out" else 0),
        }
        for arm in ("llm", "random-frozen") for seed in range(2)
        for null, base, draws in (("", 0.5, 1), ("other-image", 0.4, 19), ("gaussian", 0.2, 1))
        for draw in range(draws) for image in ("one", "two", *([] if null else ["left out"]))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def drawn_words():
    return word_rows()


def word_rows():
    rows = [
        {
            "run": f"{arm}-{seed}", "arm": arm, "seed": seed, "site": "layer", "null": null,
            "part": part, "place": place + 1, "word": repr(word),
            "share": (0.4 - 0.1 * place) if seed == 0 else 1.0,
            "exchanged_share": 0.05 if null == "" else float("nan"),
        }
        for arm in ("llm", "random-frozen") for seed in range(2) for null in ("", "gaussian")
        for part in lens_figure.PARTS for place, word in enumerate(WORDS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_dots_are_means_over_the_images_of_the_nulls(distances):
    figure = lens_figure.figure(distances)
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    (axes,) = figure.axes
    dots = {found.get_label(): found.get_offsets() for found in axes.collections}
    llm = dots[arm_style("llm").label]
    assert llm[:, 0].tolist() == pytest.approx([0.5, 0.51])
    exchanged = axes.patches[0]
    low, width = exchanged.get_x(), exchanged.get_width()
    assert (low, low + width) == pytest.approx((0.4, 0.446), abs=0.003)
    assert "Jensen-Shannon distance, 0 to 1" in axes.get_xlabel()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["other images' masks", "Gaussian tokens"]


def test_words_of_the_first_seed_are_drawn_as_they_can_be(drawn_words):
    figure = lens_figure.words_figure(drawn_words, top=6)
    assert len(figure.axes) == 4
    axes = figure.axes[0]
    assert axes.get_title("left") == f"{arm_style('llm').label}\nforeground"
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([40, 30, 20, 10])
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown[:3] == ["␣the", r"\n", "$x$␣_␣^"]
    assert shown[3].startswith(r"\u4e2d")
    marks = [line.get_paths()[0].vertices[0, 0] for line in axes.collections]
    assert marks == pytest.approx([5.0] * 4)
    figure.savefig(io.BytesIO(), format="svg")  # no glyph is missing, nothing is read as formula


def test_long_words_are_shortened():
    assert lens_figure.shown(repr("a word of great length indeed")) == "a␣word…␣indeed"


def test_the_command_writes_both_tables_and_says_what_they_are_worth(
    trained: dict[str, Path], spoken_llm: Path, tmp_path: Path
) -> None:
    given = ("--ckpt", trained["cnn-0"], "--ckpt", trained["llm-0"])
    given = (*given, "--source", spoken_llm, "--out", tmp_path)
    result = invoke("lens", *given)
    assert result.exit_code == 0, result.output
    assert "cnn-0 left out: there is no decoder layer in arm 'cnn'" in result.stderr
    table = read_table(tmp_path / "lens.csv", LENS)
    said = read_table(tmp_path / "lens-words.csv", LENS_WORDS)
    assert set(table["arm"]) == set(said["arm"]) == {"llm"}
    assert said["word"].str.fullmatch(r"'w\d+'").all()
    assert (table["dataset"] == said["dataset"].iloc[0]).all()
    *_, words_line, sentence = result.stdout.strip().splitlines()
    assert words_line == f"The words: {tmp_path / 'lens-words.csv'}"
    assert sentence.startswith("llm-0, layer: ")
    as_json = json.loads(invoke("lens", *given, "--json").stdout)
    assert as_json["words"] == str(tmp_path / "lens-words.csv")
    assert as_json["sentences"] == [sentence]
    assert len(as_json["rows"]) == len(table)
    assert all(Path(path).is_file() for path in as_json["figures"])


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    assert "no run is left to probe: there is no decoder layer in arm 'cnn'" in refused(
        "lens", "--ckpt", trained["cnn-0"], "--out", tmp_path
    )
    assert "holds no tokenizer.json" in refused(
        "lens", "--ckpt", trained["llm-0"], "--out", tmp_path
    )
    assert list(tmp_path.iterdir()) == []
