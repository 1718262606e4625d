"""A language model's way from its last layer to words: final norm, unembedding, tokenizer.

The layers are cut out of the model and never see it. Only the vocabulary lens reads what stands
here, by name, out of the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.architectures import config_from, shapes_of, skeleton
from llm4seg_probe.llm.sources import Source, open_source
from llm4seg_probe.llm.stored_weights import read_config, stored_weights
from llm4seg_probe.reading.bounds import as_error, refuse_more

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The map from a residual stream of width W to scores of V words.

    ``unembedding`` (V, W) is the embedding where the model ties the two. ``soft_cap`` bounds the
    logits of the models that have one.
    """

    source: str
    norm: nn.Module
    unembedding: Tensor
    soft_cap: float | None
    tokenizer: Tokenizer

    @property
    def size(self) -> int:
        """Number of words."""
        return len(self.unembedding)

    @property
    def width(self) -> int:
        """Channels of a token inside the language model."""
        return self.unembedding.shape[1]

    @torch.no_grad()
    def logits(self, stream: Tensor) -> Tensor:
        """Logits (…, V) in float32 of tokens (…, W) that leave a layer: those of the full model."""
        logits: Tensor = self.norm(stream.float()) @ self.unembedding.mT
        if self.soft_cap is not None:
            logits = self.soft_cap * torch.tanh(logits / self.soft_cap)
        return logits

    def words(self, ids: Sequence[int]) -> list[str]:
        """The words of some ids as text, as they stand in a sentence; '' where one has none."""
        return [self.tokenizer.decode([number], skip_special_tokens=False) for number in ids]


def read_vocabulary(name: str) -> Vocabulary:
    """Read the vocabulary of a source, in float32: no layer, and the shards that hold it alone.

    For a billion parameters with 128,000 words this takes 1 GB of memory. Raises SourceError
    when the source cannot be had, or holds no tokenizer or no unembedding.
    """
    source = open_source(name)
    config = config_from(read_config(source), source.name)
    stored = stored_weights(source)
    norm = skeleton(config, (1,)).norm
    read = stored.final_norm(shapes_of(norm))
    norm.load_state_dict({key: tensor.float() for key, tensor in read.tensors.items()}, assign=True)
    shape = torch.Size((config.vocab_size, config.hidden_size))
    return Vocabulary(
        source=source.name,
        norm=norm.eval().requires_grad_(False),
        unembedding=stored.unembedding(shape, tied=config.tie_word_embeddings).float(),
        soft_cap=getattr(config, "final_logit_softcapping", None),
        tokenizer=_tokenizer(source),
    )


def _tokenizer(source: Source) -> Tokenizer:
    from tokenizers import Tokenizer

    path: Path | None = source.file(TOKENIZER)
    if path is None:
        raise SourceError(
            f"{source.name} holds no {TOKENIZER}, which says what its words are; save the model's "
            "tokenizer there (AutoTokenizer.from_pretrained(…).save_pretrained(folder))"
        )
    with as_error(path, SourceError, "is not a readable tokenizer"):
        size = path.stat().st_size
        refuse_more("table", size, f"{path}: has {size:,} bytes", SourceError)
        return Tokenizer.from_file(str(path))
