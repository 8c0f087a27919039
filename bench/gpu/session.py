"""Session of the suite: runs the pieces within their budget, keeps failures, times selections and checks them."""

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
# Of the last result of a selection: the work it cannot do without, seconds that the cost model predicts, notes.
Told = Callable[[Any], tuple[tuple[Phase, ...], float | None, dict[str, Any]]]


@dataclass
class Session:
    """A run of the suite.

    Attributes:
        sizes: how large everything is.
        device: as in `gip_gpu.select`.
        libraries: by backend, the device by way of the library whose arrays it works on.
        budget: seconds left to the part that runs.
        results: what was found so far.
    """

    sizes: Sizes
    device: str
    libraries: dict[str, Any]
    budget: Budget
    results: Results

    @property
    def library(self) -> Any:
        """The one for what needs only one."""
        return next(iter(self.libraries.values()))

    def do(self, what: str, action: Callable[..., T], *args: Any, backend: str = "") -> T | None:
        """Does a piece of it, unless the time is used up. A failure is kept, and the rest goes on."""
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

    def known(self, case: Case, k: int) -> tuple[Any, str]:
        """The right indices, or None and why they are not known."""
        try:
            return expected(case, k, self.budget)[0], ""
        except LeftOut as reason:
            return None, str(reason)

    def release(self) -> None:
        """Gives cached memory back: one library's cache is no other's memory."""
        for library in self.libraries.values():
            library.release()

    def seconds(self, library: Any, k: int, action: Callable[[], Any]) -> float:
        """The median of several runs, or for the longest lists one run: the shorter ones have compiled all."""
        if k > self.sizes.once:
            return float(library.timer.once(action))
        return float(library.timer.seconds(action, self.sizes.repeats))

    def selection(
        self, names: tuple[str, str, str], name: str, case: Case, k: int, action: Callable[[], Any], told: Told, *,
        ours: bool = True, group: str = "",
    ) -> None:  # fmt: skip
        """Times an action that selects k items, compares every run of it with the right ones, and notes the entry.

        Args:
            names: part, case and variant of the entry.
            name: of the backend on whose device it runs.
            action: returns a `gip_gpu.Selection`, or a list of indices.
            told: what the entry says beside the time.
            ours: whether gip_gpu selects; else wrong picks are told, and are no fault of the backend.
            group: of the entry.
        """
        library, chosen = self.libraries[name], list[Any]()
        right, unchecked = self.known(case, k)
        self.release()
        peak = library.watch()
        seconds = self.seconds(library, k, lambda: chosen.append(action()))
        held = peak()
        work, model, notes = told(chosen[-1])
        difference = None if right is None else worst([getattr(each, "indices", each) for each in chosen], right)
        self.results.entries.append(
            Entry(
                *names, name if ours else "", seconds, work, held, model, True, difference, unchecked, group, notes,
            )
        )  # fmt: skip


def worst(found: list[Any], right: Any) -> int | None:
    """The earliest first difference of several runs; None where all are right."""
    differences = [first_difference(indices, right) for indices in found]
    return min((place for place in differences if place is not None), default=None)


def proof_of(chosen: Any) -> dict[str, Any]:
    """Notes on a selection: how hard its picks were to prove, and the parts of its time."""
    proof = chosen.certificate
    return {"refreshes": proof.refreshes, "candidates": float(proof.candidates.mean()), **chosen.timings}
