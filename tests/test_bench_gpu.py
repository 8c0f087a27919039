"""The GPU benchmark without a GPU: all of it at tiny sizes, under Triton's interpreter and on a stand-in for CuPy.

What no test here reaches: `TorchTimer`, and what `TorchLibrary` does on a GPU only. `pytest -m gpu` runs the script.
"""

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from bench import (
    gpu,
    gpu_ceilings,
    gpu_compare,
    gpu_cupy,
    gpu_equivalence,
    gpu_family,
    gpu_kernels,
    gpu_lazy,
    gpu_naive,
    gpu_report,
    gpu_right,
    gpu_selections,
    model,
)
from bench.gpu_budget import Budget, LeftOut
from bench.gpu_cases import FULL, TINY, family_cases, lazy_case, sample_case, select_case, step_cases
from bench.gpu_device import Library, Timer
from bench.gpu_pools import cone, digest, similarities
from bench.gpu_results import Check, Entry, Failure, Phase, Results
from bench.gpu_session import Session
from gip_gpu.reference import greedy, matching_pursuit
from gip_gpu.signals import self_compression

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["ceilings", "steps", "selections", "gram", "lazy", "family", "equivalence"]


# Of the first format of the file, which had no tracebacks and no seconds of the parts.
OLD = {
    "sizes": "full",
    "machine": {"device": "old chip", "date": "2026-01-02"},
    "ceilings": {"copy bandwidth": 1e12},
    "checks": [],
    "entries": [
        {"part": "ceilings", "case": "copy bandwidth", "variant": "", "backend": "", "seconds": 2.0},
        {"part": "gram", "case": "gone", "variant": "v", "backend": "triton", "seconds": 1.0, "difference": None},
    ],
    "failures": [{"what": "steps", "backend": "triton", "message": "RuntimeError: lost"}],
    "left_out": [],
    "wrong": True,
}


