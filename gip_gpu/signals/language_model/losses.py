"""Losses of many sequences: batches by length, each kept in a file as it is done."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.signals.language_model.model import LanguageModel
from gip_gpu.signals.language_model.tokens import Scored
from gip_gpu.signals.ledger import Ledger, content_key
from gip_gpu.system.files import AnyPath

KIND = "losses of a language model"


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Returns the indices of sequences in batches: neighbours in length, and with padding at most `tokens` tokens.

    A longer sequence is a batch of its own. Longest first, so that memory runs out at the start or not at all.

    >>> batches([3, 9, 2, 4], 8)
    [[1], [3, 0], [2]]
    """
    made: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if made and lengths[made[-1][0]] * (len(made[-1]) + 1) <= tokens:
            made[-1].append(index)
        else:
            made.append([index])
    return made


def all_losses(
    model: LanguageModel,
    sequences: Sequence[Scored],
    *,
    batch_tokens: int,
    resume: AnyPath | None,
    notify: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Returns the summed loss of each sequence's target in nats, (len(sequences),) float64; NaN for empty targets.

    Equal sequences are computed once. Batches depend on the sequences alone, so that a resumed run computes the same
    ones, and a batch whose losses are all in the file is not computed again.

    Args:
        model: the model.
        sequences: all sequences.
        batch_tokens: most tokens of a batch.
        resume: file that the losses of each batch are appended to; None keeps none.
        notify: called with (sequences done, all sequences).
    """
    places: dict[tuple[Any, ...], list[int]] = {}
    for index, scored in enumerate(sequences):
        if scored.target:
            places.setdefault((scored.context, scored.target), []).append(index)
    distinct = [sequences[rows[0]] for rows in places.values()]
    rows_of = list(places.values())
    keys = [content_key(model.identity, each.context, each.target) for each in distinct]
    wanted, known = set(keys), dict[str, float]()

    def read(record: dict[str, Any]) -> None:
        if record["key"] in wanted:
            known[record["key"]] = float(record["loss"])

    found = np.full(len(sequences), np.nan)
    done = len(sequences) - sum(map(len, rows_of))
    with Ledger(resume, KIND, read) as ledger:
        for batch in batches(list(map(len, distinct)), batch_tokens):
            if not all(keys[i] in known for i in batch):
                losses = model.losses([distinct[i] for i in batch])
                known.update((keys[i], float(loss)) for i, loss in zip(batch, losses, strict=True))
                ledger.add({"key": keys[i], "loss": known[keys[i]]} for i in batch)
            for i in batch:
                found[rows_of[i]] = known[keys[i]]
                done += len(rows_of[i])
            if notify is not None:
                notify(done, len(sequences))
    return found
