"""run: from a data set to its chosen rows, in stages that resume."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gip_gpu.api.select as api
from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint.fingerprint import of_matrix
from gip_gpu.embedding import Encoder
from gip_gpu.exceptions import CheckpointError, DataWarning, warn
from gip_gpu.pipeline.limits import LimitColumns
from gip_gpu.pipeline.scores import SELF_COMPRESSION, Scores, scores_of
from gip_gpu.pipeline.signals import Notify, SignalScores, TextSignals, signal_scores
from gip_gpu.pipeline.vectors import Vectors, encoder_of, given_vectors, made_vectors
from gip_gpu.records import Records, Texts, added_columns, open_records, write_records
from gip_gpu.signals.missing import MISSING
from gip_gpu.sources import Source
from gip_gpu.system.locks import locked
from gip_gpu.validation.settings import one_of

# Options of `gip_gpu.select` that do not decide which rows are chosen.
UNDECIDING = ("device", "backend", "precision", "columns", "memory_limit", "progress", "checkpoint", "checkpoint_every")
# Files of the work folder with the replies of judges and the losses of language models.
ANSWERS, LOSSES = "answers.jsonl", "losses.jsonl"
# File of the work folder that a run locks.
LOCK = ".lock"


@dataclass(frozen=True, eq=False)
class RunResult:
    """Result of a run, with all that a report needs.

    Attributes:
        records: the data set.
        texts: the text of each row; None if the vectors were given and no signal is computed from texts.
        vectors: the vectors.
        scores: the scores, None without.
        score_names: names of the columns of scores, None if they have none.
        signals: scores as computed from columns and texts, before missing ones were treated; None if none was computed
            from texts.
        selection: the chosen rows.
        limits: groups, costs and weights of the rows that columns gave, as arguments of `gip_gpu.select`.
        seconds: seconds of each stage.
    """

    records: Records
    texts: Texts | None
    vectors: Vectors
    scores: Scores
    score_names: list[str] | None
    signals: SignalScores | None
    selection: Selection
    limits: dict[str, Any]
    seconds: dict[str, float]


@dataclass
class Stages:
    """Inputs and settings of a run.

    Attributes:
        data: data sets, as in `gip_gpu.records.open_records`.
        k: number of picks, as in `gip_gpu.select`.
        work: folder for vectors and checkpoints, which a later run finds there.
        split: split of a data set with several.
        text: arguments of `gip_gpu.records.Texts`: column, template or layout.
        encoder: encoder or its name.
        encoding: settings of `gip_gpu.embedding.load_encoder`.
        embeddings: vectors that were made before, instead of an encoder.
        key: their name in the file.
        scores, score_columns, scores_key: as in `gip_gpu.pipeline.scores.scores_of`.
        signals: signals to compute from the texts, beside the score columns.
        missing: treatment of missing scores of columns and signals, as in `gip_gpu.signals.fill_missing`; "drop" sets
            `on_nan="drop"`.
        limits: columns that groups, costs, weights and ids of `gip_gpu.select` are made of.
        select: options of `gip_gpu.select`.
        notify: called with the name of a stage when it begins; returns the progress function of the stage, or None.
    """

    data: Any
    k: int | float | str | None
    work: str | os.PathLike[str]
    split: str | None = None
    text: dict[str, str | None] = field(default_factory=dict)
    encoder: str | os.PathLike[str] | Encoder = "hashing"
    encoding: dict[str, Any] = field(default_factory=dict)
    embeddings: Any = None
    key: str | None = None
    scores: Any = None
    score_columns: Sequence[str] = ()
    scores_key: str | None = None
    signals: TextSignals = field(default_factory=TextSignals)
    missing: str = "error"
    limits: LimitColumns = field(default_factory=LimitColumns)
    select: dict[str, Any] = field(default_factory=dict)
    notify: Notify = lambda stage: None

    def run(self) -> RunResult:
        """Reads, embeds, scores and selects; each stage takes from `work` what an earlier run left there.

        Warns:
            gip_gpu.exceptions.DataWarning: a checkpoint in `work` is damaged or of another selection, and the selection
                starts anew.

        Raises:
            TypeError, ValueError: bad input; the message names the argument or the file; another run uses `work`.
            OSError: a file cannot be written.
            ConnectionError: the server of a judge cannot be reached.
        """
        one_of("missing", self.missing, MISSING)
        if self.scores is not None and (self.signals or self.missing != "error"):
            what = "signals are computed" if self.signals else f"missing is {self.missing!r}"
            raise ValueError(f"scores are given, and {what}; score columns and signals go together, without scores")
        if self.missing != "error" and not self.signals and not self.score_columns:
            raise ValueError(f"missing is {self.missing!r}, and there are no score columns and no signals")
        self.signals.check_names(self.score_columns)
        if self.missing == "drop":
            self.select = {**self.select, "on_nan": "drop"}
        began = time.perf_counter()
        self.notify("read")
        records = open_records(self.data, split=self.split)
        texts = None if self.embeddings is not None and not self.signals else Texts(records, **self.text)
        if texts is not None:
            self.signals.check(texts)
        Path(self.work).mkdir(parents=True, exist_ok=True)
        busy = f"the work folder {self.work} is in use by another run; wait for it, or give another folder"
        with locked(Path(self.work, LOCK), busy):
            return self._run(records, texts, began)

    def _run(self, records: Records, texts: Texts | None, began: float) -> RunResult:
        """Embeds, scores and selects, in the work folder alone."""
        seconds: dict[str, float] = {}

        def lap(stage: str) -> None:
            nonlocal began
            now = time.perf_counter()
            seconds[stage], began = now - began, now

        lap("read")
        if texts is None or self.embeddings is not None:
            vectors = given_vectors(records, self.embeddings, self.key)
        else:
            progress = self.notify("embed")
            encoder = encoder_of(self.encoder, **self.encoding)
            vectors = made_vectors(
                texts,
                encoder,
                self.work,
                memory_limit=self.select.get("memory_limit"),
                progress=progress,
            )
        lap("embed")
        self.notify("score")
        scores, names, made = self._scored(records, texts, vectors)
        lap("score")
        limits = self.limits.limits(records, texts)
        self.select = {**self.select, **limits, **self.limits.named(records, self.select)}
        selection = self._selected(vectors, scores)
        lap("select")
        return RunResult(records, texts, vectors, scores, names, made, selection, limits, seconds)

    def _scored(
        self, records: Records, texts: Texts | None, vectors: Vectors
    ) -> tuple[Scores, list[str] | None, SignalScores | None]:
        """Returns the scores, the names of their columns, and the signals as computed."""
        names = list(self.score_columns)
        if not self.signals and self.missing == "error":
            scores = scores_of(
                records, vectors.F, scores=self.scores, columns=names, key=self.scores_key, options=self.select
            )
            named = isinstance(self.scores, str) and self.scores == SELF_COMPRESSION
            return scores, names or ([SELF_COMPRESSION] if named else None), None
        made = signal_scores(
            texts, self.signals, {tuple(names): records.numbers(names)} if names else {},
            answers=Path(self.work, ANSWERS), losses=Path(self.work, LOSSES), notify=self.notify,
        )  # fmt: skip
        # With on_nan="drop" the selection leaves out rows without a score.
        filled = made.filled(
            "drop" if self.select.get("on_nan") == "drop" and self.missing == "error" else self.missing
        )
        return filled.scores, list(filled.names), made if self.signals else None

    def _selected(self, vectors: Vectors, scores: Scores) -> Selection:
        """Selects, resuming from the checkpoint in the work folder if there is one of this selection."""
        checkpoint = Path(self.work, f"select-{self._key(vectors, scores)}.ckpt")
        options = {"progress": self.notify("select"), **self.select}
        try:
            return api.select(vectors.F, scores, self.k, checkpoint=checkpoint, **options)
        except CheckpointError as error:
            # The folder is the run's own, so nothing of the user's is lost. The message ends with advice for files that
            # the user names.
            checkpoint.unlink()
            warn(f"{str(error).rpartition('; ')[0]}; the selection starts anew", DataWarning)
            return api.select(vectors.F, scores, self.k, checkpoint=checkpoint, **options)

    def _key(self, vectors: Vectors, scores: Scores) -> str:
        """Returns the fingerprint of all that decides the choice, but k: a longer choice goes on from a shorter one.

        Limits of groups may depend on k, so with them each k has its own.
        """
        if scores is None:
            print_of_scores = None
        else:
            rows = scores if isinstance(scores, Source) else np.asarray(scores)
            print_of_scores = of_matrix(rows if len(rows.shape) == 2 else rows[:, None])
        deciding = {name: value for name, value in self.select.items() if name not in UNDECIDING}
        if deciding.get("group_limits") is not None:
            deciding["k"] = self.k
        # A checkpoint belongs to rows of one type.
        rows_of = [vectors.fingerprint, str(vectors.F.dtype)]
        whole = json.dumps([rows_of, print_of_scores, deciding], sort_keys=True, default=_listed)
        return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def write_chosen(result: RunResult, path: str | os.PathLike[str], columns: Sequence[str] = ()) -> None:
    """Writes the chosen rows, most informative first, with some of gip_rank, gip_gain, gip_source as columns.

    Raises:
        ValueError, OSError: as `gip_gpu.records.write_records`.
    """
    chosen = result.selection
    added = added_columns(result.records, chosen.tolist(), chosen.gains.tolist(), columns)
    write_records(result.records, chosen.tolist(), path, added)


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
