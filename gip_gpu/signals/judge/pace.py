"""Rate limits of requests and tokens a minute, kept by spacing requests evenly."""

import asyncio
import time
from collections.abc import Callable


class Pace:
    """Times at which requests may start.

    Requests are spaced evenly, without a burst at the start: a server that counts by the minute, by the second or in
    sliding windows sees no more than the limit.

    Args:
        requests: most requests a minute; None for no limit.
        tokens: most tokens a minute, of prompts and replies; None for no limit.
        clock: time in seconds.
    """

    def __init__(
        self, requests: float | None, tokens: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._request = 0.0 if requests is None else 60 / requests
        self._token = 0.0 if tokens is None else 60 / tokens
        self._clock = clock
        self._next_request = self._next_tokens = self._resume = -float("inf")

    def reserve(self, tokens: int) -> float:
        """Reserves the next request and its tokens; returns the seconds until it may start."""
        now = self._clock()
        start = max(now, self._next_request, self._next_tokens, self._resume)
        self._next_request = start + self._request
        self._next_tokens = start + tokens * self._token
        return start - now

    def correct(self, reserved: int, used: int) -> None:
        """Replaces the reserved tokens of a request by those that it used."""
        self._next_tokens += (used - reserved) * self._token

    def pause(self, seconds: float) -> None:
        """Lets no request start for some seconds, as the server asked."""
        self._resume = max(self._resume, self._clock() + seconds)

    async def turn(self, tokens: int) -> None:
        """Waits until a request with this number of tokens may start."""
        wait = self.reserve(tokens)
        await asyncio.sleep(wait)
        # The server may have asked for a pause meanwhile.
        while (rest := self._resume - self._clock()) > 0:
            await asyncio.sleep(max(rest, self.reserve(tokens)))
