"""select_dataset: the k most informative rows of a data set, as a data set."""

import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

from gip_gpu.embedding import Encoder
from gip_gpu.pipeline.limits import LimitColumns
from gip_gpu.pipeline.run import RunResult, Stages
from gip_gpu.pipeline.scores import SIGNALS
from gip_gpu.pipeline.signals import TextSignals
from gip_gpu.records import Records, added_columns, open_records
from gip_gpu.records.opening import load_datasets
from gip_gpu.records.tables import DatasetTable, FrameTable
from gip_gpu.records.writing import check_added, table_of

# Options that may name a column.
LIMITS = ("groups", "costs", "weights", "ids")


def select_dataset(
    data: Any,
    k: int | float | str | None,
    *,
    embeddings: Any = None,
    encoder: str | os.PathLike[str] | Encoder = "hashing",
    scores: Any = None,
    signals: TextSignals | None = None,
    missing: str = "error",
    text: str | None = None,
    layout: str | None = None,
    split: str | None = None,
    columns: Sequence[str] = (),
    cache: str | os.PathLike[str] | None = None,
    return_selection: bool = False,
    **options: Any,
) -> Any:
    """Selects the k most informative rows of a data set.

    Args:
        data: a `datasets.Dataset`, a pandas or polars DataFrame, a pyarrow table, or a path or hub name as in
            `gip_gpu.records.open_records`.
        k: number of rows, or a share of all, as in `gip_gpu.select`.
        embeddings: (m, d) array, the path of a file of vectors, or the name of a column of lists. None: `encoder` makes
            them from the texts.
        encoder: "hashing", the folder or name of a model of sentence-transformers, or a `gip_gpu.embedding.Encoder`.
        scores: name of a column of numbers, or a list of such names, one for each signal; an array (m,) or (m, n); the
            path of a file; or "self-compression". None: the embeddings alone decide, without `signals`.
        signals: ratings by a judge, perplexity, instruction-following difficulty or DSIR weights to compute from the
            rows, beside columns of `scores`. Replies and losses are kept in `cache`.
        missing: "error", "drop" or "mean" for rows without a score in columns or signals, as in
            `gip_gpu.signals.fill_missing`; "drop" never chooses them.
        text: column that is the text, or a template such as "{title} {body}". None: recognised by the columns, as
            Alpaca, chat, GSM8K, prompt and completion, or a single column of text.
        layout: name of the layout, from `gip_gpu.records.layouts.NAMES`, instead of `text`.
        split: split of a `DatasetDict`.
        columns: columns to add: "gip_rank", from 0; "gip_gain"; "gip_source", file and row.
        cache: folder in which vectors, checkpoints, replies and losses stay, so that the next call finds them. None
            keeps nothing.
        return_selection: return the pair (rows, Selection).
        options: options of `gip_gpu.select`: objective, standardize, sign, device and others. `groups`, `costs`,
            `weights` and `ids` may be names of columns, and costs "characters", the length of the text.

    Returns:
        The chosen rows, most informative first, in the type of `data`; a `datasets.Dataset` for a path. With
        `return_selection` a pair with the `gip_gpu.Selection`.

    Raises:
        TypeError, ValueError: bad input; the message names the argument, or the row.
        ImportError: a library is missing.

    >>> import polars
    >>> frame = polars.DataFrame({"text": ["a cat", "a cat", "two dogs", "a train"], "quality": [5, 5, 4, 1]})
    >>> select_dataset(frame, 2, scores="quality", columns=["gip_rank"]).rows()
    [('a cat', 5, 0), ('two dogs', 4, 1)]
    """
    check_added(columns)
    records = open_records(data, split=split)
    names = _columns(records)
    if isinstance(embeddings, str) and embeddings in names:
        embeddings = table_of(records, range(len(records)), [embeddings])[embeddings]
    score_columns = _score_columns(scores, names)
    if score_columns:
        scores = None
    limits = {name: options.pop(name) for name in LIMITS if isinstance(options.get(name), str)}
    what = "column" if text in names else "template"
    with TemporaryDirectory() as folder:
        stages = Stages(
            data=records,
            k=k,
            work=folder if cache is None else cache,
            text={what: text, "layout": layout},
            encoder=encoder,
            embeddings=embeddings,
            scores=scores,
            score_columns=score_columns,
            signals=signals or TextSignals(),
            missing=missing,
            limits=LimitColumns(**limits),
            select=options,
        )
        result = stages.run()
        chosen = _rows(result, data, columns)
    return (chosen, result.selection) if return_selection else chosen


def _columns(records: Records) -> set[str]:
    first = records.files[0]
    return set(getattr(first, "columns", None) or first.first())


def _score_columns(scores: Any, names: set[str]) -> tuple[str, ...]:
    """Returns the names of columns that `scores` is; none if it is something else."""
    if isinstance(scores, str) and scores in names and scores not in SIGNALS:
        return (scores,)
    if isinstance(scores, (list, tuple)) and scores and all(isinstance(name, str) for name in scores):
        missing = [name for name in scores if name not in names]
        if missing:
            raise ValueError(f"scores name {', '.join(map(repr, missing))}; the columns are {sorted(names)}")
        return tuple(scores)
    return ()


def _rows(result: RunResult, data: Any, columns: Sequence[str]) -> Any:
    """Returns the chosen rows in the type of the data set."""
    chosen, records = result.selection, result.records
    indices = chosen.tolist()
    added = added_columns(records, indices, chosen.gains.tolist(), columns)
    first = records.files[0] if len(records.files) == 1 else None
    if isinstance(first, DatasetTable):
        made = first.dataset.select(indices)
        for name, values in added.items():
            made = (made.remove_columns([name]) if name in made.column_names else made).add_column(name, values)
        return made
    if isinstance(first, FrameTable):
        if first.format == "pandas":
            return first.frame.iloc[indices].assign(**added)
        import polars

        return first.frame[indices].with_columns(**{name: polars.Series(values) for name, values in added.items()})
    table = table_of(records, indices, None, added)
    return table if type(data).__module__.startswith("pyarrow") else load_datasets().Dataset(table)
