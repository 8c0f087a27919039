"""Encoders of sentence-transformers, and of any transformer by the mean of its last hidden states."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.embedding.encoder import BatchLimits
from gip_gpu.system.launched import local_rank

# Files of a model's folder that decide its vectors.
CONTENT = (".json", ".safetensors", ".bin", ".txt", ".model", ".gguf", ".jinja")
# Characters of a token, for the size of a batch; English has about 4.
CHARACTERS = 4
# Tokens of a batch, padded, and texts of a batch on a CPU and on a GPU.
TOKENS, ON_CPU, ON_GPU = 1 << 15, 32, 128
DTYPES = ("auto", "fp32", "bf16", "fp16")


class SentenceEncoder:
    """Vectors by a model of sentence-transformers, or by the mean of the last hidden states of any other transformer,
    as in arXiv 2603.13790.

    Args:
        model: folder of the model, or its name on the Hugging Face hub.
        max_tokens: tokens after which a text is cut off; the model's own limit, if it is smaller.
        device: "auto" (a GPU if there is one, under torchrun that of the process), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (bf16 on a GPU, else fp32), "fp32", "bf16" or "fp16".
        batch_size: most texts in a batch; None for 32 on a CPU and 128 on a GPU.

    Raises:
        ImportError: sentence-transformers is missing.
        ValueError: there is no such model, or a setting is unknown.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        max_tokens: int = 2048,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it must be {', '.join(DTYPES)}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}; it must be a count, such as 2048")
        name = os.fspath(model)
        torch, transformers, sentence_transformers = _load()
        if device == "auto":
            device = f"cuda:{local_rank()}" if torch.cuda.is_available() else "cpu"
        on_gpu = not device.startswith("cpu")
        kind = dtype if dtype != "auto" else "bf16" if on_gpu else "fp32"
        with _quiet(transformers):
            try:
                plain = not sentence_transformers.util.is_sentence_transformer_model(name)
                self.model = sentence_transformers.SentenceTransformer(name, device=device)
            except (OSError, ValueError, RuntimeError, AttributeError) as error:
                what = "the folder" if os.path.isdir(name) else "there is no such folder, and as a name on the hub"
                raise ValueError(
                    f"encoder {name!r}: {what}: {str(error).splitlines()[0]}; it must be hashing, a model's folder, or "
                    "its name on the hub"
                ) from error
        self.model = self.model.to({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]).eval()
        if plain:
            self._take_mean()
        own = self.model.max_seq_length
        self.max_tokens = max_tokens if own is None else min(int(own), max_tokens)
        self.model.max_seq_length = self.max_tokens
        self.width = int(self.model.encode(["a"], convert_to_numpy=False, show_progress_bar=False)[0].shape[-1])
        texts = batch_size or (ON_GPU if on_gpu else ON_CPU)
        self.batch = BatchLimits(texts, CHARACTERS * TOKENS, 2 * CHARACTERS * self.max_tokens)
        self.identity = json.dumps(
            {
                "model": _content(name) if os.path.isdir(name) else [name, self._revision()],
                "modules": str(self.model),
                "max_tokens": self.max_tokens,
                "dtype": kind,
            },
            sort_keys=True,
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors, (texts, width) float32."""
        found = self.model.encode(
            list(texts), batch_size=max(1, len(texts)), convert_to_tensor=True, show_progress_bar=False
        )
        vectors: NDArray[np.float32] = found.float().cpu().numpy()
        return vectors

    def _take_mean(self) -> None:
        """Makes the mean of the last hidden states the vector; of a language model the library takes the last one."""
        tokenizer = self.model.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        # Positions count from the left, whatever is masked there.
        tokenizer.padding_side = "right"
        states = self.model.encode(["a"], output_value="token_embeddings", show_progress_bar=False)[0]
        self.model[1] = type(self.model[1])(int(states.shape[-1]), "mean")

    def _revision(self) -> str | None:
        config = getattr(getattr(self.model[0], "auto_model", None), "config", None)
        return getattr(config, "_commit_hash", None)


def _load() -> tuple[Any, Any, Any]:
    try:
        import sentence_transformers
        import torch
        import transformers
    except ImportError as error:
        raise ImportError(
            f'an encoder that is a model needs sentence-transformers: pip install "gip_gpu[embed]" ({error})'
        ) from error
    return torch, transformers, sentence_transformers


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Hides the bar of loaded weights, and the report that a model has a head which is not needed here."""
    logging = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _content(folder: str) -> str:
    """Returns a fingerprint of the files of a model."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix in CONTENT:
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()
