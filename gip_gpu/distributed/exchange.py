"""Messages between the processes of a selection: rank 0 asks, the other ranks answer, and a failure reaches all ranks.

A message is a pickle after its length, sent from one process to another by gloo. A process that dies closes its
connections, so the next message to or from it fails at once. A wait that times out makes gloo close all connections of
its group, so there are two groups: one for the messages of the selection, and the alarm, by which rank 0 tells the
other ranks why it closed the first.
"""

import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, Protocol

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

# The length of a message and its first bytes travel together; few messages of a step are longer.
FIRST = 4096
# Seconds that a failing process waits for another to receive its error.
PARTING = 10.0
# The other ranks wait this factor longer than rank 0, so that it can name the rank that does not answer.
FOLLOWERS_WAIT = 1.25
# Errors that keep their type on the other ranks.
KEPT_ERRORS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (ValueError, TypeError, MemoryError)}

# Number of communicators made so far by these ranks: each has its own keys in the store.
_made: dict[tuple[int, ...], int] = {}

Call = tuple[str, tuple[Any, ...]]


class Target(Protocol):
    """Object that calls are made on: a call names one of its methods.

    Attributes:
        picks: number of picks made so far.
    """

    picks: int


@dataclass(frozen=True)
class Failure:
    """Error of a rank, as sent to the others."""

    kind: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        if isinstance(error, KeyboardInterrupt):
            return cls("", "interrupted")
        if isinstance(error, SystemExit):
            return cls("", f"ended with status {error.code}")
        kind = next((name for name, of in KEPT_ERRORS.items() if isinstance(error, of)), type(error).__name__)
        plain = kind in KEPT_ERRORS or type(error) in (RuntimeError, ImportError, OSError)
        return cls(kind, str(error) if plain and str(error) else f"{kind}: {error}")

    def error(self) -> Exception:
        return KEPT_ERRORS.get(self.kind, RuntimeError)(self.text)


