"""Perplexity and ifd of a real model on rows of GSM8K: batches, order, the formula."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gip_gpu.signals.language_model import ifd, load_model, perplexity
from tests.support.models import smollm2
from tests.support.paths import REAL_DATA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(smollm2(), device="cpu")


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    """The eight shortest of the first 200 rows."""
    path = REAL_DATA / "gsm8k_train.jsonl"
    if not path.exists():
        pytest.skip(f"real data: {path.name} is not in ../shared/data (or in $GIP_GPU_DATA)")
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(200), strict=False)]
    found = sorted(((row["question"], row["answer"]) for row in rows), key=lambda pair: len("".join(pair)))
    return found[:8]


def test_batches_equal_single_rows_and_a_plain_loop(model: Any, pairs: list[tuple[str, str]]) -> None:
    import torch

    def loss(context: str, answer: str) -> float:
        """transformers' own mean loss of the answer's tokens."""
        start = [model.start, *model.tokenizer(context, add_special_tokens=False)["input_ids"]]
        ids = torch.tensor([start + model.tokenizer(answer, add_special_tokens=False)["input_ids"]])
        labels = ids.clone()
        labels[0, : len(start)] = -100
        with torch.inference_mode():
            return float(model.model(input_ids=ids, labels=labels).loss)

    given = np.array([loss(f"{prompt}\n", answer) for prompt, answer in pairs])
    alone = np.array([loss("", answer) for _, answer in pairs])
    together = perplexity(pairs, model)
    single = perplexity(pairs, model, batch_tokens=1)
    np.testing.assert_allclose(np.log(together), np.log(single), rtol=1e-4)
    np.testing.assert_allclose(np.log(together), given, rtol=1e-4)
    np.testing.assert_allclose(ifd(pairs, model), given / alone, rtol=1e-4)
    # A question helps with its answer.
    assert (given < alone).all()


def test_the_order_of_losses(model: Any, pairs: list[tuple[str, str]]) -> None:
    prompt, answer = pairs[0]
    shuffled = " ".join(np.random.default_rng(1).permutation(answer.split()))
    sensible, scrambled, other = perplexity([(prompt, answer), (prompt, shuffled), (pairs[1][0], answer)], model)
    assert 1 < sensible < scrambled
    assert sensible < other
    own, foreign = ifd([(prompt, answer), (pairs[1][0], answer)], model)
    assert own < foreign
    plain, odd = perplexity(["The cat sat on the mat.", "mat. The the on sat cat"], model)
    assert plain < odd


def test_the_chat_template_suits_the_model(model: Any, pairs: list[tuple[str, str]]) -> None:
    found = perplexity(pairs[:2], model, chat=True)
    assert ((found > 1) & (found < 30)).all()
