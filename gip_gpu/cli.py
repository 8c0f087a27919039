"""The command line, `gip-gpu`: select, plan, demo.

Exit status: 0 done; 1 unexpected failure; 2 usage or bad input; 130 interrupted; 143 terminated.
"""

import contextlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

import gip_gpu
from gip_gpu import files, memory
from gip_gpu.cli_cluster import check_alone, cluster_options, cluster_table, whole, whole_power
from gip_gpu.plan import make_plan
from gip_gpu.problem import Options
from gip_gpu.selection import Selection
from gip_gpu.sources import Source
from gip_gpu.sources.file import state_of
from gip_gpu.validate import as_count, as_matrix, check_rows_of_scores

SELF_COMPRESSION = "self-compression"
CHOICE_SUFFIXES = (".npy", ".csv", ".txt", ".json", ".npz")
FILE = click.Path(path_type=Path)

Command = Callable[..., None]


def number(text: str) -> int | float:
    """An int if it reads as one, 1e6 too, else a float: a count or a share."""
    for kind in (int, whole_power, float):
        with contextlib.suppress(ValueError, ArithmeticError):
            return kind(text)
    raise click.BadParameter(f"{text!r} is no number")


def size(text: str) -> int | float | str:
    """As `number`, but text such as 2GB stays text."""
    try:
        return number(text)
    except click.BadParameter:
        return text


def interval(text: str) -> int | float:
    """Picks, an int, or seconds: 60.0 or 60s."""
    with contextlib.suppress(click.BadParameter, ValueError):
        return float(text[:-1]) if text.endswith("s") else number(text)
    raise click.BadParameter(f"{text!r} is neither picks, such as 500, nor seconds, such as 60.0 or 60s")


def run_options(command: Command) -> Command:
    """The options that say how to run, shared by `select` and `plan`."""
    for option in reversed(
        (
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."),
            click.option("--backend", help="A registered backend; else the device's default."),
            click.option(
                "--precision", default="auto", show_default=True, help="auto, fp32, fp16; on a GPU also tf32, bf16."
            ),
            click.option("--columns", default="auto", show_default=True, help="auto, gram or lazy."),
            click.option("--memory-limit", type=size, help="2GB, '500 MiB', bytes, or a share of free: 0.5."),
        )
    ):
        command = option(command)
    return command


OBJECTIVE = click.option("--objective", help="mp (the default), omp, lr or mi; without scores: entropy.")
QUERY = click.option("--query", default="direct", show_default=True, help="direct: the scores; ridge: their fit F Q.")
SIGN = click.option("--sign", default="any", show_default=True, help="any; positive: negative residuals do not count.")


@click.group("gip-gpu", no_args_is_help=False)
@click.version_option(gip_gpu.__version__, message="gip-gpu %(version)s")
def commands() -> None:
    """Choose the most informative examples of a pool by Greedy Information Projection."""