class Communicator:
    """Connections between rank 0 and each other rank. Every failure inside its `with` block reaches all ranks.

    Args:
        group: a process group, or None for all processes.
        timeout: seconds that rank 0 waits for an answer.

    Attributes:
        rank, size: rank of this process, and number of processes.
        target: object that calls are made on; set before `serve`.
        told: whether rank 0, and with it every other rank, knows of the error that was raised.
    """

    def __init__(self, group: Any, timeout: float) -> None:
        if not dist.is_initialized():
            raise RuntimeError("there is no process group; torch.distributed.init_process_group makes one")
        ranks = dist.get_process_group_ranks(group if group is not None else dist.group.WORLD)
        self.rank, self.size, self.timeout = dist.get_rank(group), len(ranks), timeout
        if self.rank < 0:
            raise ValueError("group is a process group that this process is no member of")
        self.target: Target | None = None
        self.told = False
        self._gone = 0
        # An error of one rank reads "rank 2: ..." on the others; an error common to all names no rank.
        self._own, self._failed = True, False
        # Messages in flight to each rank, kept until they have arrived.
        self._sent: dict[int, list[tuple[Any, Any]]] = {}
        key = tuple(ranks)
        _made[key] = _made.get(key, 0) + 1
        store = dist.PrefixStore(f"gip_gpu/{'.'.join(map(str, ranks))}/{_made[key]}", _get_default_store())
        try:
            store.set(f"come/{self.rank}", b"")
            self._main, self._alarm = self._connect("main", store), self._connect("alarm", store)
        except RuntimeError as error:
            why = self._absent(store) or f"rank {self.rank} cannot connect to the other ranks: {brief(error)}"
            raise RuntimeError(why) from error

    def _connect(self, name: str, store: Any) -> Any:
        patience = timedelta(seconds=self.timeout)
        return dist.ProcessGroupGloo(dist.PrefixStore(name, store), self.rank, self.size, patience)

    def _absent(self, store: Any) -> str | None:
        """Returns a text on a rank that has not joined, or joined too late; None if the store does not show one."""
        with suppress(RuntimeError):
            missing = [rank for rank in range(self.size) if not store.check([f"come/{rank}"])]
            gone = [rank for rank in range(self.size) if store.check([f"gone/{rank}"])]
            store.set(f"gone/{self.rank}", b"")
            if missing:
                named = " and ".join(f"rank {rank}" for rank in missing)
                return f"{named} did not join the selection within {self.timeout:g} s"
            if gone:
                return f"rank {self.rank} joined the selection after rank {gone[0]} had stopped waiting"
        return None

    def __enter__(self) -> "Communicator":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            with suppress(_Lost):
                self._flush()
        elif not self.told:
            failure = Failure.of(error)
            if self.rank == 0:
                shared = self._failed or (not self._own and isinstance(error, (ValueError, TypeError)))
                self._raise_alarm(failure if shared else Failure(failure.kind, f"rank 0: {failure.text}"))
            else:
                # Wait until rank 0 has it: messages in flight are lost with the connection.
                with suppress(_Lost):
                    self._post(0, failure)
                    self._flush()
                self.told = self._hear() is not None
        # Only dropping the references closes the connections.
        self._main = self._alarm = None
        self._sent.clear()

    def common(self) -> None:
        """From now on bad input that rank 0 finds counts as that of all ranks, except errors of its own target."""
        self._own = False

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """Rank 0: calls a method on every rank; returns the answers in the order of ranks."""
        return self.ask_each([(name, arguments)] * self.size)

    def ask_each(self, calls: Sequence[Call | None]) -> list[Any]:
        """Rank 0: makes a call on each rank, none for None; returns the answers, None without a call."""
        for rank in range(1, self.size):
            self._command(rank, calls[rank], answered=True)
        answers = [None if calls[0] is None else self._call(*calls[0]), *[None] * (self.size - 1)]
        return self._gather(answers, [call is not None for call in calls])

    def tell(self, name: str, *arguments: Any) -> Any:
        """Rank 0: calls a method on every rank without waiting for the others; returns its own answer."""
        for rank in range(1, self.size):
            self._command(rank, (name, arguments), answered=False)
        return self._call(name, arguments)

    def gather(self, mine: Any) -> list[Any]:
        """Rank 0: returns its own answer and those that the other ranks send without a call."""
        return self._gather([mine, *[None] * (self.size - 1)], [True] * self.size)

    def answer(self, value: Any) -> None:
        """Other ranks: sends an answer to rank 0."""
        try:
            self._post(0, value)
            self._flush()
        except _Lost as lost:
            self._without(lost)

    def serve(self, last: str) -> Any:
        """Other ranks: executes the calls of rank 0 up to the call `last`; returns the result of `last`."""
        while True:
            try:
                name, arguments, answered = self._receive(
                    0, time.monotonic() + FOLLOWERS_WAIT * self.timeout + PARTING / 2
                )
            except _Lost as lost:
                self._without(lost)
            value = self._call(name, arguments)
            if answered:
                self.answer(value)
            if name == last:
                return value

    def fail(self, error: Exception) -> NoReturn:
        """Rank 0: raises an error that is common to all ranks."""
        self._failed = True
        raise error

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        own, self._own = self._own, True
        value = getattr(self.target, name)(*arguments)
        self._own = own
        return value

    def _command(self, rank: int, call: Call | None, *, answered: bool) -> None:
        if call is not None:
            try:
                self._post(rank, (*call, answered))
            except _Lost as lost:
                self._bereaved(rank, lost)

    def _gather(self, answers: list[Any], asked: Sequence[bool]) -> list[Any]:
        deadline = time.monotonic() + self.timeout
        for rank in range(1, self.size):
            if not asked[rank]:
                continue
            try:
                answers[rank] = self._receive(rank, deadline)
            except _Lost as lost:
                self._bereaved(rank, lost)
            # A rank that has answered has received every message sent to it.
            self._sent.pop(rank, None)
            if isinstance(answers[rank], Failure):
                failure = answers[rank]
                self.fail(Failure(failure.kind, f"rank {rank}: {failure.text}").error())
        return answers

    def _post(self, rank: int, message: Any) -> None:
        data = pickle.dumps(message, protocol=5)
        first = bytearray(FIRST)
        first[:8] = len(data).to_bytes(8, "little")
        first[8 : 8 + len(data)] = data[: FIRST - 8]
        parts = [first[:FIRST], bytearray(data[FIRST - 8 :])]
        for part in parts[: 1 + (len(parts[1]) > 0)]:
            tensor = torch.frombuffer(part, dtype=torch.uint8)
            with _losing(self.timeout):
                self._sent.setdefault(rank, []).append((self._main.send([tensor], rank, 0), tensor))

    def _receive(self, rank: int, deadline: float) -> Any:
        first = self._bytes(rank, FIRST, deadline)
        length = int.from_bytes(first[:8], "little")
        data = first[8 : 8 + length]
        return pickle.loads(data + self._bytes(rank, length - len(data), deadline) if len(data) < length else data)

    def _bytes(self, rank: int, count: int, deadline: float) -> bytes:
        tensor = torch.empty(count, dtype=torch.uint8)
        with _losing(self.timeout):
            self._main.recv([tensor], rank, 0).wait(_until(deadline))
        return bytes(tensor.numpy())

    def _flush(self) -> None:
        """Waits until all messages sent have arrived."""
        deadline = time.monotonic() + FOLLOWERS_WAIT * self.timeout
        for works in self._sent.values():
            for work, _ in works:
                with _losing(self.timeout):
                    work.wait(_until(deadline))
        self._sent.clear()

    def _bereaved(self, rank: int, lost: "_Lost") -> NoReturn:
        """Rank 0: raises the error of a lost rank."""
        self._gone = rank
        self.fail(RuntimeError(f"rank {rank} {lost}{self._progress()}"))

    def _without(self, lost: "_Lost") -> NoReturn:
        """Other ranks: raises the error after rank 0 was lost or closed the connections."""
        failure = self._hear()
        self.told = failure is not None
        # Without a failure from rank 0 there is no rank to tell.
        if failure is None:
            raise RuntimeError(f"rank 0 {lost}{self._progress()}") from None
        raise failure.error() from None

    def _progress(self) -> str:
        picks = getattr(self.target, "picks", 0)
        return f" after {picks} picks; there is no result"

    def _raise_alarm(self, failure: Failure) -> None:
        """Rank 0: closes the connections of the selection, so that all other ranks listen, and sends the reason."""
        self._main = None
        self._sent.clear()
        # Cut by bytes: the rest of the pickle takes far less than the other half.
        text = failure.text.encode("utf-8", "surrogatepass")[: FIRST // 2].decode("utf-8", "ignore")
        message = bytearray(pickle.dumps(Failure(failure.kind, text), protocol=5).ljust(FIRST))
        tensor = torch.frombuffer(message, dtype=torch.uint8)
        works = []
        for rank in range(1, self.size):
            if rank != self._gone:
                with suppress(RuntimeError):
                    works.append(self._alarm.send([tensor], rank, 0))
        deadline = time.monotonic() + PARTING
        for work in works:
            with suppress(RuntimeError):
                work.wait(_until(deadline))

    def _hear(self) -> Failure | None:
        """Returns the reason why rank 0 closed the connections; None if it sends none."""
        tensor = torch.empty(FIRST, dtype=torch.uint8)
        try:
            self._alarm.recv([tensor], 0, 0).wait(timedelta(seconds=PARTING))
        except RuntimeError:
            return None
        failure: Failure = pickle.loads(tensor.numpy().tobytes())
        return failure


class _Lost(Exception):
    """Another process died or does not answer."""


@contextmanager
def _losing(timeout: float) -> Iterator[None]:
    """Converts gloo's error of a connection to `_Lost`, with a short text."""
    try:
        yield
    except RuntimeError as error:
        slow = "imed out" in str(error) or "Application timeout" in str(error)
        raise _Lost(f"did not answer for {timeout:g} s," if slow else "died (connection closed)") from None


def _until(deadline: float) -> timedelta:
    # gloo takes a timeout of 0 as no limit.
    return timedelta(seconds=max(0.001, deadline - time.monotonic()))


def brief(error: Exception) -> str:
    """Returns the first sentence of gloo's error, without the position in its source."""
    return str(error).split("] ", 1)[-1].split(". ")[0]
