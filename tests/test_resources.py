"""Every kernel compiles for every chip that we write for, without spills; the checked-in table has all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = """
import json, sys
from bench import resources
found = resources.measured(sys.argv[1])
print(json.dumps([[r.build.kernel, r.build.variant, r.chip, r.registers, r.stack + r.local] for r in found]))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Resources by language, both compiled at the same time, by interpreters that do not interpret Triton."""
    pytest.importorskip("triton")
    pytest.importorskip("cupy_backends")
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError, nvrtc.NVRTCError) as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
        "TRITON_DEFAULT_FP_FUSION": "1",
        "PYTHONPATH": str(ROOT),
    }
    runs = {
        language: subprocess.Popen(
            [sys.executable, "-c", CODE, language], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        for language in ("Triton", "CUDA C++")
    }
    return {language: json.loads(run.communicate()[0]) for language, run in runs.items()}


@pytest.mark.slow
def test_every_kernel_compiles_for_every_chip_without_spills(compiled):
    kernels = {
        "Triton": {"gram", "products", "refresh", "update", "pick"},
        "CUDA C++": {"gram", "products", "loop", "step", "refresh"},
    }
    for language, found in compiled.items():
        for chip in (80, 90, 100):
            assert {kernel for kernel, _, of, *_ in found if of == chip} == kernels[language]
        assert [each for each in found if each[4]] == []
        assert all(registers > 0 for *_, registers, _ in found)


@pytest.mark.slow
def test_the_table_is_that_of_these_kernels(compiled):
    table = (ROOT / "bench" / "results" / "resources.md").read_text()
    for language, found in compiled.items():
        rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith(f"| {language} ")]
        listed = {
            (row[1].strip(), variant.strip(), row[3].strip().removeprefix("sm_"))
            for row in rows
            for variant in row[2].split(";")
        }
        assert listed == {(kernel, variant, str(chip)) for kernel, variant, chip, *_ in found}
