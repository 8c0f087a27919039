"""Requests to an OpenAI-compatible server by the official client, tried again when they fail."""

import asyncio
import email.utils
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from gip_gpu.signals.judge.costs import token_estimate
from gip_gpu.signals.judge.pace import Pace
from gip_gpu.signals.judge.settings import Limits, Server
from gip_gpu.system.surrogates import encodable

MISSING_EXTRA = 'a judge needs the packages openai and tenacity: pip install "gip_gpu[judge]"'
# Seconds: the first and the longest wait of the back-off, and the longest that a server may ask for.
FIRST_WAIT, LONGEST_WAIT, LONGEST_PAUSE = 0.5, 30.0, 600.0
# Statuses of passing failures, besides 5xx.
PASSING = (408, 409, 425, 429)

Message = Mapping[str, str]


class RefusedError(Exception):
    """The server refuses this example, by a status 4xx that is about the request and not about the account."""


class LostError(Exception):
    """All tries of a request failed."""


@dataclass(frozen=True)
class Reply:
    """A reply of the judge.

    Attributes:
        text: the reply; "" for none.
        prompt_tokens, completion_tokens: as the server reports, or estimated.
        reported: whether the server reports them.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    reported: bool


class Client:
    """Client of one run, used in an `async with` block.

    Attributes:
        requests: number of requests sent.
        failures: number of those that failed and were, or would have been, tried again.
        successes: number of replies.
    """

    def __init__(self, server: Server, limits: Limits) -> None:
        try:
            import openai
            import tenacity
        except ImportError as error:
            raise ImportError(f"{MISSING_EXTRA} ({error})") from error
        self._openai, self._tenacity = openai, tenacity
        self.server, self.limits = server, limits
        self._pace = Pace(limits.requests_per_minute, limits.tokens_per_minute)
        # The client's own tries would bypass the limits; some servers need no key, but the client does.
        self._client = openai.AsyncOpenAI(
            base_url=server.url, api_key=server.api_key or "none", timeout=server.timeout, max_retries=0
        )
        # Of the environment, where they may be meant for another server.
        self._client.organization = self._client.project = None
        self.requests = self.failures = self.successes = 0

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def reply(self, messages: Sequence[Message]) -> Reply:
        """Sends messages until a reply comes.

        Raises:
            RefusedError: the server refuses these messages.
            LostError: all tries failed.
            ValueError: the URL, the model or the key is wrong, or the account has no credit.
            ConnectionError: the server asks for a pause beyond `LONGEST_PAUSE`.
        """
        reserved = token_estimate(messages) + self.server_tokens
        seen, failed = self.successes, 0

        def exhausted(state: Any) -> bool:
            nonlocal seen, failed
            if self._status(state.outcome.exception()) == 429 and self.successes > seen:
                seen, failed = self.successes, 0
            failed += 1
            return failed >= self.limits.tries

        retrying = self._tenacity.AsyncRetrying(
            stop=exhausted, wait=self._wait, retry=self._tenacity.retry_if_exception(self._passing), reraise=True,
            sleep=asyncio.sleep,
        )  # fmt: skip
        try:
            async for attempt in retrying:
                with attempt:
                    await self._pace.turn(reserved)
                    found = await self._send(messages)
        except self._openai.OpenAIError as error:
            raise self._failure(error) from error
        self.successes += 1
        self._pace.correct(reserved, found.prompt_tokens + found.completion_tokens)
        return found

    @property
    def server_tokens(self) -> int:
        """Tokens that a reply may take, for the limits."""
        return self.server.max_tokens or 256

    async def _send(self, messages: Sequence[Message]) -> Reply:
        server, options = self.server, {}
        if server.temperature is not None:
            options["temperature"] = server.temperature
        if server.max_tokens is not None:
            options["max_tokens"] = server.max_tokens
        self.requests += 1
        try:
            # mypy: the client has a type for each role.
            found: Any = await self._client.chat.completions.create(  # type: ignore[call-overload]
                model=server.model, messages=list(messages), extra_body=dict(server.extra), **options
            )
        except self._openai.APIError as error:
            if self._passing(error):
                self.failures += 1
                if self._status(error) in (429, 503) and (pause := retry_after(error)) is not None:
                    self._check_pause(pause)
                    self._pace.pause(pause)
            raise
        except json.JSONDecodeError:
            found = None
        return self._read(found, messages)

    def _read(self, found: Any, messages: Sequence[Message]) -> Reply:
        """Returns the reply in a response; one that is no chat completion has an empty text."""
        choices = getattr(found, "choices", None)
        content = getattr(getattr(choices[0], "message", None), "content", None) if choices else None
        text = encodable(content) if isinstance(content, str) else ""
        usage = getattr(found, "usage", None)
        counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        if all(isinstance(count, int) and count >= 0 for count in counts):
            return Reply(text, counts[0], counts[1], True)  # type: ignore[arg-type]
        return Reply(text, token_estimate(messages), token_estimate([{"content": text}]), False)

    def _status(self, error: BaseException | None) -> int | None:
        return error.status_code if isinstance(error, self._openai.APIStatusError) else None

    def _passing(self, error: BaseException) -> bool:
        status = self._status(error)
        if status is None:
            return isinstance(error, self._openai.APIConnectionError)
        if status == 429 and getattr(error, "code", None) == "insufficient_quota":
            return False
        return status in PASSING or status >= 500

    def _wait(self, state: Any) -> float:
        pause = retry_after(state.outcome.exception())
        # A 429 already holds all requests by the pace.
        if pause is not None:
            self._check_pause(pause)
            return pause
        backoff = self._tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
        return float((backoff + self._tenacity.wait_random(0, FIRST_WAIT))(state))

    def _check_pause(self, seconds: float) -> None:
        if seconds > LONGEST_PAUSE:
            raise ConnectionError(
                f"{self.server.url} asks for a pause of {seconds:.0f} s; answers so far are kept, and the same call "
                "resumes then"
            )

    def _failure(self, error: Exception) -> Exception:
        """Returns the exception that says what the failure means."""
        status, why = self._status(error), " ".join(str(error).split())[:300]
        place = f"{self.server.url}, model {self.server.model!r}"
        if self._passing(error):
            return LostError(f"{place}: {why}")
        if status == 401 or status == 403:
            given = "the API key" if self.server.api_key else "a request without an API key"
            return ValueError(f"{place}: refuses {given} with status {status}: {why}")
        if status == 404:
            return ValueError(f"{place}: status 404: no such model, or the base URL lacks its end, often /v1: {why}")
        if status == 429:
            return ValueError(f"{place}: the account has no credit: {why}")
        return RefusedError(f"status {status}: {why}" if status else why)


def retry_after(error: BaseException | None) -> float | None:
    """Returns the seconds of a response's Retry-After (seconds or a date) or retry-after-ms; None without either."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, TypeError):
                continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None
