"""Session of the suite: runs the pieces within their budget, records failures, times selections and checks them."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from bench.gpu.budget import Budget, LeftOut
from bench.gpu.cases import Case, Sizes
from bench.gpu.results import Entry, Failure, Phase, Results
from bench.gpu.right import expected
from bench.runner.runs import first_difference

T = TypeVar("T")
# From the last result of a selection: its unavoidable work, the seconds that the cost model predicts, notes.
Told = Callable[[Any], tuple[tuple[Phase, ...], float | None, dict[str, Any]]]


@dataclass
class Session:
    """A run of the suite."""

    sizes: Sizes
    # As in `gip_gpu.select`.
    device: str
    # The device through the library of each backend's arrays, by backend.
    libraries: dict[str, Any]
    # Time budget of the running part.
    budget: Budget
    results: Results

    @property
    def library(self) -> Any:
        """The first library, for measurements that need only one."""
        return next(iter(self.libraries.values()))

    def do(self, what: str, action: Callable[..., T], *args: Any, backend: str = "") -> T | None:
        """Runs a piece unless the time is used up; records a failure, so that the run continues."""
        if self.budget.left() <= 0:
            self.results.left_out.append(f"{what}: the time was used up")
            return None
        click.echo(what, err=True)
        try:
            return action(*args)
        except LeftOut as reason:
            self.results.left_out.append(f"{what}: {reason}")
        except Exception as error:
            lines = str(error).strip().splitlines() or ["no message"]
            message = f"{type(error).__name__}: {lines[0]}"
            self.results.failures.append(Failure(what, backend, message, traceback.format_exc()))
        return None

    def each(self, what: str, action: Callable[..., T], *args: Any) -> dict[str, T | None]:
        """Runs a piece, `action(session, *args, name)`, by every backend in turn; returns the results by backend."""
        return {name: self.do(f"{what}, {name}", action, self, *args, name, backend=name) for name in self.libraries}

    def known(self, case: Case, k: int) -> tuple[Any, str]:
        """Returns the right indices and "", or None and the reason why they are unknown."""
        try:
            return expected(case, k, self.budget)[0], ""
        except LeftOut as reason:
            return None, str(reason)

    def release(self) -> None:
        """Releases the cached memory of all libraries: a library cannot use another's cache."""
        for library in self.libraries.values():
            library.release()

    def seconds(self, library: Any, k: int, action: Callable[[], Any]) -> float:
        """Returns the median seconds of several runs; of one run for the longest lists, whose kernels are compiled."""
        if k > self.sizes.once:
            return float(library.timer.once(action))
        return float(library.timer.seconds(action, self.sizes.repeats))

    def selection(
        self, names: tuple[str, str, str], name: str, case: Case, k: int, action: Callable[[], Any], told: Told, *,
        ours: bool = True, group: str = "",
    ) -> None:  # fmt: skip
        """Times an action that selects k items, compares every run with the right indices, and adds the entry.

        Args:
            names: part, case and variant of the entry.
            name: name of the backend on whose device it runs.
            action: returns a `gip_gpu.Selection`, or a list of indices.
            ours: whether gip_gpu selects; wrong picks of other code are reported, but do not count against the backend.
        """
        library, chosen = self.libraries[name], list[Any]()
        right, unchecked = self.known(case, k)
        self.release()
        peak = library.watch()
        seconds = self.seconds(library, k, lambda: chosen.append(action()))
        held = peak()
        work, model, notes = told(chosen[-1])
        difference = None if right is None else worst([getattr(each, "indices", each) for each in chosen], right)
        backend = name if ours else ""
        entry = Entry(*names, backend, seconds, work, held, model, True, difference, unchecked, group, notes)
        self.results.entries.append(entry)


def worst(found: list[Any], right: Any) -> int | None:
    """Returns the earliest first difference of several runs; None if all are right."""
    differences = [first_difference(indices, right) for indices in found]
    return min((place for place in differences if place is not None), default=None)


def proof_of(chosen: Any) -> dict[str, Any]:
    """Returns notes on a selection: refreshes, mean candidates of a pick, and the parts of its time."""
    proof = chosen.certificate
    return {"refreshes": proof.refreshes, "candidates": float(proof.candidates.mean()), **chosen.timings}
