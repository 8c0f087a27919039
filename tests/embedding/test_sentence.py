"""Encoders that are models: the one that a package carries, and small ones made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gip_gpu.embedding import embed, load_encoder
from gip_gpu.records import Texts, open_records
from tests.support.data_sets import minilm
from tests.support.paths import REAL_DATA

# Importing sentence-transformers takes seconds.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TEXTS = ["two apples", "a train leaves at noon and arrives much later than it should", "", "apples", "x " * 3000]


def tiny_model(folder: Path, *, causal: bool) -> Path:
    """Saves a transformer with random weights and a tokenizer of whole words, without a padding token if causal."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[PAD]", "[UNK]", "[EOS]", *" ".join(TEXTS).split()]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(words))}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    names = {"unk_token": "[UNK]", "eos_token": "[EOS]"}
    if causal:
        config = transformers.LlamaConfig(
            **sizes, num_attention_heads=2, max_position_embeddings=4096, eos_token_id=2, bos_token_id=None
        )
        model = transformers.LlamaForCausalLM(config)
        padding = {"padding_side": "left"}
    else:
        config = transformers.BertConfig(**sizes, num_attention_heads=2, max_position_embeddings=64, pad_token_id=0)
        model = transformers.BertModel(config)
        padding = {"pad_token": "[PAD]"}
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names, **padding).save_pretrained(folder)
    return folder


def test_the_packaged_encoder_agrees_with_stored_vectors(tmp_path: Path) -> None:
    stored, rows = REAL_DATA / "gsm8k_minilm_f16.npy", REAL_DATA / "gsm8k_train.jsonl"
    if not stored.exists():
        pytest.skip("real data: gsm8k_minilm_f16.npy is not in ../shared/data (or in $GIP_GPU_DATA)")
    # The ends of the file, and its longest rows, which are cut off.
    lines = rows.read_text().splitlines()
    chosen = [0, 1, 2, 7472, *sorted(range(len(lines)), key=lambda i: -len(lines[i]))[:4]]
    (tmp_path / "a.jsonl").write_text("".join(lines[i] + "\n" for i in chosen))
    texts = Texts(open_records(tmp_path / "a.jsonl"))
    encoder = load_encoder(minilm())
    assert (encoder.width, encoder.max_tokens) == (384, 256)  # type: ignore[attr-defined]
    embed(texts, len(chosen), "f", encoder, tmp_path / "v.npy")
    made, wanted = np.load(tmp_path / "v.npy").astype(np.float64), np.load(stored)[chosen].astype(np.float64)
    assert ((made * wanted).sum(axis=1) > 0.999).all()


@pytest.mark.parametrize("causal", [False, True])
def test_a_plain_transformer_gives_the_mean_of_its_last_hidden_states(causal: bool, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = tiny_model(tmp_path / "model", causal=causal)
    encoder = load_encoder(folder, max_tokens=2048)
    limit = 4096 if causal else 64
    assert encoder.max_tokens == min(2048, limit)  # type: ignore[attr-defined]
    texts = [text for text in TEXTS if text]
    made = encoder.encode(texts)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, made, strict=True):
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=min(2048, limit))
        with torch.no_grad():
            states = model(input_ids=tokens["input_ids"]).last_hidden_state[0]
        assert vector == pytest.approx(states.mean(axis=0).numpy(), abs=1e-5)


def test_identity_depends_on_weights_and_settings(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", causal=False)
    first = load_encoder(folder)
    assert load_encoder(folder).identity == first.identity
    assert load_encoder(folder, batch_size=4).identity == first.identity
    assert load_encoder(folder, max_tokens=16).identity != first.identity
    assert load_encoder(folder, dtype="bf16").identity != first.identity
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert load_encoder(folder).identity != first.identity


def test_bf16_is_close_to_fp32(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", causal=False)
    single, half = (load_encoder(folder, dtype=dtype).encode(["two apples", "a train"]) for dtype in ("fp32", "bf16"))
    assert single.dtype == half.dtype == np.float32
    assert 0 < np.abs(single - half).max() < 0.05 * np.abs(single).max()


def test_models_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "none"}))
    with pytest.raises(ValueError, match=r"encoder '.*empty': the folder: "):
        load_encoder(tmp_path / "empty")
    with pytest.raises(ValueError, match="dtype is 'fp8'; it must be auto, fp32, bf16, fp16"):
        load_encoder(tmp_path / "empty", dtype="fp8")
    with pytest.raises(ValueError, match="max_tokens is 0"):
        load_encoder(tmp_path / "empty", max_tokens=0)
