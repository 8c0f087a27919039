"""Examples to score: texts, or pairs of a prompt and an answer."""

from collections.abc import Iterable, Sequence
from typing import Any

from gip_gpu.system.surrogates import encodable

# (prompt, answer); the prompt of a plain text is empty.
Pair = tuple[str, str]
Examples = Iterable[str] | Iterable[Sequence[str]]


def as_pairs(examples: Any, *, paired: bool = False) -> list[Pair]:
    """Returns examples as (prompt, answer) pairs; the prompt of a plain text is "".

    Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes U+FFFD.

    Args:
        examples: texts, or (prompt, answer) pairs of text.
        paired: whether plain texts are an error.

    Raises:
        TypeError: examples are one text, or an example is of another type.
        ValueError: there are none.

    >>> as_pairs(["one text"]), as_pairs([("2 + 2?", "4")])
    ([('', 'one text')], [('2 + 2?', '4')])
    """
    wanted = "(prompt, answer) pairs of text" if paired else "texts, or (prompt, answer) pairs of text"
    if isinstance(examples, (str, bytes)) or not isinstance(examples, Iterable):
        raise TypeError(f"examples is a {type(examples).__name__}; it must be a list of {wanted}")
    pairs = [_pair(example, row, wanted, paired) for row, example in enumerate(examples)]
    if not pairs:
        raise ValueError(f"examples is empty; it must be a list of {wanted}")
    return pairs


def _pair(example: Any, row: int, wanted: str, paired: bool) -> Pair:
    if isinstance(example, str) and not paired:
        return "", encodable(example)
    if (
        isinstance(example, Sequence)
        and not isinstance(example, (str, bytes))
        and len(example) == 2
        and all(isinstance(part, str) for part in example)
    ):
        return encodable(example[0]), encodable(example[1])
    raise TypeError(f"examples[{row}] is {example!r:.60}, a {type(example).__name__}; examples must be {wanted}")
