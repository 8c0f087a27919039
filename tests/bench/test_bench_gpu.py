"""The GPU benchmark without a GPU: all of it at tiny sizes, under Triton's interpreter and on a stand-in for CuPy.

No test here reaches the parts of `TorchLibrary` for a GPU. `pytest -m gpu` runs the script.
"""

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from bench.gpu import ceilings, cupy_library, kernels, naive, report, suite
from bench.gpu.budget import Budget, LeftOut
from bench.gpu.cases import TINY
from bench.gpu.library import Library, Timer
from bench.gpu.results import Check, Failure, Phase, Results
from bench.model import a100, h200
from bench.model.suite import main as predictions
from bench.runner import command
from gip_gpu.reference import matching_pursuit
from tests.support.bench_gpu_runs import OLD, PARTS, selection, session_of
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def by_triton(tmp_path_factory):
    """Returns the output and the file of a dry run under Triton's interpreter."""
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "-m", "bench", "gpu", "--device", "cpu", "--backends", "triton", "--budget", "2000"]
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


@pytest.mark.slow
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
    assert set(found["ceilings"]) >= {"copy bandwidth", *(f"GEMM {kind}" for kind in ceilings.FORMATS)}
    picking = [entry for entry in found["entries"] if entry["picks"]]
    assert all(entry["difference"] is None and not entry["unchecked"] for entry in picking)
    assert all(entry["seconds"] > 0 for entry in found["entries"])
    titles = [*report.PARTS.values(), "## Equivalence", "## Left out", "## Comparison"]
    places = [printed.index(title) for title in titles]
    assert places == sorted(places)
    assert "model, A100" in printed
    assert "Seconds: ceilings " in printed
    assert "Old: old chip, 2026-01-02, sizes: full.\nNew: CPU, " in printed
    assert " x (plain torch loop)" in printed
    assert "withheld" not in printed
    assert any("grid barrier: a cooperative launch needs backend 'cupy'" in line for line in found["left_out"])


@pytest.mark.slow
def test_dry_run_floors(by_triton):
    _, found = by_triton
    rate, copied = found["ceilings"]["GEMM fp32"], found["ceilings"]["copy bandwidth"]
    gram = next(entry for entry in found["entries"] if entry["part"] == "gram" and "factors fp32" in entry["case"])
    m, d = TINY.gram[0]
    assert gram["floor"] == pytest.approx(max(m * m * d / rate, 4 * m * m / copied))
    # No graph on a CPU, so no latency of a launch, so no floor of a step.
    assert all(entry["floor"] is None for entry in found["entries"] if entry["part"] == "steps")


class Event:
    """A stand-in for a GPU event, with times in milliseconds."""

    def __init__(self):
        self.timer = Timer()

    def record(self):
        self.at = self.timer.mark()

    def synchronize(self):
        pass


@pytest.fixture
def cupy(monkeypatch, tmp_path):
    """Returns the stand-in for CuPy with the further functions that the benchmark calls."""
    emulator = pytest.importorskip("tests.support.cuda_on_cpu.emulator")
    if not emulator.AVAILABLE:
        pytest.skip(emulator.WHY_NOT)
    from gip_gpu.backends import devices
    from gip_gpu.kernels import cuda_source
    from gip_gpu.kernels.architectures import alike
    from gip_gpu.kernels.loop import tuning as loop
    from gip_gpu.kernels.refresh import tuning as refresh
    from tests.support import cupy_stand_in

    for tuning in (loop, refresh):
        monkeypatch.setattr(tuning, "CUDA", alike(dataclasses.replace(tuning.CUDA[80], threads=64)))
    monkeypatch.setattr(ceilings, "CAPTURED", 2)
    monkeypatch.setattr(devices, "_driver_devices", lambda: 1)
    monkeypatch.delitem(sys.modules, "gip_gpu.backends.cuda.arrays", raising=False)
    cuda_source.module.cache_clear()

    class Module(cupy_stand_in.RawModule):
        def __init__(self, *, code, options, enable_cooperative_groups=False):
            if code != cupy_library.barrier_source():
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
        module.cuda.Event = Event
        module.cuda.get_elapsed_time = lambda start, stop: 1e3 * (stop.at - start.at)
        module.cuda.cublas.gemmEx = gemm(cupy_stand_in.gemm_ex)
        runtime = module.cuda.runtime
        runtime.getDeviceProperties = lambda number: properties
        runtime.runtimeGetVersion = runtime.driverGetVersion = lambda: 12090
        yield module
    monkeypatch.delitem(sys.modules, "gip_gpu.backends.cuda.arrays", raising=False)
    cuda_source.module.cache_clear()


def on_device(function):
    """Wraps a NumPy function as a CuPy function."""
    from tests.support import cupy_stand_in

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


@pytest.mark.slow
def test_all_parts_by_cupy(cupy):
    assert suite.choose("cupy", "cuda") == (["cupy"], [])
    results = suite.measure(TINY, "cuda", ["cupy"], Budget(2000), [])
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
    text = report.report(results)
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
        program = nvrtc.createProgram(cupy_library.barrier_source(), "barrier.cu", [], [])
        nvrtc.compileProgram(program, ["-std=c++17", f"-arch=sm_{chip}"])
        assert nvrtc.getCUBIN(program)


class StubTimer(Timer):
    """A timer that runs its actions and returns given times."""

    def __init__(self, *spans):
        self.spans = list(spans)

    def seconds(self, action, repeats, before=None):
        action()
        return self.spans.pop(0)