@pytest.fixture(scope="module")
def by_triton(tmp_path_factory):
    """What a dry run under Triton's interpreter printed and wrote."""
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "-m", "bench.gpu", "--device", "cpu", "--backends", "triton", "--budget", "2000"]
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": str(ROOT),
    }
    output, old = folder / "deeper" / "found.json", folder / "old.json"
    old.write_text(json.dumps(OLD))
    result = subprocess.run(
        [*command, "--output", str(output), "--compare", str(old)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, json.loads(output.read_text())


def test_dry_run_has_every_part(by_triton):
    printed, found = by_triton
    # Precisions, and columns.
    assert len({(check["precision"], check["columns"]) for check in found["checks"]}) == 4 * 2
    assert all(check["difference"] is None and check["k"] for check in found["checks"])
    assert list(dict.fromkeys(entry["part"] for entry in found["entries"])) == PARTS[:-1]
    assert list(found["spent"]) == PARTS
    assert all(0 < seconds < 600 for seconds in found["spent"].values())
    assert not found["failures"]
    assert not found["wrong"]
    assert found["machine"]["device"] == "CPU"
    assert set(found["ceilings"]) >= {"copy bandwidth", *(f"GEMM {kind}" for kind in gpu_ceilings.FORMATS)}
    picking = [entry for entry in found["entries"] if entry["picks"]]
    assert all(entry["difference"] is None and not entry["unchecked"] for entry in picking)
    assert all(entry["seconds"] > 0 for entry in found["entries"])
    titles = ["## Ceilings", *gpu_report.PARTS.values(), "## Equivalence", "## Left out", "## Comparison"]
    places = [printed.index(title) for title in titles]
    assert places == sorted(places)
    assert "model, A100" in printed
    assert "Old: old chip, 2026-01-02, sizes: full.\nNew: CPU, " in printed
    assert " x (plain torch loop)" in printed
    assert "withheld" not in printed
    assert any("grid barrier: a cooperative launch needs backend 'cupy'" in line for line in found["left_out"])


def test_dry_run_floors(by_triton):
    _, found = by_triton
    rate, copied = found["ceilings"]["GEMM fp32"], found["ceilings"]["copy bandwidth"]
    gram = next(entry for entry in found["entries"] if entry["part"] == "gram" and "factors fp32" in entry["case"])
    m, d = TINY.gram[0]
    assert gram["floor"] == pytest.approx(max(m * m * d / rate, 4 * m * m / copied))
    # No graph on a CPU, so no latency of a launch, so no floor of a step.
    assert all(entry["floor"] is None for entry in found["entries"] if entry["part"] == "steps")


class Event:
    """Time as a GPU would tell it, in milliseconds."""

    def __init__(self):
        self.timer = Timer()

    def record(self):
        self.at = self.timer.mark()

    def synchronize(self):
        pass


@pytest.fixture
def cupy(monkeypatch, tmp_path):
    """The stand-in for CuPy with what the benchmark calls beside the backend."""
    emulator = pytest.importorskip("cuda_on_cpu.emulator")
    if not emulator.AVAILABLE:
        pytest.skip(emulator.WHY_NOT)
    import cupy_stand_in

    from gip_gpu import device
    from gip_gpu.backends import cupy_, tuning_cuda

    few = dataclasses.replace(tuning_cuda.LOOP, threads=64, step_threads=64, refresh_threads=64)
    monkeypatch.setattr(cupy_, "LOOP", few)
    monkeypatch.setattr(gpu_ceilings, "LOOP", few)
    monkeypatch.setattr(gpu_ceilings, "CAPTURED", 2)
    monkeypatch.setattr(device, "_driver_devices", lambda: 1)
    monkeypatch.delitem(sys.modules, "gip_gpu.backends.cupy_arrays", raising=False)
    cupy_._module.cache_clear()

    class Module(cupy_stand_in.RawModule):
        def __init__(self, *, code, options, enable_cooperative_groups=False):
            if code != gpu_cupy.barrier_source():
                super().__init__(code=code, options=options, enable_cooperative_groups=enable_cooperative_groups)
                return
            folder = tmp_path / "barrier"
            folder.mkdir(exist_ok=True)
            (folder / "barrier.cu").write_text(code)
            self.cooperative = enable_cooperative_groups
            self.program = emulator.build("barrier", {}, folder=tmp_path)

        def get_function(self, name):
            assert self.cooperative == (name in ("barriers", "loop"))
            return super().get_function(name)

    class Capturing(cupy_stand_in.Stream):
        def begin_capture(self):
            pass

        def end_capture(self):
            return SimpleNamespace(launch=lambda: None)

    with cupy_stand_in.installed(monkeypatch) as module:
        pool = SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: None, total_bytes=lambda: 1000)
        properties = {
            "name": b"stand-in",
            "major": 8,
            "minor": 0,
            "multiProcessorCount": 3,
            "totalGlobalMem": 1 << 30,
            "l2CacheSize": 1 << 20,
        }
        module.RawModule = Module
        module.float32 = np.float32
        module.ones, module.outer = on_device(np.ones), on_device(np.outer)
        module.linalg = SimpleNamespace(norm=on_device(np.linalg.norm))
        module.get_default_memory_pool = lambda: pool
        module.cuda.Event, module.cuda.Stream = Event, Capturing
        module.cuda.get_elapsed_time = lambda start, stop: 1e3 * (stop.at - start.at)
        module.cuda.cublas.gemmEx = gemm(cupy_stand_in.gemm_ex)
        runtime = module.cuda.runtime
        runtime.getDeviceProperties = lambda number: properties
        runtime.runtimeGetVersion = runtime.driverGetVersion = lambda: 12090
        yield module
    monkeypatch.delitem(sys.modules, "gip_gpu.backends.cupy_arrays", raising=False)
    cupy_._module.cache_clear()


def on_device(function):
    """A function of NumPy as CuPy has it."""
    import cupy_stand_in

    return lambda *args, **options: cupy_stand_in.device(function(*map(cupy_stand_in.host, args), **options))


def gemm(of_float32):
    """A stand-in for cublasGemmEx that has products of 16-bit values too; all strides as the benchmark gives them."""

    def call(*args):
        _, transa, transb, m, n, k, _, a, a_type, lda, b, b_type, ldb, _, c, c_type, ldc, compute, algo = args
        if a_type == 0:
            of_float32(*args)
            return
        assert (transa, transb, compute, algo) == (1, 0, 68, -1)
        assert a_type == b_type == c_type
        assert a_type in (2, 14)

        def at(address, rows, stride, width):
            bits = np.frombuffer((ctypes.c_uint16 * (stride * (rows - 1) + width)).from_address(address), np.uint16)
            return np.lib.stride_tricks.as_strided(bits, (rows, width), (2 * stride, 2))

        def decoded(bits):
            if a_type == 2:
                return np.ascontiguousarray(bits).view(np.float16).astype(np.float32)
            return (bits.astype(np.uint32) << 16).view(np.float32)

        product = decoded(at(b, n, ldb, k)) @ decoded(at(a, m, lda, k)).T
        encoded = product.astype(np.float16).view(np.uint16) if a_type == 2 else product.view(np.uint32) >> 16
        np.lib.stride_tricks.as_strided(at(c, n, ldc, m), writeable=True)[...] = encoded

    return call


def test_all_parts_by_cupy(cupy):
    assert gpu.choose("cupy", "cuda") == (["cupy"], [])
    results = gpu.measure(TINY, "cuda", ["cupy"], Budget(2000), [])
    assert not results.failures
    assert not results.left_out
    assert not results.wrong()
    assert len(results.checks) == 8
    assert list(dict.fromkeys(entry.part for entry in results.entries)) == PARTS[:-1]
    objectives = {entry.variant for entry in results.entries if entry.part == "family"}
    assert objectives == {f"{name}, cupy" for name in ("lr", "omp", "mi", "entropy", "mp")}
    # A long list is selected from device arrays only, beside the plain loop.
    long = [entry for entry in results.entries if entry.part == "selections" and entry.case.endswith("k = 6")]
    assert [entry.variant for entry in long] == ["cupy, device arrays", "plain cupy loop"]
    assert {"grid barrier", "launch in a graph", "launch by cupy, back to back"} <= set(results.ceilings)
    assert results.machine["device"] == "stand-in"
    steps = [entry for entry in results.entries if entry.part == "steps"]
    assert all(entry.notes["residual in shared memory"] and results.floor(entry.phases) > 0 for entry in steps)
    assert all(entry.peak == 0 for entry in results.entries if entry.picks)
    text = gpu_report.report(results)
    assert "| grid barrier" in text
    assert "(plain cupy loop)" in text
    json.dumps(results.as_json())


def test_barrier_compiles_for_every_chip():
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError, nvrtc.NVRTCError) as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    for chip in (80, 90, 100):
        program = nvrtc.createProgram(gpu_cupy.barrier_source(), "barrier.cu", [], [])
        nvrtc.compileProgram(program, ["-std=c++17", f"-arch=sm_{chip}"])
        assert nvrtc.getCUBIN(program)


