"""The command line, `gip-gpu`: run, embed, score, select, verify, plan, report, demo.

Exit status: 0 done; 1 unexpected failure, or a selection that `verify` found to differ; 2 usage or bad input;
130 interrupted; 143 terminated.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

import click

import gip_gpu
from gip_gpu.cli.demo import demo
from gip_gpu.cli.embed import embed
from gip_gpu.cli.plan import plan
from gip_gpu.cli.progress_log import FLAG, log_line
from gip_gpu.cli.report import report
from gip_gpu.cli.run import run
from gip_gpu.cli.score import score
from gip_gpu.cli.select import select
from gip_gpu.cli.verify import verify
from gip_gpu.system.launched import leading


@click.group("gip-gpu", no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gip_gpu.__version__, message="gip-gpu %(version)s")
def commands() -> None:
    """Choose the most informative examples of a pool by Greedy Information Projection."""


for command in (run, embed, score, select, verify, plan, report, demo):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status; errors are one line on standard error.

    With GIP_GPU_DEBUG=1 in the environment, the traceback is shown too. With --log-json they are JSON.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that is ignored (nohup) stays ignored.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)
    # The arguments, for a report of the command itself.
    given = list(sys.argv[1:] if arguments is None else arguments)
    fail = _log_error if FLAG in given else _print_error
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning if FLAG in given else _show_warning
            # A command that ends by `Context.exit` has its status returned.
            status = commands.main(given, prog_name="gip-gpu", standalone_mode=False, obj=given)
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted", 130)
    except click.ClickException as error:
        if not leading():
            return 2
        context = getattr(error, "ctx", None)
        return fail(error.format_message() + (f" (see {context.command_path} --help)" if context else ""), 2)
    except (ValueError, TypeError, ImportError) as error:
        return fail(str(error), 2)
    except OSError as error:
        place = error.filename2 or error.filename
        return fail(f"{place}: {error.strerror}" if place else f"{error.strerror or error}", 1)
    except MemoryError as error:
        return fail(f"not enough memory: {error}", 1)
    except Exception as error:
        return fail(f"{type(error).__name__}: {error} (GIP_GPU_DEBUG=1 shows where)", 1)
    return status if isinstance(status, int) else 0


def _terminate(number: int, frame: object) -> None:
    """Exits through the `finally` blocks, so that temporary files are removed."""
    raise SystemExit(128 + number)


def _print_error(message: str, status: int) -> int:
    if os.environ.get("GIP_GPU_DEBUG") == "1":
        traceback.print_exc()
    print("gip-gpu: error:", " ".join(message.split()), file=sys.stderr)
    return status


def _log_error(message: str, status: int) -> int:
    trace = {"traceback": traceback.format_exc()} if os.environ.get("GIP_GPU_DEBUG") == "1" else {}
    log_line("error", message=" ".join(message.split()), status=status, **trace)
    return status


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    print("gip-gpu: warning:", " ".join(str(message).split()), file=sys.stderr)


def _log_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    log_line("warning", message=" ".join(str(message).split()), category=category.__name__)
