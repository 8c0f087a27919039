"""Perplexity and instruction-following difficulty, by a causal language model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.exceptions import CutTextWarning, MissingScoresWarning, warn
from gip_gpu.signals.examples import Examples, as_pairs
from gip_gpu.signals.language_model.losses import all_losses
from gip_gpu.signals.language_model.model import LanguageModel, load_model
from gip_gpu.signals.language_model.tokens import PairTokens, Scored
from gip_gpu.signals.progress import Progress, reporting
from gip_gpu.system.files import AnyPath
from gip_gpu.validation.settings import flag

# Tokens of the longest sequence, and of a batch, by default.
MAX_LENGTH, BATCH_TOKENS = 2048, 4096


def perplexity(
    examples: Examples,
    model: Any,
    *,
    tokenizer: Any = None,
    chat: bool = False,
    max_length: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    device: str = "auto",
    dtype: str = "auto",
    resume: AnyPath | None = None,
    progress: Progress = None,
) -> NDArray[np.float64]:
    """Computes the perplexity of each text, or of each answer given its prompt: exp of the mean loss of its tokens.

    A sequence begins with the tokenizer's BOS token, or its EOS token if it has no other. A prompt and its answer are
    tokenised by themselves. Where both do not fit into `max_length` tokens, the answer keeps its first tokens and the
    prompt its last ones, each at least half of the room; a text keeps its first tokens.

    Args:
        examples: m texts, or (prompt, answer) pairs.
        model: name or folder of a causal language model as for transformers, path of a .gguf file, or a model of
            transformers; `load_model` gives one for several calls.
        tokenizer: that of `model` if it is a model of transformers.
        chat: put prompts into the tokenizer's chat template; otherwise a line break separates prompt and answer.
        max_length: most tokens of a sequence; by default 2048, or the model's window if it is shorter.
        batch_tokens: most tokens of a batch, with padding. Losses of a batch equal those of single sequences up to
            rounding. Logits are computed 64 MB at a time.
        device: "auto" is the first CUDA device, or the CPU.
        dtype: "auto" is bfloat16 on CUDA devices and float32 on the CPU; "float32", "bfloat16" or "float16".
        resume: file that the losses of each batch are appended to. The same call with the same file computes only what
            is not in it: of a killed run at most one batch is computed twice.
        progress: True for a bar on standard error, or a function of (done, total) sequences.

    Returns:
        (m,) float64, at least 1. NaN for examples without a token, with a `MissingScoresWarning`.

    Raises:
        TypeError, ValueError: an argument is of another type or out of range, or there is no such model.
        ImportError: the packages of the extra "lm" are missing.
    """
    pairs = as_pairs(examples)
    encoder, found = _prepared(model, tokenizer, chat, max_length, batch_tokens, device, dtype)
    scored = encoder.conditioned(pairs)
    with reporting(progress, len(scored), 0, "perplexity", "row") as notify:
        losses = all_losses(found, scored, batch_tokens=batch_tokens, resume=resume, notify=notify)
    return _noted(np.exp(losses / _lengths(scored)), "perplexity", scored)


def ifd(
    examples: Examples,
    model: Any,
    *,
    tokenizer: Any = None,
    chat: bool = False,
    max_length: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    device: str = "auto",
    dtype: str = "auto",
    resume: AnyPath | None = None,
    progress: Progress = None,
) -> NDArray[np.float64]:
    """Computes the instruction-following difficulty: the mean loss of the answer given the prompt over that alone.

    Below 1 the prompt helps the model to write the answer, the less the nearer to 1; above 1 it misleads. Both losses
    are
    of the same tokens: those that `perplexity` keeps of the answer.

    Args:
        examples: m (prompt, answer) pairs.
        model, tokenizer, chat, max_length, batch_tokens, device, dtype, resume, progress: as in `perplexity`; both
            can use one file.

    Returns:
        (m,) float64, above 0. NaN for answers without a token, or that the model foresees with certainty, with a
        `MissingScoresWarning`.

    Raises:
        TypeError, ValueError, ImportError: as `perplexity`, and for texts without a prompt.

    Source: From Quantity to Quality: Boosting LLM Performance with Self-Guided Data Selection for Instruction Tuning,
    arXiv 2308.12032, eq. 5.
    """
    pairs = as_pairs(examples, paired=True)
    encoder, found = _prepared(model, tokenizer, chat, max_length, batch_tokens, device, dtype)
    given = encoder.conditioned(pairs)
    alone = [encoder.alone(each) for each in given]
    with reporting(progress, 2 * len(pairs), 0, "ifd", "sequence") as notify:
        # One after the other: the batches of the first are those of `perplexity`, which may have left their losses.
        first = all_losses(
            found, given, batch_tokens=batch_tokens, resume=resume,
            notify=None if notify is None else lambda done, all_rows: notify(done, 2 * all_rows),
        )  # fmt: skip
        second = all_losses(
            found, alone, batch_tokens=batch_tokens, resume=resume,
            notify=None if notify is None else lambda done, all_rows: notify(all_rows + done, 2 * all_rows),
        )  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = first / second
    return _noted(np.where(np.isfinite(ratios), ratios, np.nan), "ifd", given)


def _prepared(
    model: Any, tokenizer: Any, chat: bool, max_length: int | None, batch_tokens: int, device: str, dtype: str
) -> tuple[PairTokens, LanguageModel]:
    flag("chat", chat)
    for name, value, least in (("max_length", max_length, 3), ("batch_tokens", batch_tokens, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be an int of at least {least}")
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
    found = load_model(model, tokenizer, device=device, dtype=dtype)
    if max_length is not None and found.window is not None and max_length > found.window:
        raise ValueError(f"max_length is {max_length}; the window of {found.name} is {found.window} tokens")
    if chat and not getattr(found.tokenizer, "chat_template", None):
        raise ValueError(f"chat is True, but the tokenizer of {found.name} has no chat template")
    length = min(MAX_LENGTH, found.window or MAX_LENGTH) if max_length is None else max_length
    return PairTokens(found.tokenizer, length, found.start, chat), found


def _lengths(scored: Sequence[Scored]) -> NDArray[np.float64]:
    return np.array([len(each.target) or np.nan for each in scored], np.float64)


def _noted(scores: NDArray[np.float64], name: str, scored: Sequence[Scored]) -> NDArray[np.float64]:
    """Returns the scores, with a warning of missing ones and one of sequences that were cut."""
    missing, cut = np.flatnonzero(np.isnan(scores)), sum(each.cut for each in scored)
    if len(missing):
        warn(
            f"{name} is missing (NaN) in {len(missing):,} of {len(scores):,} rows, which have no token to score, the "
            f"first row {missing[0]}; on_nan='drop' leaves such rows out of a selection",
            MissingScoresWarning,
        )
    if cut:
        warn(
            f"{name} is of the kept tokens in {cut:,} of {len(scores):,} rows, which are longer than max_length",
            CutTextWarning,
        )
    return scores