class StubTimer(Timer):
    """Tells the times that it was given, and does what it times."""

    def __init__(self, *spans):
        self.spans = list(spans)

    def seconds(self, action, repeats, before=None):
        action()
        return self.spans.pop(0)


def session_of(library=None, budget=100.0):
    return Session(TINY, "cuda", {"cupy": library}, Budget(budget), Results("tiny"))


def test_barriers_and_launches_by_a_stub():
    made = []
    library = SimpleNamespace(
        name="cupy",
        arrays=SimpleNamespace(multiprocessors=7),
        timer=StubTimer(4e-6, 4e-6 + TINY.barriers * 1.5e-6, TINY.launches * 3e-6, gpu_ceilings.CAPTURED * 1e-6),
        barriers=lambda blocks, threads: lambda count: made.append((blocks, threads, count)),
        empty_launch=lambda: lambda: None,
        graph=lambda action: action,
    )
    session = session_of(library)
    gpu_ceilings.barrier(session, library)
    gpu_ceilings.launches(session, library)
    assert made == [(7, 512, 0), (7, 512, TINY.barriers)]
    assert session.results.ceilings["grid barrier"] == pytest.approx(1.5e-6)
    assert session.results.ceilings["launch in a graph"] == pytest.approx(1e-6)
    assert session.results.ceilings["launch by cupy, back to back"] == pytest.approx(3e-6)
    assert session.results.floor((Phase(barriers=2), Phase(launches=4))) == pytest.approx(7e-6)
    text = gpu_report.report(session.results)
    assert "1.5 us" in text
    assert "1.3 us" in text  # the model's


@pytest.mark.parametrize(("spans", "median"), [([0.3, 0.1, 0.15], 0.15), ([1.9, 0.1, 0.1], 1.9)])
def test_the_median_counts_and_preparations_do_not(spans, median):
    calls, timer, left = [], Timer(), list(spans)
    timer.between = lambda start, stop: left.pop(0)
    assert timer.seconds(lambda: calls.append("action"), 3, lambda: calls.append("before")) == median
    # One run is not counted; nothing that takes so long is repeated.
    counted = 3 if median < 1 else 1
    assert calls == ["before", "action"] * (1 + counted)


def test_long_runs_are_not_repeated():
    calls, timer, left = [], Timer(), [7.0]
    timer.between = lambda start, stop: left.pop(0)
    assert timer.once(lambda: calls.append("action")) == 7.0
    assert calls == ["action"]
    session, library = session_of(), SimpleNamespace(timer=StubTimer(5.0))
    assert gpu_selections._seconds(session, library, TINY.once, lambda: calls.append("short")) == 5.0
    assert gpu_selections._seconds(session, library, TINY.once + 1, lambda: calls.append("long")) < 1.0
    assert calls == ["action", "short", "long"]


