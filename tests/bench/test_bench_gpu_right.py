"""The fixed pools of the GPU benchmark and their right indices, stored or computed."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from bench.gpu import right
from bench.gpu.budget import Budget, LeftOut
from bench.gpu.cases import FULL, TINY, family_cases, lazy_case, sample_case, select_case, step_cases
from bench.gpu.pools import cone, digest, similarities
from gip_gpu.reference import greedy, matching_pursuit
from gip_gpu.signals import self_compression
from tests.support.bench_gpu_runs import session_of


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
    monkeypatch.setattr("bench.gpu.pools.PIECE", 32)
    assert digest(array) != digest(other)


@pytest.fixture
def right_file(monkeypatch, tmp_path):
    """A file of right indices for tiny pools."""
    file = tmp_path / "right.npz"
    monkeypatch.setattr(right, "FILE", file)
    monkeypatch.setattr(right, "FULL", TINY)
    run = CliRunner().invoke(right.main, ["--output", str(file)])
    assert run.exit_code == 0, run.output
    return file


def test_right_indices_are_stored(right_file, monkeypatch):
    monkeypatch.setattr(right, "by_numpy", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr(right, "matching_pursuit", lambda *_, **__: pytest.fail("computed"))
    cases = [sample_case(TINY), *family_cases(TINY), *step_cases(TINY), select_case(*TINY.select[0]), lazy_case(TINY)]
    assert len({right.key(case) for case in cases}) == len(right.load(right_file)) == 9
    for case in cases:
        k = min(case.k, 6 if case.k == 200 else case.k)
        indices, source = right.expected(case, k, Budget(0))
        assert source == "stored indices"
        if case.default_objective:
            picks = matching_pursuit(case.F, case.G, k, on_exhausted="restart")
        else:
            picks = greedy(case.F, case.scores, k, objective=case.objective, **case.options)
        assert indices.tolist() == picks.tolist()
        assert right.expected(case, 2, Budget(0))[0].tolist() == picks[:2].tolist()


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
    indices, source = right.expected(case, case.k, Budget(100))
    assert len(indices) == case.k
    assert source != "stored indices"
    case.known = None
    monkeypatch.setattr(right, "REFERENCE_WORK", 0)
    monkeypatch.setattr(right, "PATIENCE", 0)
    why = "are not stored" if changed in ("type", "objective", "k") else "are stored for another pool"
    assert why in session_of().known(case, case.k)[1]


def test_the_file_is_written_again_only_where_it_must_be(right_file, monkeypatch):
    before = right_file.read_bytes()
    monkeypatch.setattr(right, "by_numpy", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr(right, "matching_pursuit", lambda *_, **__: pytest.fail("computed"))
    right.write(right_file, TINY)
    assert right_file.read_bytes() == before
    with pytest.raises(pytest.fail.Exception, match="computed"):
        right.write(right_file, dataclasses.replace(TINY, sample=(200, 24, 6)))


def test_checked_in_lists_are_long_enough():
    lists = right.load(right.FILE)
    (m, d, k), large, sample = FULL.step, FULL.lazy, FULL.sample
    wanted = {
        f"synthetic {m:,} x {d}, 4 signals, float16, mp": k,
        f"synthetic {large[0]:,} x {large[1]}, self-compression, float32, mp": large[2],
        f"synthetic {sample[0]:,} x {sample[1]}, self-compression, float32, mp": sample[2],
    }
    for m, d in FULL.select:
        wanted[f"synthetic {m:,} x {d}, self-compression, float16, mp"] = round(max(FULL.shares) * m)
    (m, d, k), tiny = FULL.family, f"{TINY.family[0]} x {TINY.family[1]}"
    wanted |= {right.key(case).replace(tiny, f"{m:,} x {d}"): k for case in family_cases(TINY)}
    assert {name: len(found.picks) for name, found in lists.items()} == wanted
    assert all(len(set(found.picks)) == len(found.picks) for found in lists.values())
    assert right.FILE.stat().st_size < 300_000


@pytest.mark.slow
def test_checked_in_lists_hold_for_the_pools_of_this_machine():
    m, d, _ = FULL.step
    lists = right.load(right.FILE)
    for case in (sample_case(FULL), *family_cases(FULL), *step_cases(FULL), select_case(m, d)):
        found = lists[right.key(case)]
        assert found.holds_for(case), case.title
        k = case.k if len(case.F) < 10_000 else 10
        if case.default_objective:
            assert found.picks[:k].tolist() == matching_pursuit(case.F, case.G, k, on_exhausted="restart").tolist()


def test_right_indices_in_time(monkeypatch):
    case = select_case(300, 16)
    expected = matching_pursuit(case.F, case.G, 20, on_exhausted="restart").tolist()
    monkeypatch.setattr(right, "REFERENCE_WORK", 0)
    with pytest.raises(LeftOut, match="no time was left"):
        right.expected(case, 20, Budget(0))
    assert session_of(budget=0).known(case, 20) == (None, "no time was left for the NumPy backend")
    # By the estimate: 300 x 16 x 20 products.
    assert right.estimate(case, 20) == pytest.approx(300 * 16 * 20 * right.MATCHING_PURSUIT)
    monkeypatch.setattr(right, "MATCHING_PURSUIT", 1e-3)
    with pytest.raises(LeftOut, match="are not stored, and the NumPy backend would take about 96 s"):
        right.expected(case, 20, Budget(1000))
    monkeypatch.setattr(right, "MATCHING_PURSUIT", 1e-10)
    indices, source = right.expected(case, 20, Budget(100))
    assert (indices.tolist(), source) == (expected, "NumPy backend")
    # Shorter lists are the first picks of longer ones.
    assert right.expected(case, 5, Budget(0))[0].tolist() == expected[:5]
    monkeypatch.setattr(right, "REFERENCE_WORK", 1e9)
    assert right.expected(case, 21, Budget(0))[1] == "float64 reference"


def test_computing_ends_with_the_budget():
    ticks = iter(range(100))
    with pytest.raises(LeftOut, match=r"the NumPy backend had made \d+ of 20 picks when its time was up"):
        right.by_numpy(select_case(300, 16), 20, Budget(1.5, lambda: next(ticks)))
