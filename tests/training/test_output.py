import pytest
import torch
from torch import Tensor

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.models.heads import class_logits, decided, output_channels, probabilities
from llm4seg_probe.probes.maps.gallery import predicted_labels
from llm4seg_probe.yaml_files import validated


def config(output: str, threshold: float = 0.5) -> Config:
    return Config.model_validate(
        {
            "data": {"classes": ["a", "b"]},
            "training": {"output": output},
            "evaluation": {"threshold": threshold},
        }
    )


def of(*pixels: list[float]) -> Tensor:
    """Logits of one image with a row of pixels, one list of channels for each."""
    return torch.tensor(pixels).T[None, :, None]


def test_channels_are_the_classes_and_with_softmax_the_background() -> None:
    assert output_channels(config("sigmoid")) == 2
    assert output_channels(config("softmax")) == 3


def test_sigmoid_classes_decide_for_themselves() -> None:
    logits = of([1.0, 2.0], [-1.0, 0.1], [-1.0, -2.0])
    assert decided(logits, config("sigmoid"))[0, :, 0].T.tolist() == [
        [True, True], [False, True], [False, False],
    ]  # fmt: skip
    strict = decided(logits, config("sigmoid", threshold=0.8))  # a logit of ln 4
    assert strict[0, :, 0].T.tolist() == [[False, True], [False, False], [False, False]]
    assert predicted_labels(logits, config("sigmoid")).tolist() == [[[2, 2, 0]]]
    assert class_logits(logits, config("sigmoid")) is logits


def test_the_most_probable_of_exclusive_classes_wins_also_below_a_half() -> None:
    logits = of([0.0, 0.2, 0.1], [0.0, 0.1, 0.2], [0.3, 0.2, 0.1], [0.0, 0.0, 0.0])
    masks = decided(logits, config("softmax"))
    assert masks.shape == (1, 2, 1, 4)
    assert masks[0, :, 0].T.tolist() == [[True, False], [False, True], [False] * 2, [False] * 2]
    assert predicted_labels(logits, config("softmax")).tolist() == [[[1, 2, 0, 0]]]


@pytest.mark.parametrize("grid", [(5, 4), (3, 4, 5)])
def test_the_sigmoid_of_class_logits_is_the_probability(grid: tuple[int, ...]) -> None:
    logits = 4 * torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(0))
    softmax = config("softmax")
    found = probabilities(logits, softmax)
    assert found.shape == (2, 2, *grid)
    torch.testing.assert_close(found, logits.softmax(1)[:, 1:])
    torch.testing.assert_close(class_logits(logits, softmax).sigmoid(), found)
    both = logits[:, 1:]
    torch.testing.assert_close(probabilities(both, config("sigmoid")), both.sigmoid())


def test_a_binary_softmax_is_a_sigmoid_of_the_difference() -> None:
    one = Config.model_validate({"training": {"output": "softmax"}})
    logits = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(class_logits(logits, one), logits[:, 1:] - logits[:, :1])


def test_a_threshold_has_no_meaning_with_softmax() -> None:
    values = {"training": {"output": "softmax"}, "evaluation": {"threshold": 0.3}}
    with pytest.raises(ConfigError, match=r"is 0\.3, but training\.output is 'softmax'"):
        validated(values, Config, "run.yaml")