def test_barriers_and_launches_by_a_stub():
    made = []
    library = SimpleNamespace(
        name="cupy",
        arrays=SimpleNamespace(multiprocessors=7, capability=80),
        timer=StubTimer(4e-6, 4e-6 + TINY.barriers * 1.5e-6, TINY.launches * 3e-6, ceilings.CAPTURED * 1e-6),
        barriers=lambda blocks, threads: lambda count: made.append((blocks, threads, count)),
        empty_launch=lambda: lambda: None,
        graph=lambda action: action,
    )
    session = session_of(library)
    ceilings.barrier(session, library)
    ceilings.launches(session, library)
    assert made == [(7, 512, 0), (7, 512, TINY.barriers)]
    assert session.results.ceilings["grid barrier"] == pytest.approx(1.5e-6)
    assert session.results.ceilings["launch in a graph"] == pytest.approx(1e-6)
    assert session.results.ceilings["launch by cupy, back to back"] == pytest.approx(3e-6)
    assert session.results.floor((Phase(barriers=2), Phase(launches=4))) == pytest.approx(7e-6)
    text = report.report(session.results)
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
    assert session.seconds(library, TINY.once, lambda: calls.append("short")) == 5.0
    assert session.seconds(library, TINY.once + 1, lambda: calls.append("long")) < 1.0
    assert calls == ["action", "short", "long"]


@pytest.fixture
def results():
    """A selection four times as fast as the plain loop, which leaves the right indices at pick 1."""
    return Results("tiny", entries=[selection(2.0), selection(8.0, backend="", difference=1)])


def test_speed_up_of_right_indices(results):
    assert report.speed_up(results, results.entries[0]) == "4 x (plain cupy loop)"
    assert not results.wrong()
    assert "pick 1 differs" in report.report(results)


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
    text = report.report(results)
    assert "4 x" not in text
    assert f"withheld: {report.speed_up(results, results.entries[0]).removeprefix('withheld: ')}" in text
    assert reason in report.speed_up(results, results.entries[0])


def test_no_speed_up_without_comparison(results):
    results.entries[0].unchecked = "too late"
    assert not results.wrong()
    assert "4 x" not in report.report(results)
    assert "not compared: too late" in report.report(results)


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
    text = report.report(session.results)
    assert "- one: RuntimeError: illegal address" in text
    assert "- four: the time was used up" in text


@pytest.mark.parametrize("wrong", [True, False])
def test_exit_status_and_file(monkeypatch, tmp_path, results, wrong):
    if wrong:
        results.entries[0].difference = 0
    monkeypatch.setattr(suite, "unusable", lambda name, device: "no such library" if name == "triton" else "")

    def measured(sizes, device, names, budget, left_out, parts, save):
        assert names == ["cupy"]
        save(results)
        return results

    monkeypatch.setattr(suite, "measure", measured)
    output = tmp_path / "found.json"
    run = CliRunner().invoke(suite.main, ["--quick", "--output", str(output)])
    assert run.exit_code == wrong
    assert json.loads(output.read_text())["wrong"] == wrong
    assert ("4 x" in run.stdout) == (not wrong)


def test_nothing_that_can_be_run(monkeypatch):
    monkeypatch.setattr(suite, "unusable", lambda name, device: f"{name} is not installed")
    run = CliRunner().invoke(suite.main, [])
    assert run.exit_code == 2
    assert "triton is not installed" in run.output
    assert "cupy is not installed" in run.output
    run = CliRunner().invoke(suite.main, ["--backends", "numpy"])
    assert run.exit_code == 2
    assert "choose among triton, cupy" in run.output


def test_one_library_is_enough(monkeypatch):
    monkeypatch.setattr(suite, "unusable", lambda name, device: "it needs triton" if name == "triton" else "")
    assert suite.choose("triton,cupy", "cuda") == (["cupy"], ["backend triton: it needs triton"])


def test_every_method_of_a_library_is_there():
    assert not set(cupy_library.CupyLibrary.__abstractmethods__)
    assert "matmul" in Library.__abstractmethods__


def test_wrong_gram_entries_are_seen():
    rows = np.eye(4)
    arrays = SimpleNamespace(get=np.asarray, take=lambda array, items: array[items])
    backend = SimpleNamespace(m=4, arrays=arrays, rows=lambda items: rows[items], gamma=1e-6)
    kernels._compare(backend, np.eye(4, dtype=np.float32))
    with pytest.raises(AssertionError, match="were not written"):
        kernels._compare(backend, np.full((4, 4), np.nan))
    with pytest.raises(AssertionError, match=r"off by 0\.5"):
        kernels._compare(backend, np.eye(4) + 0.5)


def test_the_plain_loops_are_algorithm_1(cupy):
    rng = np.random.default_rng(2)
    F, G = rng.standard_normal((200, 24)), rng.standard_normal((200, 2))
    expected = matching_pursuit(F, G, 12).tolist()
    from tests.support import cupy_stand_in

    assert naive.cupy_loop(cupy_stand_in.device(F), cupy_stand_in.device(G), 12) == expected
    torch = pytest.importorskip("torch")
    tensors = torch.from_numpy(F), torch.from_numpy(G)
    assert naive.torch_loop(*tensors, 12) == expected


def test_predictions_are_those_that_are_checked_in():
    for name, table in (("a100", a100), ("h200", h200)):
        assert (command.RESULTS / f"model_{name}.md").read_text() == table.text(), "run python -m bench model"
    assert all("(prediction)" in row[4] for row in a100.rows())


@pytest.mark.parametrize(("name", "table"), [("a100", a100), ("h200", h200)])
def test_predictions_are_written(name, table, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    run = CliRunner().invoke(predictions, ["--only", name])
    assert run.exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"model_{name}.md"]
    assert (tmp_path / f"model_{name}.md").read_text() == run.output == table.text()
