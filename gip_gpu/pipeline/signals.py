"""Signals of a data set side by side: columns, DSIR, perplexity, instruction-following difficulty, a judge."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.records import Texts
from gip_gpu.signals import combine, dsir, fill_missing
from gip_gpu.signals.examples import Pair
from gip_gpu.signals.judge import Estimate, JudgeReport, Limits, Rubric, Server, judge_estimate, judge_ratings
from gip_gpu.signals.named import NamedScores
from gip_gpu.system.files import AnyPath

# Called with the name of a stage when it begins; returns the progress function of the stage, or None.
Notify = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True)
class JudgeSettings:
    """A judge, and how it is asked.

    Attributes:
        server: URL, model, and the settings of a request.
        rubric: attributes, scale and prompt.
        limits: concurrency, tries, rate limits and token budget.
        price: price of a million tokens of prompts, and of replies; None if it is unknown.
    """

    server: Server
    rubric: Rubric = field(default_factory=Rubric)
    limits: Limits = field(default_factory=Limits)
    price: tuple[float, float] | None = None


@dataclass(frozen=True)
class DsirSettings:
    """A target of DSIR.

    Attributes:
        target: texts of the target: a list, or `gip_gpu.records.Texts`.
        order, buckets, smoothing, min_tokens: as in `gip_gpu.signals.dsir`; rows without a token have no weight.
    """

    target: Iterable[str]
    order: int = 2
    buckets: int = 10_000
    smoothing: float = 0.0
    min_tokens: int = 1


@dataclass(frozen=True)
class TextSignals:
    """Signals to compute from the texts or the (prompt, answer) pairs of a data set; true if there is any.

    Attributes:
        judge: judge that rates each pair, a column for each attribute.
        perplexity, ifd: a causal language model for each of these signals, as in
            `gip_gpu.signals.language_model.load_model`.
        model: further arguments of `gip_gpu.signals.language_model.perplexity` and `ifd`: chat, max_length,
            batch_tokens, device and dtype.
        dsir: target whose log importance weights are a column "dsir".

    >>> from gip_gpu.signals.judge import Rubric, Server
    >>> judge = JudgeSettings(Server("http://localhost:8000/v1", "judge"), Rubric(["wit", "depth"]))
    >>> TextSignals(judge=judge, ifd="gpt2").names, bool(TextSignals())
    (('ifd', 'wit', 'depth'), False)
    """

    judge: JudgeSettings | None = None
    perplexity: Any = None
    ifd: Any = None
    model: Mapping[str, Any] = field(default_factory=dict)
    dsir: DsirSettings | None = None

    def __bool__(self) -> bool:
        return self.judge is not None or self.dsir is not None or self.by_language_model

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        models = tuple(name for name in ("dsir", "perplexity", "ifd") if getattr(self, name) is not None)
        return (*models, *(() if self.judge is None else self.judge.rubric.names))

    @property
    def by_language_model(self) -> bool:
        """Whether a language model is loaded."""
        return self.perplexity is not None or self.ifd is not None

    def check_names(self, columns: Sequence[str]) -> None:
        """Raises ValueError if a signal has the name of one of these columns."""
        if twice := [name for name in self.names if name in columns]:
            raise ValueError(f"the columns and the computed signals both have {twice[0]!r}")

    def check(self, texts: Texts) -> None:
        """Raises ValueError before any work if `ifd` is wanted of texts without prompts."""
        if self.ifd is not None and not texts.prompted:
            files = [file.name for file in texts.records.files]
            named = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            raise ValueError(f"{named}, read as {texts}, has no prompts; ifd needs prompts and answers")

    def estimate(self, texts: Texts, answers: AnyPath | None = None) -> Estimate | None:
        """Returns the estimated cost of the judge, None without one; sends nothing."""
        if self.judge is None:
            return None
        return judge_estimate(list(texts.pairs()), answers=answers, **_asked(self.judge))


@dataclass(frozen=True, eq=False)
class SignalScores:
    """Computed signals.

    Attributes:
        scores: all columns with their names, NaN where a score is missing.
        report: counts and costs of the judge; None without one.
        missing: reason for each row that the judge has not rated.
    """

    scores: NamedScores
    report: JudgeReport | None = None
    missing: Mapping[int, str] = field(default_factory=dict)

    def filled(self, missing: str) -> NamedScores:
        """Returns the scores with missing ones treated as in `gip_gpu.signals.fill_missing`.

        Raises:
            ValueError: as there; the message adds the judge's most frequent reason.
        """
        try:
            return NamedScores(fill_missing(self.scores, missing, names=self.scores.names), self.scores.names)
        except ValueError as error:
            if not self.missing:
                raise
            reason, count = Counter(self.missing.values()).most_common(1)[0]
            raise ValueError(f"{error}; judge, {count:,} rows: {reason}") from error


def signal_scores(
    texts: Texts | None,
    signals: TextSignals,
    columns: Mapping[tuple[str, ...], NDArray[np.float64]],
    *,
    answers: AnyPath | None = None,
    losses: AnyPath | None = None,
    notify: Notify = lambda stage: None,
) -> SignalScores:
    """Computes signals, the judge last, so that errors of the others come before its cost.

    Args:
        texts: the data set; None if `signals` are none.
        signals: signals to compute.
        columns: names of columns to their values (m, n), which come first.
        answers: file of the judge's replies. Replies are kept by the prompt and the settings of the judge, so that only
            new texts are asked about, and all texts after a change of the rubric, the model or its settings.
        losses: file of losses, kept by the tokens and the weights of the model.
        notify: called when "dsir", "perplexity", "ifd" or "judge" begins.

    Raises:
        TypeError, ValueError, ImportError, ConnectionError: as `gip_gpu.signals.dsir`,
            `gip_gpu.signals.judge.judge_ratings` and `gip_gpu.signals.language_model.perplexity`; a row has no prompt
            and answer.
    """
    found: dict[str | tuple[str, ...], NDArray[np.float64]] = dict(columns.items())
    if not signals:
        return SignalScores(combine(found))
    assert texts is not None
    signals.check_names([name for names in columns for name in names])
    signals.check(texts)
    if signals.dsir is not None:
        found["dsir"] = dsir(texts, progress=notify("dsir"), **vars(signals.dsir))
    if not signals.by_language_model and signals.judge is None:
        return SignalScores(combine(found))
    examples = list(texts.pairs())
    found |= _by_language_model(examples, signals, losses, notify)
    if signals.judge is None:
        return SignalScores(combine(found))
    rated = judge_ratings(examples, answers=answers, progress=notify("judge"), **_asked(signals.judge))
    found[rated.attributes] = rated.scores
    return SignalScores(combine(found), rated.report, rated.missing)


def _asked(judge: JudgeSettings) -> dict[str, Any]:
    return {"server": judge.server, "rubric": judge.rubric, "limits": judge.limits, "price": judge.price}


def _by_language_model(
    examples: list[Pair], signals: TextSignals, losses: AnyPath | None, notify: Notify
) -> dict[str | tuple[str, ...], NDArray[np.float64]]:
    wanted = {name: getattr(signals, name) for name in ("perplexity", "ifd") if getattr(signals, name) is not None}
    if not wanted:
        return {}
    from gip_gpu.signals import language_model

    loading = {name: signals.model[name] for name in ("device", "dtype") if name in signals.model}
    others = {name: value for name, value in signals.model.items() if name not in loading}
    found: dict[str | tuple[str, ...], NDArray[np.float64]] = {}
    loaded: list[tuple[Any, Any]] = []
    for name, place in wanted.items():
        progress = notify(name)
        # Both signals may be of one model, which is loaded once.
        model = next((model for each, model in loaded if each == place), None)
        if model is None:
            model = language_model.load_model(place, **loading)
            loaded.append((place, model))
        found[name] = getattr(language_model, name)(examples, model, progress=progress, resume=losses, **others)
    return found