def selection(seconds, backend="cupy", difference=None, unchecked="", **rest):
    variant = f"{backend}, device arrays" if backend else "plain cupy loop"
    return Entry(
        "selections", "pool, k = 3", variant, backend, seconds, (), 10, None, True, difference, unchecked, "g", **rest
    )


@pytest.fixture
def results():
    """A selection four times as fast as the plain loop, which leaves the right indices at pick 1."""
    return Results("tiny", entries=[selection(2.0), selection(8.0, backend="", difference=1)])


def test_speed_up_of_right_indices(results):
    assert gpu_report.speed_up(results, results.entries[0]) == "4 x (plain cupy loop)"
    assert not results.wrong()
    assert "pick 1 differs" in gpu_report.report(results)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: setattr(found.entries[0], "difference", 2), "pick 2 differs"),
        (lambda found: found.checks.append(Check("p", "cupy", "bf16", "gram", 3, "ref", 0, 1.0)), "pick 0 differs"),
        (
            lambda found: found.failures.append(Failure("steps", "cupy", "RuntimeError: lost", "Traceback")),
            "steps: RuntimeError",
        ),
    ],
)
def test_no_speed_up_where_anything_is_wrong(results, change, reason):
    change(results)
    assert results.wrong()
    text = gpu_report.report(results)
    assert "4 x" not in text
    assert f"withheld: {gpu_report.speed_up(results, results.entries[0]).removeprefix('withheld: ')}" in text
    assert reason in gpu_report.speed_up(results, results.entries[0])


def test_no_speed_up_without_comparison(results):
    results.entries[0].unchecked = "too late"
    assert not results.wrong()
    assert "4 x" not in gpu_report.report(results)
    assert "not compared: too late" in gpu_report.report(results)


def test_a_part_that_fails_or_is_left_out():
    session = session_of()

    def fails():
        raise RuntimeError("illegal address\nand more")

    def leaves():
        raise LeftOut("no room")

    assert session.do("one", fails, backend="cupy") is None
    assert session.do("two", leaves) is None
    assert session.do("three", lambda x: x + 1, 2) == 3
    session.budget = Budget(0)
    assert session.do("four", lambda: 1) is None
    (failure,) = session.results.failures
    assert (failure.what, failure.backend, failure.message) == ("one", "cupy", "RuntimeError: illegal address")
    assert session.results.as_json()["failures"][0]["traceback"] == failure.traceback
    assert failure.traceback.startswith("Traceback")
    assert "in fails\n" in failure.traceback
    assert failure.traceback.endswith("illegal address\nand more\n")
    assert session.results.left_out == ["two: no room", "four: the time was used up"]
    text = gpu_report.report(session.results)
    assert "- one: RuntimeError: illegal address" in text
    assert "- four: the time was used up" in text


@pytest.mark.parametrize("wrong", [True, False])
def test_exit_status_and_file(monkeypatch, tmp_path, results, wrong):
    if wrong:
        results.entries[0].difference = 0
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "no such library" if name == "triton" else "")

    def measured(sizes, device, names, budget, left_out, parts, save):
        assert names == ["cupy"]
        save(results)
        return results

    monkeypatch.setattr(gpu, "measure", measured)
    output = tmp_path / "found.json"
    run = CliRunner().invoke(gpu.main, ["--quick", "--output", str(output)])
    assert run.exit_code == wrong
    assert json.loads(output.read_text())["wrong"] == wrong
    assert ("4 x" in run.stdout) == (not wrong)


def test_nothing_that_can_be_run(monkeypatch):
    monkeypatch.setattr(gpu, "unusable", lambda name, device: f"{name} is not installed")
    run = CliRunner().invoke(gpu.main, [])
    assert run.exit_code == 2
    assert "triton is not installed" in run.output
    assert "cupy is not installed" in run.output
    run = CliRunner().invoke(gpu.main, ["--backends", "numpy"])
    assert run.exit_code == 2
    assert "choose among triton, cupy" in run.output


def test_one_library_is_enough(monkeypatch):
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "it needs triton" if name == "triton" else "")
    assert gpu.choose("triton,cupy", "cuda") == (["cupy"], ["backend triton: it needs triton"])


def test_every_method_of_a_library_is_there():
    assert not set(gpu_cupy.CupyLibrary.__abstractmethods__)
    assert "matmul" in Library.__abstractmethods__


