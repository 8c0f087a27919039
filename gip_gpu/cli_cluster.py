"""Options of `gip-gpu plan` for many devices: a model's figures of what a run whose rows are split will take."""

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import click

from gip_gpu.costs_cluster import GIVEN, estimate
from gip_gpu.costs_gpu import GIVEN_BYTES
from gip_gpu.hardware import KINDS, LINKS
from gip_gpu.objectives import Objective

Command = Callable[..., None]
KIND = next(iter(KINDS))


def whole_power(text: str) -> int:
    """The int that text such as 1e9 or 2.5e6 is; ValueError for text without an exponent, or no int.

    >>> whole_power("2.5e6")
    2500000
    """
    value = Decimal(text) if "e" in text.lower() else Decimal("nan")
    # An int of a billion digits would take minutes to make.
    if not value.is_finite() or value.adjusted() > 18 or value != int(value):
        raise ValueError(f"{text!r} is no whole number with an exponent")
    return int(value)


def whole(text: str) -> int:
    """A count of at least 1, also as 1e9."""
    for kind in (int, whole_power):
        with contextlib.suppress(ValueError, ArithmeticError):
            if (count := kind(text)) >= 1:
                return count
    raise click.BadParameter(f"{text!r} is no count of at least 1")


def cluster_options(command: Command) -> Command:
    """The options that describe many devices, the last three only with the first."""
    for option in reversed(
        (
            click.option("--devices", type=whole, help="Split the rows over so many devices, which need not be here."),
            click.option("--device-kind", help=f"{', '.join(KINDS)}.  [default: {KIND}]"),
            click.option("--network", help=f"{', '.join(LINKS)}, or '50GB/s,5us': the link between devices."),
            click.option("--given", help=f"Format of the rows there: {', '.join(GIVEN_BYTES)}.  [default: {GIVEN}]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def check_alone(**elsewhere: str | None) -> None:
    """UsageError for an option that has no meaning without --devices."""
    for name, value in elsewhere.items():
        if value is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --devices")


def cluster_table(
    m: int, d: int, n: int, k: int, kind: Objective, devices: int, device_kind: str | None, network: str | None,
    given: str | None, precision: str, memory_limit: Any, device: str, backend: str | None, columns: str, query: str,
    sign: str,
) -> list[tuple[str, str]]:  # fmt: skip
    """The rows of the plan.

    Raises:
        click.UsageError: an option that does not go with --devices.
        TypeError, ValueError: as `gip_gpu.costs_cluster.estimate`.
    """
    if device != "auto" or backend is not None:
        raise click.UsageError("--device and --backend are about this machine; with --devices give --device-kind")
    for name, value, only in (
        ("columns", columns, ("auto", "lazy")), ("objective", kind.name, ("mp",)), ("query", query, ("direct",)),
        ("sign", sign, ("any",)),
    ):  # fmt: skip
        if value not in only:
            raise click.UsageError(f"--{name} is {value}; the plan for --devices is of {' or '.join(only)} alone")
    return estimate(
        m, d, n, k, devices=devices, kind=device_kind or KIND, network_link=network, precision=precision,
        given=given or GIVEN, memory_limit=memory_limit,
    ).table()  # fmt: skip