@commands.command()
@click.argument("embeddings", type=FILE)
@click.option("--scores", help=f"A file as EMBEDDINGS, or .csv, one row an item; or: {SELF_COMPRESSION}.")
@click.option("-k", "--k", "k", type=number, required=True, help="How many: 500; or a share of all: 0.05.")
@click.option("-o", "--output", type=FILE, help="Indices: .npy, .csv, .txt; all of the result: .npz, .json.")
@click.option("--rows", type=FILE, help="The pool's .jsonl, one line an item.")
@click.option("--rows-out", type=FILE, help="Where the chosen lines of --rows go, most informative first.")
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@click.option("--scores-key", help="Name of the scores, or of columns: a,b,c.")
@run_options
@OBJECTIVE
@click.option("--epsilon", type=float, default=0.0, show_default=True, help="Ridge of the projector and of the query.")
@QUERY
@SIGN
@click.option("--on-exhausted", default="restart", show_default=True, help="restart, stop or continue.")
@click.option("--no-normalize", is_flag=True, help="Take rows of the embeddings at the length they have.")
@click.option("--checkpoint", type=FILE, help="Written from time to time; if it exists, the run goes on from it.")
@click.option("--checkpoint-every", type=interval, help="Picks (an int), or seconds (60.0 or 60s).  [default: 60.0]")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@click.option("--quiet", is_flag=True, help="No progress, no summary, no warnings.")
def select(
    embeddings: Path, scores: str | None, k: int | float, output: Path | None, rows: Path | None, rows_out: Path | None,
    key: str | None, scores_key: str | None, no_normalize: bool, checkpoint: Path | None, force: bool, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Choose k rows of EMBEDDINGS, most informative first.

    EMBEDDINGS is a file, .npy, .npz, .safetensors, .parquet, .arrow or .feather, or a folder of such files as shards.
    All but .npz are read in blocks.

    Without -o, the indices go to standard output, one a line, and the summary to standard error.

    With torchrun --nproc-per-node 4 -m gip_gpu select ..., each of four processes takes its share of the rows.
    """
    if scores is None and options["objective"] != "entropy":
        raise click.UsageError("give --scores, or --objective entropy to choose by the embeddings alone")
    source = None if scores is None or scores == SELF_COMPRESSION else Path(scores)
    if source is None and scores_key is not None:
        raise click.UsageError(f"--scores-key names an array in a file, but --scores is {scores or 'not given'}")
    if (rows is None) != (rows_out is None):
        raise click.UsageError("--rows and --rows-out belong together: what to copy from, and to")
    if checkpoint is None and options["checkpoint_every"] is not None:
        raise click.UsageError("--checkpoint-every goes with --checkpoint, the file to write")
    if quiet:
        warnings.simplefilter("ignore")
    shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
    options.update(normalize=not no_normalize, progress=shown or None)
    pool_rows: files.JsonlRows | None = None

    def read(leading: bool) -> tuple[NDArray[Any] | Source, NDArray[Any] | Source | None]:
        nonlocal pool_rows
        F = as_matrix(files.read_embeddings(embeddings, key), "F")
        as_count(k, len(F))
        G = None if source is None else files.read_scores(source, scores_key)
        if G is not None:
            check_rows_of_scores(G.shape, F.shape)
        if leading:
            pool_rows = None if rows is None else files.read_jsonl_rows(rows, len(F))
            sources = [path for path in (embeddings, source, rows) if path is not None]
            taken = {os.path.realpath(path) for path in sources}
            if checkpoint is not None:
                _check_target(checkpoint, (checkpoint.suffix,), taken, True, "the checkpoint")
            for path, suffixes in ((output, CHOICE_SUFFIXES), (rows_out, (".jsonl", ".ndjson"))):
                if path is not None:
                    _check_target(path, suffixes, taken, force, "an output")
        if scores == SELF_COMPRESSION:
            G = gip_gpu.signals.self_compression(F, normalize=not no_normalize)
        return F, G

    def finish(selection: Selection) -> None:
        if output is not None:
            with _writing(output):
                _write_choice(selection, output)
        if pool_rows is not None and rows_out is not None:
            with _writing(rows_out), files.atomic_write(rows_out) as target:
                pool_rows.copy(selection, target)
        if output is None:
            click.echo("".join(f"{index}\n" for index in selection), nl=False)
        if not quiet:
            written = [str(path) for path in (output, rows_out) if path is not None]
            click.echo(_summary(selection, written), err=output is None)

    if _launched():
        from gip_gpu.distributed.launch import select_launched

        with _going_on_from(checkpoint if _leading() else None):
            select_launched(k, {**options, "checkpoint": checkpoint}, read, finish)
    else:
        F, G = read(True)
        with _going_on_from(checkpoint):
            chosen = gip_gpu.select(F, G, as_count(k, len(F)), checkpoint=checkpoint, **options)
        finish(chosen)


@commands.command()
@click.argument("embeddings", type=FILE, required=False)
@click.option("--rows", type=whole, help="Items in the pool, without a file; also as 1e9.")
@click.option("--dim", type=whole, help="Length of an embedding, without a file.")
@click.option("--signals", type=click.IntRange(min=0), default=1, show_default=True, help="Columns of scores.")
@click.option("-k", "--k", "k", type=number, required=True, help="How many: 500; or a share of all: 0.05.")
@click.option("--key", help="Name of the embeddings in a file of several arrays or columns.")
@run_options
@OBJECTIVE
@QUERY
@SIGN
@cluster_options
def plan(
    embeddings: Path | None, rows: int | None, dim: int | None, signals: int, k: int | float, key: str | None,
    objective: str | None, query: str, sign: str, devices: int | None, device_kind: str | None, network: str | None,
    given: str | None, **options: Any,
) -> None:  # fmt: skip
    """What a selection from EMBEDDINGS, or from --rows items of length --dim, will take. Selects nothing.

    With --devices, for rows that are split over many of them: a model's figures, from datasheets.
    """
    if embeddings is not None and (rows, dim) == (None, None):
        m, d = as_matrix(files.read_embeddings(embeddings, key), "F").shape
    elif embeddings is None and rows is not None and dim is not None:
        m, d = rows, dim
    else:
        raise click.UsageError("give either EMBEDDINGS, or both --rows and --dim")
    options.update(query=query, sign=sign)
    kind = Options(objective, query=query, sign=sign).choose(signals > 0 and objective != "entropy")
    n = 0 if kind.measure == "distance" else signals
    elsewhere: dict[str, Any] = {"device_kind": device_kind, "network": network, "given": given}
    if devices is not None:
        click.echo(_table(cluster_table(m, d, n, as_count(k, m), kind, devices, **elsewhere, **options)))
        return
    check_alone(**elsewhere)
    planned = make_plan(m, d, n, as_count(k, m), measure=True, objective=kind.name, **options)
    click.echo(_table(planned.table()))


@commands.command()
@click.option(
    "-o", "--out", "--output", "out", type=FILE, default="gip-gpu-demo", show_default=True, help="Folder to write to."
)
@click.option("--share", type=float, default=0.05, show_default=True, help="Share of the pool to choose.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the embedding.")
@click.option("--quiet", is_flag=True, help="Print nothing, only write chosen.jsonl and demo.png.")
def demo(out: Path, share: float, seed: int, quiet: bool) -> None:
    """Choose from the docstrings of Python's standard library; compare with random and top-k choice."""
    from gip_gpu.demo import run

    if quiet:
        warnings.simplefilter("ignore")
    report = run(out, share=share, seed=seed)
    if not quiet:
        click.echo(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status; errors are one line on standard error.

    With GIP_GPU_DEBUG=1 in the environment, the traceback is shown too.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that is ignored (nohup) stays ignored.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            commands.main(arguments, prog_name="gip-gpu", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return _failed("interrupted", 130)
    except click.ClickException as error:
        if not _leading():
            return 2
        context = getattr(error, "ctx", None)
        return _failed(error.format_message() + (f" (see {context.command_path} --help)" if context else ""), 2)
    except (ValueError, TypeError, ImportError) as error:
        return _failed(str(error), 2)
    except OSError as error:
        return _failed(f"{error.strerror or error}", 1)
    except MemoryError as error:
        return _failed(f"not enough memory: {error}", 1)
    except Exception as error:
        return _failed(f"{type(error).__name__}: {error} (GIP_GPU_DEBUG=1 shows where)", 1)
    return 0


def _launched() -> bool:
    """Whether this process is one of several that torchrun started."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def _leading() -> bool:
    """Whether this process writes, and says what is wrong: all have the same command line."""
    return not _launched() or os.environ["RANK"] == "0"


def _terminate(number: int, frame: object) -> None:
    """Ends the run by way of its `finally` blocks, so that temporary files go."""
    raise SystemExit(128 + number)


def _failed(message: str, status: int) -> int:
    if os.environ.get("GIP_GPU_DEBUG") == "1":
        traceback.print_exc()
    print("gip-gpu: error:", " ".join(message.split()), file=sys.stderr)
    return status


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    print("gip-gpu: warning:", " ".join(str(message).split()), file=sys.stderr)


def _check_target(path: Path, suffixes: Sequence[str], taken: set[str], force: bool, what: str) -> None:
    """Adds a file that this run will write to those it has to do with, where it may be written."""
    if os.path.realpath(path) in taken:
        raise click.UsageError(f"{path} is named twice, as {what} and as another file of this run")
    if os.path.dirname(os.path.realpath(path)) in taken:
        raise click.UsageError(f"{path} lies in a folder of shards that this run reads")
    files.check_target(path, suffixes, overwrite=force)
    taken.add(os.path.realpath(path))


@contextlib.contextmanager
def _going_on_from(checkpoint: Path | None) -> Iterator[None]:
    """Says how to go on after an interrupt, where this run has written the file."""
    before = _state(checkpoint)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if _state(checkpoint) not in (None, before):
            print(
                f"gip-gpu: the checkpoint {checkpoint} was written; the same command goes on from it", file=sys.stderr
            )
        raise


def _state(path: Path | None) -> tuple[int, ...] | None:
    with contextlib.suppress(OSError):
        return None if path is None else state_of(os.stat(path))
    return None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error


def _write_choice(selection: Selection, path: Path) -> None:
    if path.suffix in (".npz", ".json"):
        selection.save(path)
        return
    with files.atomic_write(path) as file:
        file.write(_encoded(selection, path.suffix))


def _encoded(selection: Selection, suffix: str) -> bytes:
    if suffix == ".npy":
        # Written straight to a file that does not fit the disk, NumPy's error does not say why.
        buffer = io.BytesIO()
        np.save(buffer, selection.indices)
        return buffer.getvalue()
    if suffix == ".txt":
        return "".join(f"{index}\n" for index in selection).encode()
    values = zip(selection, selection.gains.tolist(), selection.explained.tolist(), strict=True)
    lines = (f"{rank},{index},{gain!r},{share!r}\n" for rank, (index, gain, share) in enumerate(values))
    return ("rank,index,gain,explained\n" + "".join(lines)).encode()


def _summary(selection: Selection, written: Sequence[str]) -> str:
    chosen, share = selection.plan, selection.range_share
    entries = [
        ("items", f"{chosen.m:,} of length {chosen.d:,}"),
        ("signals", f"{chosen.n:,}"),
        ("chosen", f"{len(selection):,}" + (f" of {chosen.k:,} asked for" if len(selection) < chosen.k else "")),
        ("objective", chosen.objective),
        ("Gram columns", f"{chosen.kept}, on {chosen.device} ({chosen.backend})"),
        ("time", f"{selection.timings['total']:.3g} s, {selection.work}"),
        ("peak memory", memory.readable(selection.peak_bytes)),
        ("explained share", _explained(selection.explained, selection.rounds)),
        *([] if share is None else [("G in the range of F", f"{share:.2%} of its energy")]),
        *(("written", path) for path in written),
    ]
    return f"{_table(entries)}\ncertificate: {selection.certificate}"


def _explained(explained: NDArray[np.float64], rounds: Sequence[int]) -> str:
    if not len(explained):
        return "none"
    first = explained[rounds[1] - 1] if len(rounds) > 1 else explained[-1]
    # Below 0 it is no share.
    return (f"{first:.4%}" if first >= 0 else "none") + (
        f" by the first of {len(rounds)} rounds" if len(rounds) > 1 else ""
    )


def _table(entries: Sequence[tuple[str, str]]) -> str:
    return str(tabulate(entries, tablefmt="simple", disable_numparse=True))