def test_synthetic_pools():
    F = cone(3000, 64, "fp32").astype(float)
    F /= np.linalg.norm(F, axis=1, keepdims=True)
    assert 0.25 < (F @ F.mean(axis=0)).mean() < 0.6
    held = cone(300, 16, "bf16")
    assert not (held.view(np.uint32) & 0xFFFF).any()
    assert cone(9000, 4, "fp16")[:100].tolist() == cone(9000, 4, "fp16")[:100].tolist()
    assert [case.signals for case in step_cases(TINY)] == [1, 4]


def test_similarities():
    # More than a block, and parts that do not divide it.
    F = cone(9000, 8, "fp16")
    units = F.astype(float) / np.linalg.norm(F.astype(float), axis=1, keepdims=True)
    for n in (2, 3):
        parts = np.stack([units[part::n].sum(axis=0) for part in range(n)])
        np.testing.assert_allclose(similarities(F, n), units @ parts.T, atol=1e-9)
    np.testing.assert_allclose(similarities(F), self_compression(F), atol=1e-9)


def test_digests_tell_arrays_apart(monkeypatch):
    array = np.arange(12.0).reshape(3, 4)
    other = array.copy()
    other[2, 3] += 1e-9
    found = [digest(each) for each in (array, other, array.reshape(4, 3), array.view(np.int64), array[:, :0])]
    assert len(set(found)) == 5
    assert digest(np.asfortranarray(array)) == found[0]
    # The bytes of every piece count.
    monkeypatch.setattr("bench.gpu_pools.PIECE", 32)
    assert digest(array) != digest(other)


@pytest.fixture
def right_file(monkeypatch, tmp_path):
    """A file of right indices for tiny pools."""
    file = tmp_path / "right.npz"
    monkeypatch.setattr(gpu_right, "FILE", file)
    monkeypatch.setattr(gpu_right, "FULL", TINY)
    run = CliRunner().invoke(gpu_right.main, ["--output", str(file)])
    assert run.exit_code == 0, run.output
    return file


