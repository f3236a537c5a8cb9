"""Any Hugging Face encoder as backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.libraries import transformers
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_sequences.models.tokens import Context, TokenInput, sequence_shape, tokens_of


class HuggingFaceEncoder(nn.Module):
    """A masked language model or encoder of ``transformers``, made a network of time.

    Its own positions, attention and layers are used; tokens (or simplex points) come in as embeddings, to
    which the embedding of time and conditions is added, and a linear layer reads logits from the last hidden
    state. Works with every architecture that takes ``inputs_embeds`` and ``attention_mask`` (BERT, RoBERTa,
    DistilBERT, ModernBERT, ESM ...).

    Args:
        spec: of the states: tokens ``(L,)`` or rows ``(L, K)``.
        config: a new network with random weights: ``model_type`` (``bert``, ``esm`` ...) and settings of its
            configuration, such as ``hidden_size``.
        pretrained: a local folder (or hub name) of trained weights instead. Its token embeddings are taken
            over where it knows at least as many tokens as the data.
    """

    conditional = True
    # Attention kernels and caches differ by architecture; none is promised to allow forward derivatives.
    jvp_safe = False

    def __init__(
        self, spec: Spec, config: Mapping[str, Any] | None = None, pretrained: str | None = None
    ) -> None:
        super().__init__()
        library = transformers()
        if (config is None) == (pretrained is None):
            raise IncompatibleError(
                "hugging-face takes either config: {model_type: bert, ...} or pretrained: FOLDER"
            )
        self.spec = spec
        self.length, self.vocab = sequence_shape(spec, "hugging-face")
        if config is not None:
            settings = {"vocab_size": self.vocab + 1, **config}
            kind = settings.pop("model_type", None)
            if kind is None:
                raise IncompatibleError("config needs model_type, such as bert, distilbert or esm")
            body: Any = library.AutoModel.from_config(library.AutoConfig.for_model(str(kind), **settings))
        else:
            assert pretrained is not None
            try:
                body = library.AutoModel.from_pretrained(
                    pretrained, local_files_only=Path(pretrained).is_dir()
                )
            except (OSError, ValueError) as error:
                first = str(error).strip().splitlines()[0]
                raise IncompatibleError(f"cannot load encoder {pretrained!r}: {first}") from error
        if getattr(body, "pooler", None) is not None:
            # The pooled vector is never used, and weights without gradients stall distributed training.
            body.pooler = None
        limit = getattr(body.config, "max_position_embeddings", None)
        if limit is not None and limit < self.length:
            raise IncompatibleError(
                f"this encoder reads {limit} positions, the data has {self.length} tokens"
            )
        self.body: nn.Module = body
        table: nn.Embedding = body.get_input_embeddings()
        width = table.weight.shape[1]
        self.embed = TokenInput(self.vocab, width, std=0.02)
        if pretrained is not None and table.weight.shape[0] >= self.vocab:
            with torch.no_grad():
                self.embed.table.weight[: self.vocab] = table.weight[: self.vocab]
        # The body never looks at ids, so its own table would be dead weight that gets no gradient.
        body.set_input_embeddings(nn.Embedding(1, width))
        body.get_input_embeddings().weight.requires_grad_(False)
        self.context = Context(spec, width)
        self.out = nn.Linear(int(body.config.hidden_size), self.vocab)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """States ``(B, L)`` or ``(B, L, K)`` and times ``(B,)`` or ``(B, L)`` to logits ``(B, L, K)``."""
        x = tokens_of(x, self.length, "hugging-face encoder")
        assert isinstance(t, Tensor)
        embedded = self.embed(x)
        embedded = embedded + F.silu(self.context(t, cond, embedded.dtype))
        mask = (Layout.of(self.spec, cond) or Layout()).real
        seen = torch.ones(x.shape[:2], dtype=torch.long, device=x.device) if mask is None else mask.long()
        return self.out(self.body(inputs_embeds=embedded, attention_mask=seen).last_hidden_state)
