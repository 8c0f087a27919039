"""Settings of a judge: the server, and the limits of a run."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gip_gpu.validation.settings import as_seconds


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server and the model that judges.

    Args:
        url: base URL, as for the official client: "https://api.openai.com/v1", "http://localhost:8000/v1".
        model: name of the model.
        api_key: sent as a bearer token; None for servers that need none. No environment variable is read, so that a key
            reaches no other server than the one that it is for.
        timeout: seconds that a reply may take.
        temperature: None leaves it to the server, as some models require.
        max_tokens: most tokens of a reply; None leaves it to the server. Reasoning models need room for their thoughts.
        extra: further fields of the request, such as {"response_format": {"type": "json_object"}}.

    Raises:
        TypeError, ValueError: a setting is of another type or out of range.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    temperature: float | None = 0.0
    max_tokens: int | None = 256
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("url", "model"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be text")
            if not value:
                raise ValueError(f"{name} is empty")
        if not self.url.startswith(("http://", "https://")) or "/chat/completions" in self.url:
            raise ValueError(
                f"url is {self.url!r}; it must be the base URL of the server, such as 'http://localhost:8000/v1', to "
                "which the client adds /chat/completions"
            )
        as_seconds(self.timeout, "timeout")
        _number("temperature", self.temperature, 0, 100)
        _count("max_tokens", self.max_tokens)
        if not isinstance(self.extra, Mapping):
            raise TypeError(f"extra is {self.extra!r}; it must be a mapping of fields of the request")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings on which replies depend."""
        return {
            "model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens,
            "extra": dict(self.extra),
        }  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Limits of a run.

    Args:
        concurrency: most requests at a time.
        tries: most tries of a request that fails: no connection, time-out, status 408, 409, 429 or 5xx. Tries are
            spaced by exponential back-off, or as the server's Retry-After asks, which then holds for all requests. A
            429 does not count while other requests succeed.
        asks: most questions about an example: after a bad reply the judge is told what was wrong and asked again.
        requests_per_minute, tokens_per_minute: rate limits; None for none.
        token_budget: most tokens, of prompts and replies, for all examples, those of earlier runs with the same
            `answers` included; None for no bound. No request starts that could exceed it.

    Raises:
        TypeError, ValueError: a limit is of another type or out of range.
    """

    concurrency: int = 8
    tries: int = 6
    asks: int = 3
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    token_budget: int | None = None

    def __post_init__(self) -> None:
        for name in ("concurrency", "tries", "asks", "token_budget"):
            if name != "token_budget" and getattr(self, name) is None:
                raise TypeError(f"{name} is None; it must be an int of at least 1")
            _count(name, getattr(self, name))
        for name in ("requests_per_minute", "tokens_per_minute"):
            _number(name, getattr(self, name), 1e-6, 1e12)


def _count(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be an int of at least 1")
    if count < 1:
        raise ValueError(f"{name} is {count}; it must be at least 1")


def _number(name: str, value: Any, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a number")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; it must be from {low:g} to {high:g}")