def test_right_indices_are_stored(right_file, monkeypatch):
    monkeypatch.setattr(gpu_right, "by_numpy", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr(gpu_right, "matching_pursuit", lambda *_, **__: pytest.fail("computed"))
    cases = [sample_case(TINY), *family_cases(TINY), *step_cases(TINY), select_case(*TINY.select[0]), lazy_case(TINY)]
    assert len({gpu_right.key(case) for case in cases}) == len(gpu_right.load(right_file)) == 9
    for case in cases:
        k = min(case.k, 6 if case.k == 200 else case.k)
        indices, source = gpu_right.expected(case, k, Budget(0))
        assert source == "stored indices"
        if case.plain:
            right = matching_pursuit(case.F, case.G, k, on_exhausted="restart")
        else:
            right = greedy(case.F, case.scores, k, objective=case.objective, **case.options)
        assert indices.tolist() == right.tolist()
        assert gpu_right.expected(case, 2, Budget(0))[0].tolist() == right[:2].tolist()


@pytest.mark.parametrize("changed", ["F", "G", "type", "objective", "pool", "k"])
def test_stored_indices_of_another_choice_are_not_used(right_file, monkeypatch, changed):
    case = sample_case(TINY)
    if changed == "F":
        case.F[-1, -1] = np.nextafter(case.F[-1, -1], np.float32(9))
    elif changed == "G":
        case.G[7] = np.nextafter(case.G[7], 9)
    elif changed == "type":
        case.F = case.F.astype(np.float64)
    elif changed == "objective":
        case.options = {"sign": "positive"}
    elif changed == "k":
        case.k += 1
    else:
        case.F, case.G = cone(400, 24, "fp32"), np.arange(400.0)
    indices, source = gpu_right.expected(case, case.k, Budget(100))
    assert len(indices) == case.k
    assert source != "stored indices"
    case.known = None
    monkeypatch.setattr(gpu_right, "REFERENCE_WORK", 0)
    monkeypatch.setattr(gpu_right, "PATIENCE", 0)
    why = "are not stored" if changed in ("type", "objective", "k") else "are stored for another pool"
    assert why in session_of().known(case, case.k)[1]


def test_the_file_is_written_again_only_where_it_must_be(right_file, monkeypatch):
    before = right_file.read_bytes()
    monkeypatch.setattr(gpu_right, "by_numpy", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr(gpu_right, "matching_pursuit", lambda *_, **__: pytest.fail("computed"))
    gpu_right.write(right_file, TINY)
    assert right_file.read_bytes() == before
    with pytest.raises(pytest.fail.Exception, match="computed"):
        gpu_right.write(right_file, dataclasses.replace(TINY, sample=(200, 24, 6)))


def test_checked_in_lists_are_long_enough():
    lists = gpu_right.load(gpu_right.FILE)
    (m, d, k), large, sample = FULL.step, FULL.lazy, FULL.sample
    wanted = {
        f"synthetic {m:,} x {d}, 4 signals, float16, mp": k,
        f"synthetic {large[0]:,} x {large[1]}, self-compression, float32, mp": large[2],
        f"synthetic {sample[0]:,} x {sample[1]}, self-compression, float32, mp": sample[2],
    }
    for m, d in FULL.select:
        wanted[f"synthetic {m:,} x {d}, self-compression, float16, mp"] = round(max(FULL.shares) * m)
    (m, d, k), tiny = FULL.family, f"{TINY.family[0]} x {TINY.family[1]}"
    wanted |= {gpu_right.key(case).replace(tiny, f"{m:,} x {d}"): k for case in family_cases(TINY)}
    assert {name: len(found.picks) for name, found in lists.items()} == wanted
    assert all(len(set(found.picks)) == len(found.picks) for found in lists.values())
    assert gpu_right.FILE.stat().st_size < 300_000


@pytest.mark.slow
def test_checked_in_lists_hold_for_the_pools_of_this_machine():
    m, d, _ = FULL.step
    lists = gpu_right.load(gpu_right.FILE)
    for case in (sample_case(FULL), *family_cases(FULL), *step_cases(FULL), select_case(m, d)):
        found = lists[gpu_right.key(case)]
        assert gpu_right.fits(found, case), case.title
        k = case.k if len(case.F) < 10_000 else 10
        if case.plain:
            assert found.picks[:k].tolist() == matching_pursuit(case.F, case.G, k, on_exhausted="restart").tolist()


def test_right_indices_in_time(monkeypatch):
    case = select_case(300, 16)
    expected = matching_pursuit(case.F, case.G, 20, on_exhausted="restart").tolist()
    monkeypatch.setattr(gpu_right, "REFERENCE_WORK", 0)
    with pytest.raises(LeftOut, match="no time was left"):
        gpu_right.expected(case, 20, Budget(0))
    assert session_of(budget=0).known(case, 20) == (None, "no time was left for the NumPy backend")
    # By the estimate: 300 x 16 x 20 products.
    assert gpu_right.estimate(case, 20) == pytest.approx(300 * 16 * 20 * gpu_right.MATCHING_PURSUIT)
    monkeypatch.setattr(gpu_right, "MATCHING_PURSUIT", 1e-3)
    with pytest.raises(LeftOut, match="are not stored, and the NumPy backend would take about 96 s"):
        gpu_right.expected(case, 20, Budget(1000))
    monkeypatch.setattr(gpu_right, "MATCHING_PURSUIT", 1e-10)
    indices, source = gpu_right.expected(case, 20, Budget(100))
    assert (indices.tolist(), source) == (expected, "NumPy backend")
    # Shorter lists are the first picks of longer ones.
    assert gpu_right.expected(case, 5, Budget(0))[0].tolist() == expected[:5]
    monkeypatch.setattr(gpu_right, "REFERENCE_WORK", 1e9)
    assert gpu_right.expected(case, 21, Budget(0))[1] == "float64 reference"


def test_computing_ends_with_the_budget():
    ticks = iter(range(100))
    with pytest.raises(LeftOut, match=r"the NumPy backend had made \d+ of 20 picks when its time was up"):
        gpu_right.by_numpy(select_case(300, 16), 20, Budget(1.5, lambda: next(ticks)))


def test_parts_and_their_shares():
    assert [part.name for part in gpu.PARTS] == PARTS
    assert sum(part.share for part in gpu.PARTS) == pytest.approx(1)
    # No part takes a minute, whatever the others leave.
    assert all(gpu.SECONDS * part.share < 60 for part in gpu.PARTS)
    assert Budget(gpu.SECONDS, lambda: 0.0).part(1, coming=1, chosen=1.0 + 1e-9).seconds > 60
    assert Budget(gpu.SECONDS, lambda: 0.0).part(0.1, coming=0.1, chosen=1.0).seconds < 60


def test_only_some_parts(monkeypatch, results):
    assert gpu.parts_of(None) == gpu.PARTS
    # In the order of all parts.
    assert [part.name for part in gpu.parts_of(" lazy,steps,")] == ["steps", "lazy"]
    chosen = []

    def measured(sizes, device, names, budget, left_out, parts, save):
        chosen.extend(part.name for part in parts)
        return results

    monkeypatch.setattr(gpu, "measure", measured)
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "")
    assert CliRunner().invoke(gpu.main, ["--only", "family,ceilings"]).exit_code == 0
    assert chosen == ["ceilings", "family"]
    for wrong in ("steps,stepz", "", " , "):
        run = CliRunner().invoke(gpu.main, ["--only", wrong])
        assert run.exit_code == 2
        assert f"choose among {', '.join(PARTS)}" in run.output
    text = " ".join(CliRunner().invoke(gpu.main, ["--help"]).output.split())
    assert "Without ceilings no floor is known" in text


def run_on_a_fake_clock(parts, seconds):
    """The pieces of a second that each part got to do; `parts` has a name, a share and the pieces that it has."""
    now, done, saved = [0.0], {}, []

    def piece(name):
        done[name] = done.get(name, 0) + 1
        now[0] += 1

    def part_of(name, share, pieces):
        def run(session):
            for _ in range(pieces):
                session.do(name, piece, name)

        return gpu.Part(name, run, share)

    session = session_of()
    session.budget = Budget(seconds, lambda: now[0])
    gpu.run_parts(session, [part_of(*part) for part in parts], lambda results: saved.append(list(results.spent)))
    # The file is written after each part.
    assert saved == [[part[0] for part in parts[: place + 1]] for place in range(len(parts))]
    assert session.results.spent == {name: done.get(name, 0) for name, *_ in parts}
    assert len(session.results.left_out) == sum(pieces for *_, pieces in parts) - sum(done.values())
    return done


def test_every_part_yields_something():
    # However much each has to do, none takes another's share.
    done = run_on_a_fake_clock([(part.name, part.share, 1000) for part in gpu.PARTS], 100)
    for part in gpu.PARTS:
        assert abs(done[part.name] - 100 * part.share) <= 1


def test_unused_time_is_passed_on():
    parts = [("a", 0.4, 4), ("b", 0.1, 1000), ("c", 0.1, 1000), ("d", 0.4, 1000)]
    # Of the 96 seconds left: b has a sixth, c a fifth of the rest, d the rest, but no more than its own share.
    assert run_on_a_fake_clock(parts, 100) == {"a": 4, "b": 16, "c": 16, "d": 40}
    # A part that is idle leaves no other more than a fifth.
    parts = [("a", 0.8, 1), ("b", 0.1, 1000), ("c", 0.1, 1000)]
    assert run_on_a_fake_clock(parts, 100) == {"a": 1, "b": 20, "c": 20}
    # Fewer parts: each has its share of all seconds.
    assert run_on_a_fake_clock([("b", 0.1, 1000), ("c", 0.3, 1000)], 100) == {"b": 25, "c": 75}


@pytest.mark.parametrize(
    ("part", "pieces"),
    [
        (gpu_kernels.steps, 2 * 2),
        (gpu_selections.selections, 2 + 1 + 1),
        (gpu_kernels.grams, 4),
        (gpu_lazy.lazy, 2),
        (gpu_family.family, 5),
        (gpu_equivalence.equivalence, 4 * 2),
    ],
)
def test_backends_take_turns(monkeypatch, part, pieces):
    # So that a part that is cut off has something of both.
    order = []

    def do(self, what, action, *args, backend=""):
        if not backend or action in (gpu_selections._placed, gpu_lazy._upload):
            return None if action is gpu_selections.plain else action(*args)
        order.append(backend)
        return None

    monkeypatch.setattr(Session, "do", do)
    library = SimpleNamespace(name="stub", cuda=True, put=lambda values, kind: values, release=lambda: None)
    part(Session(TINY, "cuda", {"triton": library, "cupy": library}, Budget(100), Results("tiny")))
    assert order == ["triton", "cupy"] * pieces


def run_with(entries, **machine):
    results = Results("tiny", {"device": "chip", "date": "2026-03-04", **machine}, entries=entries)
    return json.loads(json.dumps(results.as_json()))


def test_comparison_of_two_runs():
    ceiling = Entry("ceilings", "copy bandwidth", "", "", 1.0, notes={"value": 2e12})
    new = run_with([ceiling, selection(2.0), selection(1.0, backend="", difference=4), selection(0.0, backend="z")])
    old = run_with([selection(8.0), selection(3.0, backend="", difference=4), selection(1.0, backend="z")], device="A")
    old["entries"] += OLD["entries"]
    text = gpu_compare.comparison(old, new)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == [
        ["ceilings", "copy bandwidth", "", "2 s", "1 s", "2"],
        ["selections", "pool, k = 3", "cupy, device arrays", "8 s", "2 s", "4"],
        # A plain loop may pick what it likes.
        ["selections", "pool, k = 3", "plain cupy loop", "3 s", "1 s", "3"],
        ["selections", "pool, k = 3", "z, device arrays", "1 s", "0 ns", ""],
    ]
    assert "Old: A, 2026-03-04, sizes: tiny.\nNew: chip, 2026-03-04, sizes: tiny.\n" in text
    assert "Only in the old: 1 (gram 1)." in text
    assert "Only in the new" not in text
    assert "Only in the new: 4 (ceilings 1, selections 3)." in gpu_compare.comparison(run_with([]), new)
    assert "no measurement in common" in gpu_compare.comparison(run_with([]), new)


@pytest.mark.parametrize(("before", "after", "told"), [(0, None, "pick 0 of the old"), (None, 2, "pick 2 of the new")])
def test_no_ratio_of_wrong_picks(before, after, told):
    old, new = run_with([selection(8.0, difference=before)]), run_with([selection(2.0, difference=after)])
    assert f"withheld: {told} differs" in gpu_compare.comparison(old, new)
    assert "| 4 " not in gpu_compare.comparison(old, new)


def test_comparison_is_printed(monkeypatch, tmp_path, results):
    def measured(sizes, device, names, budget, left_out, parts, save):
        save(results)
        return results

    monkeypatch.setattr(gpu, "measure", measured)
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "")
    old = tmp_path / "old.json"
    old.write_text(json.dumps(run_with([selection(6.0)])))
    # Its own file of the run before is read before it is overwritten.
    run = CliRunner().invoke(gpu.main, ["--compare", str(old), "--output", str(old)])
    assert run.exit_code == 0
    assert "| selections | pool, k = 3 | cupy, device arrays | 6 s   | 2 s   | 3           |" in run.stdout
    assert gpu_compare.load(old)["sizes"] == "tiny"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("{", "it is no JSON"),
        (b"\xff\xfe\xfa", "it is no JSON"),
        ("[]", "it holds a list, not an object"),
        ("{}", "it has no 'sizes'"),
        (json.dumps({**OLD, "machine": None}), "it has no 'machine'"),
        (json.dumps({**OLD, "entries": {}}), "it has no 'entries'"),
        (json.dumps({**OLD, "entries": [[]]}), "entry 0 has no part, case and variant"),
        (json.dumps({**OLD, "entries": [*OLD["entries"], {"part": "a", "case": "b"}]}), "entry 2 has no part"),
        *(
            (json.dumps({**OLD, "entries": [{"part": "a", "case": "b", "variant": "", "seconds": wrong}]}), "seconds")
            for wrong in (None, "1", True, -1.0, float("nan"), float("inf"))
        ),
    ],
)
def test_files_that_cannot_be_compared_with(monkeypatch, tmp_path, text, told):
    monkeypatch.setattr(gpu, "measure", lambda *_: pytest.fail("measured first"))
    monkeypatch.setattr(gpu, "unusable", lambda name, device: "")
    file = tmp_path / "old.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    run = CliRunner().invoke(gpu.main, ["--compare", str(file)])
    assert run.exit_code == 2
    assert "Error: --compare" in run.output
    assert told in " ".join(run.output.split())


