"""Ratings of examples by a language model as a judge."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from gip_gpu.signals.examples import Examples, as_pairs
from gip_gpu.signals.judge.answers import Answers, Question
from gip_gpu.signals.judge.client import Client, LostError, RefusedError
from gip_gpu.signals.judge.costs import Estimate, Price, token_estimate
from gip_gpu.signals.judge.report import JudgeRatings, JudgeReport
from gip_gpu.signals.judge.rubric import Rubric
from gip_gpu.signals.judge.settings import Limits, Server
from gip_gpu.signals.progress import Progress, reporting
from gip_gpu.system.files import AnyPath

OUT_OF_BUDGET = "the token budget is used up"

Result = TypeVar("Result")


def judge_ratings(
    examples: Examples,
    server: Server,
    *,
    rubric: Rubric | None = None,
    limits: Limits | None = None,
    answers: AnyPath | None = None,
    price: tuple[float, float] | None = None,
    progress: Progress = None,
) -> JudgeRatings:
    """Asks a language model to rate each example by some attributes, such as coherence and difficulty from 0 to 5.

    Each distinct text is asked about once. A reply must be one JSON object with exactly the attributes and numbers on
    the scale; otherwise the judge is asked again, at most `limits.asks` times in all, and then the row is missing. No
    rating is guessed.

    Args:
        examples: m texts, or (prompt, answer) pairs.
        server: URL, model, and the settings of a request.
        rubric: attributes, scale and prompt; by default those of the paper.
        limits: concurrency, tries, rate limits and token budget.
        answers: file that each reply is appended to (JSON lines). The same call with the same file asks only for what
            is not in it: of a killed run, at most the requests in flight are asked twice.
        price: price of a million tokens of prompts, and of replies, for the cost in the report.
        progress: True for a bar on standard error, or a function of (settled, total).

    Returns:
        `JudgeRatings` with scores (m, attributes), float64, NaN where they are missing: `gip_gpu.signals.fill_missing`
        or `gip_gpu.select(..., on_nan="drop")` treats those.

    Raises:
        TypeError, ValueError: an argument is of another type or out of range; the server knows neither the URL nor the
            model, or refuses the key; `answers` holds something else.
        ConnectionError: the server cannot be reached: no request has succeeded while `limits.concurrency` examples, or
            all, failed; or it asks for a pause of more than ten minutes. Replies so far are in `answers`.
        ImportError: the packages of the extra "judge" are missing.

    Source: Greedy Information Projection, arXiv 2603.13790: the judge's attributes of its experiments. The rubric's
    text is our own.
    """
    pairs, rubric, limits = as_pairs(examples), rubric or Rubric(), limits or Limits()
    rate = _price(price)
    start = time.monotonic()
    with Answers(pairs, rubric, server, answers) as found:
        before, replies = found.tokens(), sum(each.replies for each in found.questions.values())
        reused = sum(each.ratings is not None for each in found.questions.values())
        bad = sum(each.bad for each in found.questions.values())
        run = _Run(found, limits, [each for each in found.questions.values() if not each.settled(limits.asks)])
        with reporting(progress, len(found.questions), len(found.questions) - len(run.ahead), "judge", "row") as notify:
            run.notify = notify
            if run.ahead:
                run.client = Client(server, limits)
                _complete(run.ask(run.client))
    scores, missing = np.full((len(pairs), len(rubric.names)), np.nan), dict[int, str]()
    for question in found.questions.values():
        if question.ratings is not None:
            scores[question.rows] = question.ratings
        else:
            missing |= dict.fromkeys(question.rows, question.reason or run.stopped)
    prompt_tokens, completion_tokens = (now - then for now, then in zip(found.tokens(), before, strict=True))
    asked = sum(each.replies for each in found.questions.values()) - replies
    report = JudgeReport(
        rows=len(pairs), distinct=len(found.questions), reused=reused,
        requests=run.client.requests if run.client else 0, failures=run.client.failures if run.client else 0,
        bad_replies=sum(each.bad for each in found.questions.values()) - bad,
        prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, total_tokens=sum(found.tokens()),
        reported=asked > 0 and all(each.reported for each in run.ahead),
        cost=None if rate is None else rate.of(prompt_tokens, completion_tokens),
        stopped=run.stopped, seconds=time.monotonic() - start,
    )  # fmt: skip
    return JudgeRatings(scores, rubric.names, dict(sorted(missing.items())), report)


def judge_estimate(
    examples: Examples,
    server: Server,
    *,
    rubric: Rubric | None = None,
    limits: Limits | None = None,
    answers: AnyPath | None = None,
    price: tuple[float, float] | None = None,
) -> Estimate:
    """Estimates requests, tokens and cost of `judge_ratings` with the same arguments; sends nothing.

    Tokens are estimated from the bytes of the prompts, or, where `answers` has replies to other examples of the same
    pool, from the usage that the server reported for them.

    Raises:
        TypeError, ValueError: as `judge_ratings`.
    """
    pairs, limits = as_pairs(examples), limits or Limits()
    rate = _price(price)
    existing = answers if answers is not None and os.path.exists(answers) else None
    with Answers(pairs, rubric or Rubric(), server, existing) as found:
        questions = found.questions.values()
        answered = sum(each.ratings is not None for each in questions)
        settled = sum(each.settled(limits.asks) for each in questions)
        prompt_tokens, completion_tokens, measured = found.expected(limits.asks)
    cost = None if rate is None else rate.of(prompt_tokens, completion_tokens)
    return Estimate(
        len(pairs), len(questions), answered, settled - answered, prompt_tokens, completion_tokens, measured, cost
    )


def _price(price: tuple[float, float] | None) -> Price | None:
    if price is None:
        return None
    if not isinstance(price, Sequence) or isinstance(price, str) or len(price) != 2:
        raise TypeError(f"price is {price!r}; it must be two numbers: for a million tokens of prompts, and of replies")
    return Price(*price)


class _Run:
    """One run: several workers take questions in turn.

    Attributes:
        ahead: questions to ask.
        stopped: why the run ended early, or "".
        client: the client, if there is anything to ask.
        notify: called with (settled, total).
    """

    def __init__(self, answers: Answers, limits: Limits, ahead: list[Question]) -> None:
        self.answers, self.limits, self.ahead = answers, limits, ahead
        self.total = len(answers.questions)
        self.stopped = ""
        self.client: Client | None = None
        self.notify: Callable[[int, int], None] | None = None
        self._spent, self._reserved = sum(answers.tokens()), 0
        self._settled, self._lost = self.total - len(ahead), 0

    async def ask(self, client: Client) -> None:
        """Asks all questions; the first error that ends the run cancels the other requests."""
        queue = iter(self.ahead)
        async with client:
            workers = [
                asyncio.ensure_future(self._work(client, queue))
                for _ in range(min(self.limits.concurrency, len(self.ahead)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, client: Client, queue: Iterator[Question]) -> None:
        for question in queue:
            if self.stopped:
                return
            if not await self._settle(client, question):
                return
            self._settled += 1
            if self.notify is not None:
                self.notify(self._settled, self.total)

    async def _settle(self, client: Client, question: Question) -> bool:
        """Asks until a reply is valid, the asks are used up or the request fails; False if the budget ends before."""
        while not question.settled(self.limits.asks):
            messages = question.messages()
            most = token_estimate(messages) + client.server_tokens
            budget = self.limits.token_budget
            if budget is not None and self._spent + self._reserved + most > budget:
                self.stopped = question.reason = OUT_OF_BUDGET
                return False
            self._reserved += most
            try:
                reply = await client.reply(messages)
            except RefusedError as error:
                question.reason = f"the server refuses the example: {error}"
                self._fail(client, error)
                return True
            except LostError as error:
                question.reason = f"no reply after {self.limits.tries} tries: {error}"
                self._fail(client, error)
                return True
            finally:
                self._reserved -= most
            self._lost = 0
            self._spent += reply.prompt_tokens + reply.completion_tokens
            self.answers.record(question, reply)
        return True

    def _fail(self, client: Client, error: Exception) -> None:
        """Counts a failed example; raises if the server seems to be gone or to refuse everything."""
        self._lost += 1
        nothing = not client.successes and self._lost == len(self.ahead) == self.total
        if self._lost >= max(self.limits.concurrency, 4) or nothing:
            kind = ValueError if isinstance(error, RefusedError) else ConnectionError
            raise kind(
                f"{self._lost} examples in a row failed, the last with: {error}; replies so far are kept, and the same "
                "call resumes"
            ) from error


def _complete(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine to its end, also where an event loop already runs, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    results: list[Result] = []
    errors: list[BaseException] = []
    cancel: list[Callable[[], object]] = []

    async def cancellable() -> Result:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await work

    def run() -> None:
        try:
            results.append(asyncio.run(cancellable()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="gip-gpu-judge")
    thread.start()
    try:
        thread.join()
    except BaseException:
        # An interrupt reaches the main thread only.
        for each in cancel:
            each()
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
