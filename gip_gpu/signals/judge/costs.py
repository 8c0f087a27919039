"""Tokens and costs: estimated before a run, counted after it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gip_gpu.validation.settings import LARGEST

# Rules of thumb for English text and code; other languages take more tokens a byte.
BYTES_PER_TOKEN, TOKENS_PER_MESSAGE = 4, 4


def token_estimate(messages: Iterable[Mapping[str, Any]]) -> int:
    """Returns the estimated tokens of messages: a token for four bytes of UTF-8, and four for each message.

    >>> token_estimate([{"content": "12345678"}])
    6
    """
    sizes = (len(str(message["content"]).encode()) for message in messages)
    return sum(-(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE for size in sizes)


@dataclass(frozen=True)
class Price:
    """Price of tokens, in any currency for a million of them.

    >>> Price(0.15, 0.6).of(2_000_000, 500_000)
    0.6
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"price: {name} is {value!r}, a {type(value).__name__}; it must be a number")
            if not 0 <= value <= LARGEST:
                raise ValueError(f"price: {name} is {value!r}; it must be at least 0, for a million tokens")

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Returns the price of tokens of prompts and of replies."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True)
class Estimate:
    """Estimate of a run before it.

    Attributes:
        rows: examples.
        distinct: those with different text.
        answered: distinct examples with ratings in the file of answers.
        missing: distinct examples that the file of answers settles without ratings.
        prompt_tokens, completion_tokens: of the others, with one reply each; a reply that is asked again costs as much
            once more. From the usage that the file of answers records if there is any, else by rules of thumb.
        measured: whether they are from recorded usage.
        cost: their price; None without prices.
    """

    rows: int
    distinct: int
    answered: int
    missing: int
    prompt_tokens: int
    completion_tokens: int
    measured: bool
    cost: float | None

    @property
    def requests(self) -> int:
        """Requests to send, without those for replies that are asked again."""
        return self.distinct - self.answered - self.missing