def test_wrong_gram_entries_are_seen():
    rows = np.eye(4)
    arrays = SimpleNamespace(get=np.asarray, take=lambda array, items: array[items])
    backend = SimpleNamespace(m=4, arrays=arrays, rows=lambda items: rows[items], gamma=1e-6)
    gpu_kernels._compare(backend, np.eye(4, dtype=np.float32))
    with pytest.raises(AssertionError, match="were not written"):
        gpu_kernels._compare(backend, np.full((4, 4), np.nan))
    with pytest.raises(AssertionError, match=r"off by 0\.5"):
        gpu_kernels._compare(backend, np.eye(4) + 0.5)


def test_the_plain_loops_are_algorithm_1(cupy):
    rng = np.random.default_rng(2)
    F, G = rng.standard_normal((200, 24)), rng.standard_normal((200, 2))
    expected = matching_pursuit(F, G, 12).tolist()
    import cupy_stand_in

    assert gpu_naive.cupy_loop(cupy_stand_in.device(F), cupy_stand_in.device(G), 12) == expected
    torch = pytest.importorskip("torch")
    tensors = torch.from_numpy(F), torch.from_numpy(G)
    assert gpu_naive.torch_loop(*tensors, 12) == expected


def test_predictions_are_those_that_are_checked_in():
    assert model.TARGET.read_text() == model.text(), "run python -m bench.model"
    assert all("(prediction)" in row[4] for row in model.rows())


def test_predictions_are_written(monkeypatch, tmp_path):
    monkeypatch.setattr(model, "TARGET", tmp_path / "model.md")
    run = CliRunner().invoke(model.main)
    assert run.exit_code == 0
    assert (tmp_path / "model.md").read_text() == run.output == model.text()
