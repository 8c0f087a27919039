"""Causal language models of transformers: loading, identity, and losses with little memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.signals.language_model.tokens import Scored
from gip_gpu.system.files import AnyPath, suffix_of
from gip_gpu.validation.settings import one_of

MISSING_EXTRA = 'a language model needs torch and transformers: pip install "gip_gpu[lm]"'
DTYPES = ("auto", "float32", "bfloat16", "float16")
# Bytes of float32 logits computed at a time.
LOGITS_BYTES = 1 << 26
# Values of each weight tensor that identify it.
SAMPLE = 64
# Relative difference of logits above which the model does more after its head than a product.
ALIKE = 0.02
# Tokens of the check of the head.
PROBE = 16


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model, ready to compute losses.

    Attributes:
        model, tokenizer: of transformers.
        name: for messages.
        identity: depends on the architecture, the dtype and samples of all weights.
        head: the output layer, applied to hidden states in chunks; None if logits are more than its product, such as
            with soft caps: then the model computes them itself, in small batches.
    """

    model: Any
    tokenizer: Any
    name: str
    identity: str
    head: Any

    @property
    def start(self) -> int:
        """The token that begins a sequence: BOS, or EOS; ValueError without either."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ValueError(f"the tokenizer of {self.name} has neither a BOS nor an EOS token to begin a sequence with")

    @property
    def window(self) -> int | None:
        """Most positions of the model; None if it states none."""
        found = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(found) if isinstance(found, int) and found > 0 else None

    def losses(self, batch: Sequence[Scored]) -> NDArray[np.float64]:
        """Returns the summed negative log likelihood of each sequence's target, in nats, (len(batch),) float64."""
        import torch

        longest = max(map(len, batch))
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, scored in enumerate(batch):
            ids[row, : len(scored)] = torch.tensor(scored.context + scored.target)
        # The state before a token predicts it.
        places = [(row, at) for row, s in enumerate(batch) for at in range(len(s.context) - 1, len(s) - 1)]
        rows, at = torch.tensor(places, dtype=torch.long).T
        targets = ids[rows, at + 1]
        device = self.model.device
        total = torch.zeros(len(batch), dtype=torch.float64)
        with torch.inference_mode():
            # No mask: tokens attend to earlier ones only, and the padding comes last.
            states = self._states(ids.to(device))[rows.to(device), at.to(device)]
            step = max(1, LOGITS_BYTES // (4 * self.vocabulary))
            for first in range(0, len(targets), step):
                part = slice(first, first + step)
                logits = states[part] if self.head is None else self.head(states[part])
                found = torch.nn.functional.cross_entropy(logits.float(), targets[part].to(device), reduction="none")
                total.index_add_(0, rows[part], found.cpu().double())
        return np.asarray(total.numpy())

    def _states(self, ids: Any) -> Any:
        """Returns the hidden states that the head takes, or the logits without a head."""
        if self.head is None:
            return self.model(input_ids=ids, use_cache=False).logits
        return self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state

    @property
    def vocabulary(self) -> int:
        """Number of logits of a token."""
        return int(self.model.get_output_embeddings().weight.shape[0])


def load_model(model: Any, tokenizer: Any = None, *, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """Loads a causal language model.

    Args:
        model: name or folder as for transformers, path of a .gguf file, a model of transformers, or a `LanguageModel`.
        tokenizer: required with a model of transformers, else loaded from the place of the model.
        device: "auto" is the first CUDA device, or the CPU; or as for torch.
        dtype: "auto" is bfloat16 on CUDA devices and float32 on the CPU; "float32", "bfloat16" or "float16".

    Raises:
        TypeError, ValueError: an argument is of another type or not known; there is no such model.
        ImportError: torch or transformers, or for .gguf files gguf or accelerate, is missing.
    """
    if isinstance(model, LanguageModel):
        return model
    one_of("dtype", dtype, DTYPES)
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ImportError(f"{MISSING_EXTRA} ({error})") from error
    if not isinstance(model, (str, os.PathLike)):
        if tokenizer is None or not hasattr(model, "get_output_embeddings"):
            raise TypeError(
                f"model is a {type(model).__name__}; it must be a name or path, or a model of transformers with "
                "tokenizer=its tokenizer"
            )
        return _checked(model.eval(), tokenizer, type(model).__name__)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    kind = getattr(torch, ("bfloat16" if place.type == "cuda" else "float32") if dtype == "auto" else dtype)
    name, options = _place(model)
    try:
        tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(name, **options)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=kind, **options)
    except ImportError as error:
        raise ImportError(f'cannot load {model}: {error}; pip install "gip_gpu[lm]"') from error
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"cannot load the language model {model}: {' '.join(str(error).split())}") from error
    return _checked(loaded.to(place).eval(), tokenizer, os.fspath(model))


def _place(model: AnyPath) -> tuple[str, dict[str, str]]:
    """Returns the name or folder and the options of from_pretrained."""
    if suffix_of(model) != ".gguf":
        return os.fspath(model), {}
    path = Path(model)
    if not path.is_file():
        raise ValueError(f"cannot load the language model {model}: there is no such file")
    return str(path.parent), {"gguf_file": path.name}


def _checked(model: Any, tokenizer: Any, name: str) -> LanguageModel:
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{name} has no output layer; it must be a causal language model")
    return LanguageModel(model, tokenizer, name, _identity(model), head if _is_product(model, head) else None)


def _is_product(model: Any, head: Any) -> bool:
    """Returns whether the logits are the output layer's product with the last hidden states."""
    import torch

    ids = torch.arange(PROBE, device=model.device)[None] % head.weight.shape[0]
    with torch.inference_mode():
        wanted = model(input_ids=ids, use_cache=False).logits.float()
        states = getattr(model.base_model(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if states is None or states.shape[-1] != head.weight.shape[1]:
            return False
        found = head(states).float()
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= ALIKE * wanted.abs().max())


def _identity(model: Any) -> str:
    """Returns 128 bits of the names, shapes, dtypes and some values of all weights."""
    digest = blake2b(digest_size=16)
    for name, weight in sorted(model.named_parameters()):
        values = weight.detach().reshape(-1)
        sample = values[:: max(1, len(values) // SAMPLE)][:SAMPLE].float().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(np.ascontiguousarray(sample, "<f4").tobytes())
    return digest.hexdigest()
