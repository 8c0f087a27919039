"""The command `plan`, for this machine or for many devices."""

from pathlib import Path
from typing import Any

import click

from gip_gpu.cli.options import FILE, OBJECTIVE, QUERY, SIGN, center_options, run_options
from gip_gpu.cli.streams import say
from gip_gpu.cli.summary import table
from gip_gpu.cli.values import count, whole
from gip_gpu.data.center import Center, measure
from gip_gpu.data.rows import BLOCK_VALUES
from gip_gpu.planning.cluster import GIVEN, estimate
from gip_gpu.planning.gpu_costs import GIVEN_BYTES
from gip_gpu.planning.hardware import DEVICE_KINDS, LINKS
from gip_gpu.problem.objectives import OBJECTIVES, Objective
from gip_gpu.problem.options import Options, as_sign
from gip_gpu.sources import open_matrix
from gip_gpu.strategies.choose import make_plan
from gip_gpu.validation.settings import as_count

KIND = next(iter(DEVICE_KINDS))


@click.command()
@click.argument("embeddings", type=FILE, required=False)
@click.option("--rows", type=whole, help="Items in the pool, without a file; also as 1e9.")
@click.option("--dim", type=whole, help="Length of an embedding, without a file.")
@click.option("--signals", type=click.IntRange(min=0), default=1, show_default=True, help="Columns of scores.")
@click.option("-k", "--k", "k", type=count, required=True, help="How many: 500; or a share of all: 0.05 or 5%.")
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@run_options
@OBJECTIVE
@QUERY
@SIGN
@center_options
@click.option("--devices", type=whole, help="Number of devices to split the rows over; they may be elsewhere.")
@click.option("--device-kind", help=f"{', '.join(DEVICE_KINDS)}.  [default: {KIND}]")
@click.option("--network", help=f"{', '.join(LINKS)}, or '50GB/s,5us': the link between devices.")
@click.option("--given", help=f"Format of the rows on them: {', '.join(GIVEN_BYTES)}.  [default: {GIVEN}]")
def plan(
    embeddings: Path | None, rows: int | None, dim: int | None, signals: int, k: int | float | str, key: str | None,
    objective: str | None, query: str, sign: str | None, center: bool | str, devices: int | None,
    device_kind: str | None, network: str | None, given: str | None, **options: Any,
) -> None:  # fmt: skip
    """Show the time and memory of a selection from EMBEDDINGS, or from --rows items of length --dim. Selects nothing.

    With --devices, estimate them for rows split over that many devices, by a model with figures from datasheets.

    With --center-auto, EMBEDDINGS is read once to find out whether it will be centred.
    """
    measured: Center | None = None
    if embeddings is not None and (rows, dim) == (None, None):
        limit = options["memory_limit"]
        source = open_matrix(embeddings, key, dimensions=(2,), memory_limit=limit)
        m, d = source.shape
        if center == "auto":
            step = max(1, BLOCK_VALUES // d)
            measured = measure(source, center, ((start, min(start + step, m)) for start in range(0, m, step)))
    elif embeddings is None and rows is not None and dim is not None:
        m, d = rows, dim
        if center == "auto":
            raise click.UsageError("--center-auto reads the embeddings; give EMBEDDINGS, or --center or --no-center")
    else:
        raise click.UsageError("give either EMBEDDINGS, or both --rows and --dim")
    options.update(query=query, sign=as_sign(sign))
    scored = signals > 0 and (objective not in OBJECTIVES or OBJECTIVES[objective].scored)
    kind = Options(objective, query=query, sign=as_sign(sign)).choose(scored)
    n = signals if kind.scored else 0
    elsewhere: dict[str, Any] = {"device_kind": device_kind, "network": network, "given": given}
    if devices is not None:
        if center:
            raise click.UsageError("the plan for --devices has no centring; leave --center out")
        say(table(_cluster_table(m, d, n, as_count(k, m), kind, devices, **elsewhere, **options)), "the plan")
        return
    _check_alone(**elsewhere)
    centres = center is True or (measured is not None and measured.subtracted)
    # Centred rows are stored in float64.
    options["given"] = "fp64" if centres else "fp32"
    planned = make_plan(m, d, n, as_count(k, m), measure=True, objective=kind.name, small=True, **options)
    said = [("embeddings", measured.said if measured is not None else "centred")] if measured or centres else []
    say(table([*planned.table(), *said]), "the plan")


def _check_alone(**elsewhere: str | None) -> None:
    """Raises UsageError for an option that has no meaning without --devices."""
    for name, value in elsewhere.items():
        if value is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --devices")


def _cluster_table(
    m: int, d: int, n: int, k: int, kind: Objective, devices: int, device_kind: str | None, network: str | None,
    given: str | None, precision: str, memory_limit: Any, device: str, backend: str | None, columns: str, query: str,
    sign: str,
) -> list[tuple[str, str]]:  # fmt: skip
    """Returns the rows of the plan.

    Raises:
        click.UsageError: an option that does not go with --devices.
        TypeError, ValueError: as `gip_gpu.planning.cluster.estimate`.
    """
    if device != "auto" or backend is not None:
        raise click.UsageError("--device and --backend describe this machine; with --devices give --device-kind")
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
