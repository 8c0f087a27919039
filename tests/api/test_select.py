"""select: the indices of the float64 reference, whatever the columns, their precision and the memory."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu import select, signals
from gip_gpu.reference import matching_pursuit
from tests.support.tied_pools import problems

ROUTES = list(itertools.product(("gram", "lazy"), ("fp32", "fp16")))


def assert_same(F, G, k, expected, **options):
    for columns, precision in ROUTES:
        chosen = select(F, G, k, columns=columns, precision=precision, device="cpu", **options)
        np.testing.assert_array_equal(chosen.indices, expected, err_msg=f"{columns} {precision}")
        assert chosen.plan.columns == columns
        assert chosen.plan.precision == precision


def scores_of(F, kind):
    if kind == "self":
        return signals.self_compression(F)
    return np.random.default_rng(3).integers(0, 6, (len(F), 4))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["self", "integers"])
def test_gsm8k(real, kind):
    F = real("gsm8k_minilm_f16.npy")
    G = scores_of(F, kind)
    expected = matching_pursuit(F, G, 1494)
    for k in (747, 1494):
        assert_same(F, G, k, expected[:k])
    # Tight: no room for a working set, so every column is a matrix-vector product.
    tight = select(F, G, 747, memory_limit="22MB", precision="fp32")
    assert tight.plan.cache == 1
    np.testing.assert_array_equal(tight.indices, expected[:747])
    loose = select(F, G, 1494, memory_limit="8GB")
    np.testing.assert_array_equal(loose.indices, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["self", "judges"])
def test_alpaca(real, kind):
    F = real("alpaca52k_minilm_f16.npy")
    G = signals.self_compression(F) if kind == "self" else real("alpaca52k_judges.npy")
    expected = matching_pursuit(F, G, 520)
    for precision in ("fp32", "fp16"):
        chosen = select(F, G, 520, precision=precision, memory_limit="1GB")
        np.testing.assert_array_equal(chosen.indices, expected)
        assert chosen.plan.columns == "lazy"


@pytest.mark.slow
def test_wildbench(real):
    F, G = real("wildbench_minilm_f16.npy"), real("wildbench_judges.npy")
    assert_same(F, G, 613, matching_pursuit(F, G, 613))


@pytest.mark.slow
def test_duplicated_rows_of_bbh(real):
    F = real("bbh_wordllama_f16.npy")
    unique, first, count = np.unique(F, axis=0, return_index=True, return_counts=True)
    assert len(F) - len(unique) > 150
    G = signals.self_compression(F)
    assert_same(F, G, 1302, matching_pursuit(F, G, 1302))
    # Only duplicated rows have scores, so that every pick of the first round is a tie.
    chosen = select(F, np.isin(np.arange(len(F)), first[count > 1]).astype(int), 20)
    assert chosen.certificate.tied > 0


def test_synthetic_cone(cone):
    G = signals.self_compression(cone)
    assert_same(cone, G, 600, matching_pursuit(cone, G, 600, on_exhausted="restart"))
    G = np.column_stack([G, np.random.default_rng(0).standard_normal((len(cone), 7))])
    assert_same(cone, G, 600, matching_pursuit(cone, G, 600, on_exhausted="restart"))


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (7, 3), (255, 64), (1000, 5), (1537, 33)])
def test_odd_sizes(m, d, n):
    rng = np.random.default_rng(m + d + n)
    F, G = rng.standard_normal((m, d)), rng.standard_normal((m, n))
    k = max(1, m // 3)
    assert_same(F, G, k, matching_pursuit(F, G, k, on_exhausted="restart"))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(problems(), st.sampled_from(["restart", "stop", "continue"]), st.floats(0, 1))
def test_hypothesis(problem, on_exhausted, share):
    F, G = problem
    k = max(1, round(share * len(F)))
    expected = matching_pursuit(F, G, k, on_exhausted=on_exhausted)
    assert_same(F, G, k, expected, on_exhausted=on_exhausted)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_hypothesis_whole_pool(problem):
    F, G = problem
    expected = matching_pursuit(F, G, len(F), on_exhausted="restart")
    assert sorted(expected) == list(range(len(F)))
    assert_same(F, G, len(F), expected)


def test_rows_that_are_not_unit(cone):
    G = signals.self_compression(cone)
    for scale in (1e-3, 0.3, 1.0):
        F = cone / np.linalg.norm(cone, axis=1).max() * scale
        assert_same(F, G, 200, matching_pursuit(F, G, 200, normalize=False), normalize=False)


def test_rows_too_long_for_the_loop_to_converge(cone):
    with pytest.raises(ValueError, match=r"diverges .* norm up to 40.*normalize=True"):
        select(np.eye(48)[np.arange(2000) % 48] * 40, signals.self_compression(cone), 1500, normalize=False)


def test_a_prefix_is_the_shorter_selection(cone):
    G = signals.self_compression(cone)
    whole = select(cone, G, 300)
    part = select(cone, G, 120)
    np.testing.assert_array_equal(part.indices, whole.indices[:120])
    np.testing.assert_array_equal(part.gains, whole.gains[:120])
