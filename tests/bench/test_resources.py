"""Every kernel compiles for every chip that we write for, without spills; the checked-in table has all of them."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support import triton_replicas
from tests.support.paths import ROOT

# Compiling every kernel for every chip takes minutes. The checked-in table is the cache: it holds while sources and
# compilers are those that it names. GIP_GPU_COMPILE=1 compiles in any case.
TABLE = ROOT / "bench" / "results" / "resources.md"
CHIPS = (80, 90, 100)

CODE = """
import json, sys
from bench.resources import suite as resources
found = resources.measured(sys.argv[1], *map(int, sys.argv[2:]))
print(json.dumps([[r.build.kernel, r.build.variant, r.chip, r.registers, r.spilled] for r in found]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Returns the environment of an interpreter that compiles Triton's kernels; skips without a compiler."""
    pytest.importorskip("triton")
    pytest.importorskip("cupy_backends")
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError, nvrtc.NVRTCError) as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    return {
        **{name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="module")
def compiled(environment):
    """Resources by language, all compiled at the same time; Triton takes twice as long."""
    from bench.resources.suite import sources, versions

    known = TABLE.read_text().endswith(f"{versions()}\n\nSources: {sources()}.\n")
    if known and os.environ.get("GIP_GPU_COMPILE") != "1":
        pytest.skip("the checked-in table was made of these sources by these compilers; GIP_GPU_COMPILE=1 compiles")
    runs = [
        (
            language,
            subprocess.Popen(
                [sys.executable, "-c", CODE, language, share, shares],
                cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
            ),
        )
        for language, share, shares in (("Triton", "0", "2"), ("Triton", "1", "2"), ("CUDA C++", "0", "1"))
    ]  # fmt: skip
    found = {language: [] for language, _ in runs}
    for language, run in runs:
        found[language] += json.loads(run.communicate()[0])
    return found


@pytest.mark.slow
def test_every_kernel_compiles_for_every_chip_without_spills(compiled):
    kernels = {
        "Triton": {"refresh", "update", "pick"},
        "CUDA C++": {"cast", "loop", "refresh"},
    }
    for names in kernels.values():
        names |= {"gram", "products", "listed", "nominate", "choose", "step", "candidates", "distances"}
        names |= {"gated_step", "gated_candidates", "gated_distances", "decide", "remaining", "lifted", "project"}
    for language, found in compiled.items():
        for chip in CHIPS:
            assert {kernel for kernel, _, of, *_ in found if of == chip} == kernels[language]
        assert [each for each in found if each[4]] == []
        assert all(registers > 0 for *_, registers, _ in found)


@pytest.mark.slow
def test_the_table_is_that_of_these_kernels(compiled):
    table = TABLE.read_text()
    for language, found in compiled.items():
        rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith(f"| {language} ")]
        listed = {
            (row[1].strip(), variant.strip(), row[3].strip().removeprefix("sm_"))
            for row in rows
            for variant in row[2].split(";")
        }
        assert listed == {(kernel, variant, str(chip)) for kernel, variant, chip, *_ in found}


def test_the_table_is_of_these_sources():
    from bench.resources.suite import sources

    table = TABLE.read_text()
    assert table.endswith(f"Sources: {sources()}.\n"), "kernels have changed: python -m bench resources"
    columns = [line.split("|")[8].strip() for line in table.splitlines() if line.startswith(("| Triton", "| CUDA"))]
    assert set(columns) == {"0"}, "a kernel spills"


ASSEMBLY = """
import json, sys
from bench.resources import suite as resources
kernels = ("pick", "update", "nominate", "choose", "step", "candidates", "distances", "refresh", "gated_step",
           "gated_candidates", "gated_distances", "decide", "remaining", "lifted", "project")
print(json.dumps([resources.assembly("Triton", kernels),
                  resources.assembly("CUDA C++", ("loop", "refresh", "cast")),
                  resources.assembly("Triton", kernels, form="ttgir")]))
"""
# A load without a predicate is a scalar's, which all threads read; the predicate of its store is true for one thread.
# Elements of an array are read and written by the same thread, each under a mask.
ACCESS = re.compile(r"^(?:(ld)|(?:@%p\d+ )?(st))\.global\S*\s.*?\[\s*(%rd\d+)\s*(?:\+\s*(-?\d+))?\s*\]")


def unordered(ptx):
    """Addresses that threads of one program both read and write with no barrier between: one may be ahead."""
    seen, found = {"ld": set(), "st": set()}, []
    for line in ptx.splitlines():
        # Code after an unconditional branch is not executed after the code before it.
        if "bar.sync" in line or "bra.uni" in line:
            seen = {"ld": set(), "st": set()}
        elif access := ACCESS.search(line.strip()):
            load, store, *address = access.groups()
            kind = load or store
            if tuple(address) in seen["ld" if kind == "st" else "st"]:
                found.append(line.strip())
            seen[kind].add(tuple(address))
    return found


def test_unordered_accesses_are_seen():
    load, store = "ld.global.b64 { %rd1 }, [ %rd2 + 8 ];", "@%p1 st.global.b64 [ %rd2 + 8 ], { %rd3 };"
    assert unordered(f"{load}\n{store}")
    assert unordered(f"{store}\n{load}")
    assert not unordered(f"{load}\nbar.sync 0;\n{store}")
    assert not unordered(f"{load}\n{store.replace('+ 8', '+ 16')}")


@pytest.fixture(scope="module")
def assembled(environment):
    run = subprocess.run(
        [sys.executable, "-c", ASSEMBLY], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.mark.slow
def test_no_thread_of_a_triton_program_overtakes_another(assembled):
    assert assembled[0]
    assert {name: unordered(ptx) for name, ptx in assembled[0].items() if unordered(ptx)} == {}


@pytest.mark.slow
def test_no_warp_of_a_triton_program_overtakes_another(assembled):
    """No element of an array is shared by warps without a barrier, if a tile has fewer elements than threads."""
    assert len(assembled[2]) == len(assembled[0])
    found = {name: triton_replicas.unordered(ttgir) for name, ttgir in assembled[2].items()}
    assert {name: pairs for name, pairs in found.items() if pairs} == {}


@pytest.mark.slow
def test_barriers_on_both_sides_of_a_ticket(assembled):
    tickets = {
        name: ttgir for name, ttgir in assembled[2].items() if name.startswith(("pick", "distances", "gated_distances"))
    }
    assert len(tickets) > 10
    assert {name: found for name, ttgir in tickets.items() if (found := triton_replicas.loose_tickets(ttgir))} == {}


WITHOUT_BARRIERS = """
import importlib.util, json, pathlib, sys
from gip_gpu.kernels.family import family_triton
text = pathlib.Path(family_triton.__file__).read_text()
changed = pathlib.Path(sys.argv[1])
changed.write_text("".join(line for line in text.splitlines(True) if "tl.debug_barrier()" not in line))
spec = importlib.util.spec_from_file_location("changed", changed)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
family_triton.step, family_triton.distances = module.step, module.distances
from bench.resources import suite as resources
print(json.dumps(resources.assembly("Triton", ("step", "distances"), form="ttgir")))
"""


@pytest.mark.slow
def test_warps_that_overtake_one_another_are_seen(environment, tmp_path):
    """The step without its barriers, as an H200 ran it: warps may update a residual that another has updated."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_BARRIERS, str(tmp_path / "changed.py")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    changed = json.loads(run.stdout)
    ratios = [ttgir for name, ttgir in changed.items() if name.startswith("step, ratio")]
    assert len(ratios) > 5
    assert all(map(triton_replicas.unordered, ratios))
    assert all(
        len(triton_replicas.loose_tickets(changed[name])) > 1 for name in changed if name.startswith("distances")
    )


@pytest.mark.slow
def test_no_program_of_triton_waits_for_another(assembled):
    """No kernel polls memory to wait for another program: the assembler may assume that the loop ends."""
    polls = re.compile(r"\bld\.(?:global\.)?(?:acquire|relaxed|volatile)|\batom\S*\.(?:cas|exch)")
    assert [name for name, ptx in assembled[0].items() if polls.search(ptx)] == []


@pytest.mark.slow
def test_subnormal_rows_are_not_flushed(assembled):
    """-ftz=true, which CuPy adds, would take them for zero where float32 becomes float64."""
    assert assembled[1]
    assert all("cvt.f64.f32" in ptx for name, ptx in assembled[1].items() if "rows in fp64" not in name)
    assert [name for name, ptx in assembled[1].items() if name.startswith("cast") and "cvt.ftz.f64.f32" in ptx] == []
    assert [name for name, ptx in assembled[1].items() if name.startswith("refresh") and "ftz.f64.f32" in ptx] == []
