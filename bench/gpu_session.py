"""Session of `bench.gpu`: runs the pieces within their budget, keeps failures, and looks up right indices."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from bench.gpu_budget import Budget, LeftOut
from bench.gpu_cases import Case, Sizes
from bench.gpu_results import Failure, Results
from bench.gpu_right import expected
from bench.runs import first_difference

T = TypeVar("T")


@dataclass
class Session:
    """A run of the benchmark.

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


def worst(found: list[Any], right: Any) -> int | None:
    """The earliest first difference of several runs; None where all are right."""
    differences = [first_difference(indices, right) for indices in found]
    return min((place for place in differences if place is not None), default=None)
