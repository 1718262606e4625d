"""A network that gives no numbers predicted nothing at all, not an empty mask."""

import dataclasses
import math

import pytest
import torch

from llm4seg_probe.config import Config
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.measures.segmentation import segmentation_scores
from llm4seg_probe.models.heads import answers, decided, no_answer
from llm4seg_probe.training.scoring import without

SOFTMAX = Config.model_validate(
    {"training": {"output": "softmax"}, "data": {"classes": ["a", "b"]}}
)


@pytest.mark.parametrize(("config", "channels"), [(Config(), 1), (SOFTMAX, 3)])
@pytest.mark.parametrize("where", [slice(None), (slice(None), slice(None), 3, 5)])
def test_nan_is_no_mask(config, channels, where):
    logits = torch.randn(2, channels, 8, 8)
    logits[1][where[1:] if isinstance(where, tuple) else where] = math.nan
    assert no_answer(logits, config).any(1).tolist() == [False, True]
    with pytest.raises(TrainingError, match=r"gives no numbers \(NaN\) for 1 of 2 image"):
        decided(logits, config)
    assert torch.equal(decided(logits[:1], config), answers(logits, config)[0][:1])


def test_infinite_logits_are_decisions():
    logits = torch.tensor([math.inf, -math.inf]).reshape(1, 1, 1, 2)
    assert decided(logits, Config()).flatten().tolist() == [True, False]


def test_no_answer_has_no_score_even_where_there_is_nothing_to_find():
    logits = torch.full((1, 1, 8, 8), math.nan)
    truth = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    masks, missing = answers(logits, Config())
    scores = without(segmentation_scores(masks, truth), missing)
    numbers = {name: value.item() for name, value in scores.items() if name != "empty"}
    assert numbers.pop("area") == 0
    assert all(math.isnan(value) for value in numbers.values())
    assert scores["empty"] == [[""]]


def test_scores_of_a_run_leave_the_image_out_and_say_so(tiny_data, tiny_config, capfd):
    from llm4seg_probe.data.datasets import open_collection
    from llm4seg_probe.training.scoring import score

    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.calls = 0

        def forward(self, x):
            logits = x[:, :1] * 0
            self.calls += 1
            return logits + (math.nan if self.calls == 1 else 1.0)

    collection = open_collection(str(tiny_data))
    config = tiny_config.model_copy(
        update={"training": tiny_config.training.model_copy(update={"batch_size": 1})}
    )
    samples = collection.samples[:2]
    rows = score(Broken(), config, dataclasses.replace(collection), samples, "the-run")
    assert math.isnan(rows[0]["iou"])
    assert math.isnan(rows[0]["hd95"])
    assert not math.isnan(rows[1]["iou"])
    said = capfd.readouterr().err
    assert f"run the-run: the network gives no numbers (NaN) for {samples[0].image}" in said
