"""Runs a script under a sanitizer of the CUDA emulation, on the kernels unchanged or with one fault inserted."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.cuda_on_cpu.emulator import COMPILER, KERNELS, sanitizer_environment


def assert_sanitized(
    folder: Path, script: str, sanitize: str, file: str, old: str, new: str, report: str | None, *arguments: str
) -> None:
    """Asserts that the sanitizer reports `report`, or nothing for None.

    Args:
        folder: an empty folder.
        script: Python code; its arguments are `sanitize`, the `arguments` and the folder of the kernels.
        sanitize: "thread" or "address".
        file, old, new: the kernel file in which `old` is replaced by `new`; "" leaves the kernels unchanged.
        report: text in the sanitizer's report.
        arguments: arguments of the script.
    """
    kernels = folder / "kernels"
    shutil.copytree(KERNELS, kernels, ignore=shutil.ignore_patterns("__pycache__"))
    if file:
        text = (kernels / file).read_text()
        assert text.count(old) == 1
        (kernels / file).write_text(text.replace(old, new))
    environment = sanitizer_environment(sanitize)
    # A kernel without a barrier may also hang.
    environment["TSAN_OPTIONS"] += " halt_on_error=1"
    result = subprocess.run(
        [sys.executable, "-c", script, sanitize, *arguments, str(kernels)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert f"RuntimeError: {COMPILER} " not in result.stderr, "it does not compile"
    assert (result.returncode == 0) is (report is None), result.stderr
    # A race may show in a wrong result, or in a crash over an index that was not written yet, before the sanitizer has
    # seen both sides of it.
    lost = sanitize == "thread" and (result.returncode == 1 or "ThreadSanitizer: SEGV" in result.stderr)
    assert report is None or report in result.stderr or lost
