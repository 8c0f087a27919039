"""Perplexity and ifd of small models with random weights, compared with a plain loop over single tokens."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="a language model needs torch")
pytest.importorskip("transformers", reason="a language model needs transformers")

import torch

from gip_gpu.exceptions import CutTextWarning, MissingScoresWarning
from gip_gpu.signals.language_model import ifd, load_model, losses, model, perplexity
from gip_gpu.signals.language_model.tokens import PairTokens
from tests.support.command_line import posix
from tests.support.models import WORDS, small_model, word_tokenizer

RNG = np.random.default_rng(11)


def sentence(words: int) -> str:
    return " ".join(RNG.choice(WORDS, words))


PAIRS = [(sentence(int(a)), sentence(int(b))) for a, b in RNG.integers(1, 25, size=(40, 2))]


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def loaded(request: pytest.FixtureRequest) -> Any:
    return load_model(small_model(request.param), word_tokenizer())


def plain_loss(loaded: Any, context: list[int], answer: list[int]) -> float:
    """The mean loss of an answer in float64, a forward pass a token."""
    total = 0.0
    for i, token in enumerate(answer):
        ids = torch.tensor([context + answer[:i]])
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids).logits[0, -1].double()
        total -= float(logits.log_softmax(-1)[token])
    return total / len(answer)


def ids_of(loaded: Any, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_both_equal_a_plain_loop(loaded: Any) -> None:
    assert (loaded.head is None) == (loaded.name == "Gemma2ForCausalLM")
    pairs = PAIRS[:8]
    given = [plain_loss(loaded, [1, *ids_of(loaded, f"{p}\n")], ids_of(loaded, a)) for p, a in pairs]
    alone = [plain_loss(loaded, [1], ids_of(loaded, a)) for _, a in pairs]
    np.testing.assert_allclose(perplexity(pairs, loaded), np.exp(given), rtol=1e-4)
    np.testing.assert_allclose(perplexity([a for _, a in pairs], loaded), np.exp(alone), rtol=1e-4)
    np.testing.assert_allclose(ifd(pairs, loaded), np.divide(given, alone), rtol=1e-4)


def test_the_chat_template_surrounds_the_prompt(loaded: Any) -> None:
    pairs = PAIRS[:4]
    given = [plain_loss(loaded, [1, 3, *ids_of(loaded, p), 4], ids_of(loaded, a)) for p, a in pairs]
    np.testing.assert_allclose(perplexity(pairs, loaded, chat=True), np.exp(given), rtol=1e-4)


def test_batches_and_chunks_equal_single_rows(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    single = ifd(PAIRS, loaded, batch_tokens=1)
    for tokens in (60, 300, 10_000):
        np.testing.assert_allclose(ifd(PAIRS, loaded, batch_tokens=tokens), single, rtol=1e-5)
    # Three tokens' logits at a time.
    monkeypatch.setattr(model, "LOGITS_BYTES", 3 * 4 * 48)
    np.testing.assert_allclose(ifd(PAIRS, loaded, batch_tokens=300), single, rtol=1e-5)


def test_equal_rows_are_computed_once_and_equal(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = type(loaded).losses
    monkeypatch.setattr(type(loaded), "losses", lambda self, batch: sizes.append(len(batch)) or original(self, batch))
    found = perplexity([*PAIRS[:5], *PAIRS[:5]], loaded)
    assert sum(sizes) == 5
    assert (found[:5] == found[5:]).all()


def test_empty_answers_are_nan_with_a_note(loaded: Any) -> None:
    with pytest.warns(MissingScoresWarning, match=r"ifd is missing \(NaN\) in 2 of 3 rows, .* the first row 0"):
        found = ifd([("two", ""), ("two", "three"), ("", " ")], loaded)
    assert np.isnan(found).tolist() == [True, False, True]
    with pytest.warns(MissingScoresWarning, match="perplexity"):
        assert np.isnan(perplexity(["", ""], loaded)).all()


def test_without_a_prompt_the_ratio_is_one(loaded: Any) -> None:
    assert ifd([("", "two and three")], loaded).tolist() == [1.0]


def test_long_rows_keep_the_end_of_the_prompt_and_the_begin_of_the_answer(loaded: Any) -> None:
    prompt, answer = ids_of(loaded, sentence(100)), ids_of(loaded, sentence(100))
    words = {i: word for word, i in loaded.tokenizer.get_vocab().items()}
    pair = tuple(" ".join(words[i] for i in ids) for ids in (prompt, answer))
    with pytest.warns(CutTextWarning, match="perplexity is of the kept tokens in 1 of 1 rows"):
        found = perplexity([pair], loaded, max_length=21)
    np.testing.assert_allclose(found, math.exp(plain_loss(loaded, [1, *prompt[-10:]], answer[:10])), rtol=1e-4)
    with pytest.warns(CutTextWarning):
        found = perplexity([pair[1]], loaded, max_length=21)
    np.testing.assert_allclose(found, math.exp(plain_loss(loaded, [1], answer[:20])), rtol=1e-4)
    with pytest.warns(CutTextWarning):
        # By default the window of the model: 64 tokens.
        found = perplexity([pair[1]], loaded)
    np.testing.assert_allclose(found, math.exp(plain_loss(loaded, [1], answer[:63])), rtol=1e-4)


@pytest.mark.parametrize("longest", [3, 4, 5, 20, 21])
def test_cut_rows_always_fit(loaded: Any, longest: int) -> None:
    encoder = PairTokens(loaded.tokenizer, longest, 1, False)
    for prompt, answer in PAIRS:
        (scored,) = encoder.conditioned([(prompt, answer)])
        p, a = len(ids_of(loaded, prompt)), len(ids_of(loaded, answer))
        assert scored.cut == (1 + p + a > longest)
        assert len(scored) == min(longest, 1 + p + a)
        assert len(scored.target) >= min(a, (longest - 1) // 2)
        assert len(scored.context) - 1 >= min(p, (longest - 1) // 2)


def test_a_tokenizer_without_bos_begins_with_eos() -> None:
    loaded = load_model(small_model(), word_tokenizer(bos=False))
    wanted = math.exp(plain_loss(loaded, [2], ids_of(loaded, "two and three")))
    np.testing.assert_allclose(perplexity(["two and three"], loaded), [wanted], rtol=1e-4)
    loaded.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither a BOS nor an EOS"):
        perplexity(["two"], loaded)


def test_a_resumed_run_computes_only_what_is_missing(
    loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, wanted = tmp_path / "losses.jsonl", ifd(PAIRS, loaded, batch_tokens=100)
    batches: list[int] = []
    original = type(loaded).losses

    def counted(self: Any, batch: Any) -> Any:
        if len(batches) == 5:
            raise KeyboardInterrupt
        batches.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(type(loaded), "losses", counted)
    runs = 0
    while True:
        batches.clear()
        runs += 1
        try:
            found = ifd(PAIRS, loaded, batch_tokens=100, resume=file)
            break
        except KeyboardInterrupt:
            assert runs < 20
    assert runs > 3
    np.testing.assert_array_equal(found, wanted)
    # A batch of which a kill has cut a line off is computed again, as a whole.
    lines = file.read_bytes()
    file.write_bytes(lines[:-7])
    batches.clear()
    np.testing.assert_array_equal(ifd(PAIRS, loaded, batch_tokens=100, resume=file), wanted)
    assert len(batches) == 1
    # Perplexity uses the same losses.
    batches.clear()
    perplexity(PAIRS, loaded, batch_tokens=100, resume=file)
    assert batches == []


JOB = """
import sys
import numpy as np
from gip_gpu.signals.language_model import perplexity
folder, out = sys.argv[1:]
texts = open(folder + "/texts.txt").read().splitlines()
np.save(out, perplexity(texts, folder, device="cpu", batch_tokens=60, resume=folder + "/losses.jsonl"))
"""


@posix
@pytest.mark.slow
def test_a_killed_run_computes_at_most_one_batch_again(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    texts = list(dict.fromkeys(sentence(20) for _ in range(300)))
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    file, command = tmp_path / "losses.jsonl", [sys.executable, "-c", JOB, str(tmp_path), str(tmp_path / "out.npy")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not file.exists() or file.stat().st_size < 2_000:
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    assert not (tmp_path / "out.npy").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    # Two sequences of 21 tokens a batch; the first line is the header.
    assert len(texts) <= file.read_text().count("\n") - 1 <= len(texts) + 2
    wanted = perplexity(texts, tmp_path, device="cpu", batch_tokens=60)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    file = tmp_path / "losses.jsonl"
    own = small_model()
    first = perplexity(PAIRS, own, tokenizer=word_tokenizer(), resume=file)
    with torch.no_grad():
        own.model.layers[1].mlp.up_proj.weight.mul_(1.01)
    second = perplexity(PAIRS, own, tokenizer=word_tokenizer(), resume=file)
    assert (first != second).all()


def test_bfloat16_is_near() -> None:
    wanted = perplexity(PAIRS, small_model(), tokenizer=word_tokenizer())
    found = perplexity(PAIRS, small_model().to(torch.bfloat16), tokenizer=word_tokenizer())
    np.testing.assert_allclose(np.log(found), np.log(wanted), rtol=0.05)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'pip install "gip_gpu\[lm\]"'):
        perplexity(["a"], "some/model")


def test_batches_hold_all_rows_once() -> None:
    lengths = RNG.integers(1, 100, size=200).tolist()
    made = losses.batches(lengths, 250)
    assert sorted(i for batch in made for i in batch) == list(range(200))
    for batch in made:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 250
    assert len(made) < 80


def test_a_model_from_a_folder(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path / "model")
    word_tokenizer().save_pretrained(tmp_path / "model")
    wanted = perplexity(PAIRS[:3], small_model(), tokenizer=word_tokenizer())
    np.testing.assert_allclose(perplexity(PAIRS[:3], tmp_path / "model", device="cpu"), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: perplexity("text", m), TypeError, "examples is a str"),
        (lambda m: perplexity([], m), ValueError, "examples is empty"),
        (lambda m: perplexity([3], m), TypeError, r"examples\[0\] is 3"),
        (lambda m: ifd(["text"], m), TypeError, r"examples\[0\] is 'text'"),
        (lambda m: ifd([("a", "b", "c")], m), TypeError, r"examples\[0\]"),
        (lambda m: perplexity(["a"], m, max_length=65), ValueError, "window of .* is 64"),
        (lambda m: perplexity(["a"], m, max_length=2), ValueError, "max_length is 2"),
        (lambda m: perplexity(["a"], m, batch_tokens=1.5), TypeError, "batch_tokens is 1.5"),
        (lambda m: perplexity(["a"], m, chat=1), TypeError, "chat is 1"),
        (lambda m: perplexity(["a"], m.model), TypeError, "tokenizer=its tokenizer"),
        (lambda m: perplexity(["a"], "none.gguf"), ValueError, "there is no such file"),
        (lambda m: perplexity(["a"], "./no/such/folder"), ValueError, "cannot load the language model"),
        (lambda m: perplexity(["a"], "x", dtype="int8"), ValueError, "dtype is 'int8'"),
    ],
)
def test_bad_arguments_are_named(loaded: Any, call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(loaded)
