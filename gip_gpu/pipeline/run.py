"""run: from a data set to its chosen rows, in stages that resume."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gip_gpu.api.select as api
from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint.fingerprint import of_matrix
from gip_gpu.embedding import Encoder
from gip_gpu.pipeline.scores import Scores, scores_of
from gip_gpu.pipeline.vectors import Vectors, encoder_of, given_vectors, made_vectors
from gip_gpu.records import Records, Texts, added_columns, open_records, write_records
from gip_gpu.sources import Source

# Options of `gip_gpu.select` that do not decide which rows are chosen.
UNDECIDING = ("device", "backend", "precision", "columns", "memory_limit", "progress", "checkpoint", "checkpoint_every")


@dataclass(frozen=True, eq=False)
class RunResult:
    """Result of a run, with all that a report needs.

    Attributes:
        records: the data set.
        texts: the text of each row; None if the vectors were given.
        vectors: the vectors.
        scores: the scores, None without.
        selection: the chosen rows.
        groups: the group of each row, None without.
        seconds: seconds of each stage.
    """

    records: Records
    texts: Texts | None
    vectors: Vectors
    scores: Scores
    selection: Selection
    groups: list[str] | None
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
        group_by: column whose values are the groups of `gip_gpu.select`.
        select: options of `gip_gpu.select`.
        notify: called with the name of a stage when it begins; returns the progress function of the stage, or None.
    """

    data: Any
    k: int | float | str
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
    group_by: str | None = None
    select: dict[str, Any] = field(default_factory=dict)
    notify: Callable[[str], Callable[[int, int], None] | None] = lambda stage: None

    def run(self) -> RunResult:
        """Reads, embeds, scores and selects; each stage takes from `work` what an earlier run left there.

        Raises:
            TypeError, ValueError: bad input; the message names the argument or the file.
            OSError: a file cannot be written.
        """
        seconds: dict[str, float] = {}
        began = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal began
            now = time.perf_counter()
            seconds[stage], began = now - began, now

        records = open_records(self.data, split=self.split)
        texts = None if self.embeddings is not None else Texts(records, **self.text)
        Path(self.work).mkdir(parents=True, exist_ok=True)
        lap("read")
        if texts is None:
            vectors = given_vectors(records, self.embeddings, self.key)
        else:
            encoder = encoder_of(self.encoder, **self.encoding)
            vectors = made_vectors(
                texts,
                encoder,
                self.work,
                memory_limit=self.select.get("memory_limit"),
                progress=self.notify("embed"),
            )
        lap("embed")
        scores = scores_of(
            records, vectors.F, scores=self.scores, columns=self.score_columns, key=self.scores_key, options=self.select
        )
        lap("score")
        groups = None if self.group_by is None else records.labels(self.group_by)
        if groups is not None:
            self.select = {**self.select, "groups": groups}
        checkpoint = Path(self.work, f"select-{self._key(vectors, scores)}.ckpt")
        selection = api.select(
            vectors.F, scores, self.k, checkpoint=checkpoint, **{"progress": self.notify("select"), **self.select}
        )
        lap("select")
        return RunResult(records, texts, vectors, scores, selection, groups, seconds)

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
