"""Constraints on the picks: the choice of a plain float64 loop under the same constraints, on every backend."""

import numpy as np
import pytest

from gip_gpu import Pool, Selection, metrics, select, signals, verify
from gip_gpu.exceptions import ConstraintWarning
from tests.support.constrained import plain, problem
from tests.support.emulated import device_options
from tests.support.paths import REAL_DATA

OBJECTIVES = ("mp", "lr", "omp", "entropy")
NONE = {"exclude": [], "codes": None, "least": None, "most": None, "dedup": None}
LIMITS = {0: (3, 5), 1: (0, 2), 2: (None, None), 3: (4, None)}
BOUNDS = {"least": np.array([3, 0, 0, 4]), "most": np.array([5, 2, 90, 90])}
COSTS = np.random.default_rng(20).integers(1, 60, 90)
WEIGHTS = np.random.default_rng(21).uniform(0.01, 2, 90)
# Options of `select` by name, and what the plain loop gets.
KINDS = {
    "exclude": (lambda codes: {"exclude": [3, 40, 41, 42]}, lambda codes: {"exclude": [3, 40, 41, 42]}),
    "groups": (lambda codes: {"groups": codes, "group_limits": LIMITS}, lambda codes: {"codes": codes, **BOUNDS}),
    "dedup": (lambda codes: {"dedup": 0.9}, lambda codes: {"dedup": 0.9}),
    "all": (
        lambda codes: {"groups": codes, "group_limits": LIMITS, "dedup": 0.9, "exclude": [3, 40, 41, 42]},
        lambda codes: {"codes": codes, **BOUNDS, "dedup": 0.9, "exclude": [3, 40, 41, 42]},
    ),
    "include": (lambda codes: {"must_include": [70, 5, 33]}, lambda codes: {"include": [70, 5, 33]}),
    "weights": (lambda codes: {"weights": WEIGHTS}, lambda codes: {"weights": WEIGHTS}),
    "costs": (lambda codes: {"costs": COSTS, "budget": 120}, lambda codes: {"costs": COSTS, "budget": 120}),
    "everything": (
        lambda codes: {
            **KINDS["all"][0](codes),
            "costs": COSTS,
            "budget": 300,
            "weights": WEIGHTS,
            "must_include": [9, 5],
        },
        lambda codes: {**KINDS["all"][1](codes), "costs": COSTS, "budget": 300, "weights": WEIGHTS, "include": [9, 5]},
    ),
}


def check(seed, objective, kind, k=20, epsilon=0.1, **options):
    F, G, codes = problem(np.random.default_rng(seed))
    G = None if objective == "entropy" else G
    ridge = 0.0 if objective == "mp" else epsilon
    given, meant = KINDS[kind]
    chosen = select(F, G, k, objective=objective, epsilon=ridge, **given(codes), **options)
    sign = options.get("sign", "any")
    expected = plain(F, G, k, objective, ridge, sign, **{**NONE, **meant(codes)})
    assert chosen.tolist() == expected
    return chosen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_equals_a_plain_loop(objective, kind):
    """Small pools take the float64 stepper, and with `columns` or `precision` given the float32 arrays."""
    for seed in range(3):
        check(seed, objective, kind, device="cpu")
        check(seed, objective, kind, device="cpu", precision="fp32")
        if objective == "mp":
            check(seed, objective, kind, device="cpu", columns="lazy")
            check(seed, objective, kind, device="cpu", columns="gram")
            check(seed, objective, kind, k=10, device="cpu", sign="positive")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "kind"),
    [
        ("mp", "all"), ("mp", "groups"), ("lr", "groups"), ("entropy", "all"), ("mp", "everything"), ("mp", "weights"),
        ("lr", "weights"), ("entropy", "costs"), ("omp", "everything"), ("lr", "include"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", ["triton", "cupy"])
def test_on_a_gpu(backend, objective, kind, request):
    check(5, objective, kind, k=12, **device_options(backend, request))


@pytest.mark.parametrize("kind", ["all", "everything"])
def test_of_a_pool_and_out_of_core(tmp_path, kind):
    F, G, codes = problem(np.random.default_rng(8))
    np.save(tmp_path / "F.npy", F.astype(np.float32))
    options = KINDS[kind][0](codes)
    whole = select(F.astype(np.float32), G, 20, device="cpu", **options)
    pool = Pool(F.astype(np.float32), device="cpu")
    assert pool.select(G, 20, **options).tolist() == whole.tolist()
    assert pool.select(G, 20).tolist() == select(F.astype(np.float32), G, 20, device="cpu").tolist()
    streamed = select(tmp_path / "F.npy", G, 20, device="cpu", **options)
    assert streamed.tolist() == whole.tolist()


@pytest.mark.parametrize("kind", ["all", "everything"])
@pytest.mark.parametrize("objective", ["mp", "lr", "entropy"])
def test_resumed_after_each_pick(tmp_path, objective, kind):
    F, G, codes = problem(np.random.default_rng(9))
    G = None if objective == "entropy" else G
    options = {**KINDS[kind][0](codes), "objective": objective, "epsilon": 0.0 if objective == "mp" else 0.1}
    whole = select(F, G, 20, device="cpu", **options)

    class Stopped(Exception):
        pass

    def stop(done, k):
        if done == at:
            raise Stopped

    for at in (3, 7, len(whole) - 1):
        path = tmp_path / f"{at}.ckpt"
        with pytest.raises(Stopped):
            select(F, G, 20, device="cpu", checkpoint=path, checkpoint_every=1, progress=stop, **options)
        again = select(F, G, 20, device="cpu", checkpoint=path, **options)
        assert again.resumed == at
        assert again.tolist() == whole.tolist()
        np.testing.assert_allclose(again.explained, whole.explained, atol=1e-5)
        with pytest.raises(ValueError, match="constraints"):
            select(F, G, 20, device="cpu", checkpoint=path, **{**options, "dedup": 0.8})


def test_initial_rows_are_picks_for_near_duplicates_and_for_no_group():
    F, G, codes = problem(np.random.default_rng(10))
    first = [35, 2]
    chosen = select(F, G, 10, device="cpu", initial=first, dedup=0.9, groups=codes, group_limits=(0, 3))
    X = F / np.linalg.norm(F, axis=1, keepdims=True)
    every = [*first, *chosen.tolist()]
    cosines = X[every] @ X[every].T - 2 * np.eye(12)
    assert cosines[2:].max() < 0.9
    assert np.bincount(codes[chosen.indices]).max() == 3


def test_rounds_go_on_under_constraints():
    """Five directions: every fifth pick begins a round."""
    rng = np.random.default_rng(11)
    F, codes = rng.standard_normal((40, 5)), np.arange(40) % 4
    for objective in ("lr", "entropy"):
        G = None if objective == "entropy" else rng.standard_normal(40)
        chosen = select(F, G, 16, objective=objective, device="cpu", groups=codes, group_limits=(2, 5), exclude=[0, 1])
        counts = np.bincount(codes[chosen.indices])
        assert len(chosen) == 16
        assert counts.min() >= 2
        assert counts.max() <= 5
        assert not {0, 1} & set(chosen.tolist())
        assert len(chosen.certificate.rounds) > 2


def test_scores_of_zero_are_picked_in_order_under_constraints():
    F, _, codes = problem(np.random.default_rng(12))
    with pytest.warns(UserWarning, match="zero|order|same"):
        chosen = select(F, np.zeros(90), 6, device="cpu", groups=codes, group_limits=(0, 2), exclude=[0])
    expected, counts = [], np.zeros(4, int)
    for row in range(1, 90):
        if counts[codes[row]] < 2 and len(expected) < 6:
            expected.append(row)
            counts[codes[row]] += 1
    assert chosen.tolist() == expected


def test_the_threshold_is_exact():
    """A cosine of exactly 0.8, whose square and product float64 holds, and one just below."""
    F = np.array([[1.0, 0, 0], [4, 3, 0], [np.nextafter(4, 0), 3, 0], [0, 0, 1]])
    G = [4.0, 3, 2, 1]
    assert select(F, G, 3, device="cpu", normalize=False, dedup=0.8, objective="omp").tolist() == [0, 2, 3]
    twice = np.array([[1.0, 2], [3, 5], [1, 2], [2, 1]])
    assert 2 not in select(twice, [9.0, 3, 8, 1], 3, device="cpu", dedup=1.0).tolist()


def test_fewer_picks_if_no_row_is_left():
    F = np.repeat(np.eye(3), 4, axis=0)
    with pytest.warns(ConstraintWarning, match="no row after 3 of 5 picks"):
        chosen = select(F, np.arange(1.0, 13.0), 5, device="cpu", dedup=0.99)
    assert chosen.tolist() == [11, 7, 3]
    # Equal rows tie, and scores decide; the result says how many there are.
    assert len(chosen.gains) == 3


def test_missing_rows_keep_their_numbers():
    F, G, codes = problem(np.random.default_rng(13))
    F[[4, 50]] = np.nan
    options = {"groups": codes, "group_limits": (2, 6), "exclude": [4, 7], "dedup": 0.9, "device": "cpu"}
    options |= {"must_include": [60, 6], "costs": COSTS, "budget": 400, "weights": WEIGHTS}
    chosen = select(F, G, 12, on_nan="drop", **options)
    kept = np.delete(np.arange(90), [4, 50])
    some = {**options, "groups": codes[kept], "exclude": [int(np.flatnonzero(kept == 7)[0])], "costs": COSTS[kept]}
    some |= {"must_include": np.searchsorted(kept, [60, 6]), "weights": WEIGHTS[kept]}
    with pytest.raises(ValueError, match="must_include has row 50, which on_nan='drop' leaves out"):
        select(F, G, 12, on_nan="drop", device="cpu", must_include=[60, 50])
    assert chosen.tolist() == kept[select(F[kept], G[kept], 12, **some).indices].tolist()


def test_a_checkpoint_holds_for_its_constraints(tmp_path):
    F, G, codes = problem(np.random.default_rng(16))
    limits = {"groups": codes, "group_limits": (3, None)}
    paid = {"costs": COSTS, "budget": 500}
    more = [{"must_include": [35, 2]}, {"weights": WEIGHTS}, paid, {**paid, "budget": 501}]
    kinds = [{}, {"exclude": [35, 2]}, {"dedup": 0.9}, *more, limits]
    for i, kind in enumerate(kinds):
        path = tmp_path / f"{i}.ckpt"
        select(F, G, 20, device="cpu", checkpoint=path, **kind)
        for other in kinds:
            if other is not kind:
                with pytest.raises(ValueError, match="of other constraints on the picks"):
                    select(F, G, 20, device="cpu", checkpoint=path, **other)
    # Minimums are met by the last picks, so that another number of picks is another choice.
    with pytest.raises(ValueError, match="or of another number of picks under group minimums"):
        select(F, G, 14, device="cpu", checkpoint=path, **limits)
    again = select(F, G, 14, device="cpu", checkpoint=tmp_path / "2.ckpt", dedup=0.9)
    assert again.tolist() == select(F, G, 14, device="cpu", dedup=0.9).tolist()


def test_labels_keep_their_types():
    F, G, _ = problem(np.random.default_rng(17))
    labels = [(1, "1", 2.5, ("a", 1))[i % 4] for i in range(90)]
    limits = {1: (4, 4), "1": (0, 0), 2.5: (1, None), ("a", 1): (2, 2)}
    chosen = select(F, G, 10, device="cpu", groups=labels, group_limits=limits)
    assert np.bincount(chosen.indices % 4, minlength=4).tolist() == [4, 0, 4, 2]
    # From the command line, text stands for the label that prints so.
    whole = select(F, G, 10, device="cpu", groups=np.arange(90) % 3, group_limits={"0": (0, 1), 1: (0, 2)})
    assert np.bincount(whole.indices % 3).tolist() == [1, 2, 7]
    single = np.float32([0.1, 0.7])[np.arange(90) % 2]
    assert np.bincount(
        select(F, G, 10, device="cpu", groups=single, group_limits={np.float32(0.1): (3, 3)}).indices % 2
    ).tolist() == [3, 7]


def test_rows_named_by_ids():
    F, G, _ = problem(np.random.default_rng(27))
    ids = [f"doc-{i // 2 if i > 80 else i}" for i in range(90)]
    by_id = {"ids": ids, "exclude": ["doc-7", "doc-44"], "must_include": np.array(["doc-9", "doc-3"])}
    chosen = select(F, G, 8, device="cpu", **by_id)
    wanted = select(F, G, 8, device="cpu", exclude=[7, 44, 88, 89], must_include=[9, 3])
    assert chosen == wanted
    assert verify(chosen, F, G, **by_id).ok
    again = select(F, G, 8, device="cpu", ids=ids, exclude=chosen)
    assert not set(again.tolist()) & set(chosen.tolist())
    with pytest.raises(ValueError, match="must_include has 'doc-44', which is the id of rows 44 and 88"):
        select(F, G, 8, device="cpu", ids=ids, must_include=["doc-44"])
    with pytest.raises(ValueError, match="exclude has 7, which is the id of no row"):
        select(F, G, 8, device="cpu", ids=ids, exclude=[7])
    with pytest.raises(ValueError, match="ids has 3 ids; it must have an id for each of 90 rows"):
        select(F, G, 8, device="cpu", ids=ids[:3], exclude=["doc-1"])
    with pytest.raises(TypeError, match="must be a sequence of ids"):
        select(F, G, 8, device="cpu", ids=ids, exclude="doc-1")


@pytest.mark.parametrize("missing", [None, float("nan"), [1]])
def test_missing_labels_are_named(missing):
    F, G, _ = problem(np.random.default_rng(18))
    labels = ["a"] * 90
    labels[7] = missing
    with pytest.raises(ValueError, match="in row 7; each row must have a label"):
        select(F, G, 5, device="cpu", groups=labels, group_limits=(0, 5))


def test_minimums_that_are_not_met_are_told():
    F = np.random.default_rng(19).standard_normal((40, 3))
    with pytest.warns(ConstraintWarning, match=r"minimums of \d groups are not met"):
        chosen = select(
            F, None, 30, device="cpu", groups=np.arange(40) % 4, group_limits=(5, None), on_exhausted="stop"
        )
    assert len(chosen) == 3


@pytest.mark.parametrize("epsilon", [0.1, 1e-6])
def test_information_per_cost(epsilon):
    """The choice by definition: the mutual information that an item adds, over its cost."""
    rng = np.random.default_rng(23)
    F, G, costs = rng.standard_normal((40, 8)), rng.standard_normal((40, 3)), rng.integers(1, 20, 40)
    Q = signals.ridge_query(F, G, epsilon)
    picks = []
    while True:
        open_ = [j for j in range(40) if j not in picks and costs[picks].sum() + costs[j] <= 40]
        if not open_ or len(picks) == 6:
            break
        before = metrics.mutual_information(F, Q, picks, epsilon=epsilon) if picks else 0.0
        added = [metrics.mutual_information(F, Q, [*picks, j], epsilon=epsilon) - before for j in open_]
        picks.append(open_[int(np.argmax(added / costs[open_]))])
    options = {"objective": "mi", "query": "ridge", "epsilon": epsilon, "device": "cpu"}
    chosen = select(F, G, 6, costs=costs, budget=40, **options)
    assert chosen.tolist() == picks
    included = select(F, G, 6, must_include=picks[:2], costs=costs, budget=40, **options)
    assert included.tolist() == picks
    np.testing.assert_allclose(included.gains, chosen.gains, rtol=1e-9)
    np.testing.assert_allclose(included.explained, chosen.explained, rtol=1e-9)


@pytest.mark.parametrize("backend", ["triton", "cupy"])
def test_information_per_cost_asked_of_a_gpu(backend, request):
    """No kernel weighs it, so it runs on the CPU."""
    how = device_options(backend, request)
    rng = np.random.default_rng(28)
    F, G, costs = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((50, 3)), rng.integers(1, 20, 50)
    options = {"objective": "mi", "query": "ridge", "epsilon": 0.1, "costs": costs, "budget": 60, "center": True}
    chosen = select(F, G, 9, **how, **options)
    assert chosen == select(F, G, 9, device="cpu", **options)
    assert chosen.plan.device == "cpu"
    assert verify(chosen, F, G, costs=costs, budget=60).ok


def test_the_budget_decides_how_many():
    F, G, codes = problem(np.random.default_rng(24))
    chosen = select(F, G, None, costs=COSTS, budget=300, device="cpu")
    assert chosen.tolist() == plain(F, G, 90, "mp", **{**NONE, "costs": COSTS, "budget": 300})
    left = np.setdiff1d(np.arange(90), chosen.indices)
    assert 0 <= 300 - COSTS[chosen.indices].sum() < COSTS[left].min()
    # Weights that equal the costs leave the plain scores, under the budget.
    plainly = select(F, G, None, costs=COSTS, budget=300, weights=COSTS, device="cpu")
    assert plainly.tolist() == plain(F, G, 90, "mp", weights=COSTS, **{**NONE, "costs": COSTS, "budget": 300})
    with pytest.raises(ValueError, match="share of k, and k is None"):
        select(F, G, None, costs=COSTS, budget=300, groups=codes, group_limits=(0, 0.5), device="cpu")


def test_sums_of_costs_are_exact():
    """Costs around 2^53, whose sums neither float32 nor float64 holds."""
    F, G, most = np.eye(4), [4.0, 3, 2, 1], 2**52
    costs = [most, most - 1, 2, 1]
    assert select(F, G, 4, costs=costs, budget=2**53, weights=costs, device="cpu").tolist() == [0, 1, 3]
    assert select(F, G, 4, costs=costs, budget=2**53 - 1, weights=costs, device="cpu").tolist() == [0, 1]
    assert select(F, G, 4, costs=costs, budget=2**53 - 2, weights=costs, device="cpu").tolist() == [0, 2, 3]


@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy"])
def test_included_rows_have_the_values_of_picks(objective):
    """Rows that would be picked anyway, with and without include."""
    F, G, _ = problem(np.random.default_rng(25))
    G = None if objective == "entropy" else G
    options = {"objective": objective, "epsilon": 0.0 if objective == "mp" else 0.1, "device": "cpu"}
    chosen = select(F, G, 12, **options)
    included = select(F, G, 12, must_include=chosen[:5], **options)
    assert included.tolist() == chosen.tolist()
    for name in ("gains", "weights", "explained"):
        np.testing.assert_allclose(getattr(included, name), getattr(chosen, name), rtol=1e-6, atol=1e-6)
    after = select(F, G, 8, initial=chosen[:4], must_include=[chosen[4]], **options)
    assert after.tolist() == chosen.tolist()[4:]
    np.testing.assert_allclose(after.explained, chosen.explained[4:], rtol=1e-6, atol=1e-6)
    everything = select(F, G, 5, must_include=chosen[:5], **options)
    assert everything.tolist() == chosen.tolist()[:5]


def test_included_rows_that_add_nothing_are_chosen_too():
    F = np.array([[1.0, 0], [2, 0], [0, 1], [1, 1]])
    chosen = select(F, [4.0, 3, 2, 1], 3, objective="omp", must_include=[0, 1], device="cpu")
    assert chosen.tolist() == [0, 1, 2]
    assert chosen.gains[1] == 0
    assert select(F, [0.0, 0, 0, 0], 2, must_include=[2], device="cpu", on_exhausted="stop").tolist() == [2]


def test_float32_arrays_bound_weighted_scores():
    """A larger pool, where windows matter, with weights that differ by 1e6 and a narrow cone."""
    rng = np.random.default_rng(26)
    F = (rng.standard_normal((3000, 24)) + 1).astype(np.float32)
    G, weights = rng.standard_normal((3000, 2)), 10.0 ** rng.uniform(-6, 0, 3000)
    for objective in ("mp", "lr", "omp", "entropy"):
        scores, epsilon = None if objective == "entropy" else G, 0.0 if objective == "mp" else 0.1
        expected = plain(F, scores, 25, objective, epsilon, **{**NONE, "weights": weights})
        for options in ({"precision": "fp32"}, {"precision": "fp16"}):
            chosen = select(
                F, scores, 25, objective=objective, epsilon=epsilon, weights=weights, device="cpu", **options
            )
            assert chosen.tolist() == expected
            assert chosen.certificate.candidates.mean() < 300


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_on_real_data(real, objective):
    """Questions of GSM8K under all constraints; the costs are the lengths of their texts."""
    F = real("gsm8k_minilm_f16.npy")[:1500]
    lengths = np.array([len(line) for line in (REAL_DATA / "gsm8k_train.jsonl").read_bytes().split(b"\n")[:1500]])
    G = signals.self_compression(F)[:, None]
    groups, weights = np.arange(1500) % 5, 1 + np.arange(1500) % 3
    given = {"exclude": [1, 2], "dedup": 0.8, "costs": lengths, "budget": 20_000}
    epsilon, k = 0.0 if objective == "mp" else 0.1, 50
    chosen = select(
        F, None if objective == "entropy" else G, k, objective=objective, epsilon=epsilon, device="cpu", groups=groups,
        group_limits=(8, 12), must_include=[700, 30], weights=weights, **given,
    )  # fmt: skip
    limits = {"codes": groups, "least": np.full(5, 8), "most": np.full(5, 12)}
    scores = None if objective == "entropy" else G
    assert chosen.tolist() == plain(
        F, scores, k, objective, epsilon, include=[700, 30], weights=weights, **limits, **given
    )


def test_initial_rows_that_the_constraints_shut_out():
    rng = np.random.default_rng(0)
    F, G = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))
    for how in ({}, {"dedup": 0.95}, {"sign": "positive"}, {"precision": "fp32"}):
        dear = select(F, G, None, initial=[0], costs=[100, 1, 1, 1, 1, 1], budget=10, device="cpu", **how)
        cheap = select(F, G, None, initial=[0], costs=[1, 1, 1, 1, 1, 1], budget=10, device="cpu", **how)
        assert dear.tolist() == cheap.tolist()
        assert len(dear) == 5
        np.testing.assert_allclose(dear.certificate.margins, cheap.certificate.margins, atol=1e-5)
    dear = select(np.eye(4), [1.0, 0, 0, 0], None, initial=[0], costs=[9, 1, 1, 1], budget=3, device="cpu")
    assert dear.tolist() == [1, 2, 3]


def test_resumed_with_what_is_set_aside_for_groups(tmp_path):
    class Stopped(Exception):
        pass

    for seed in range(12):
        rng = np.random.default_rng(seed)
        F, G = rng.standard_normal((12, 8)), abs(rng.standard_normal(12))
        how = {"costs": rng.integers(1, 40, 12), "budget": 60, "groups": rng.integers(0, 2, 12), "device": "cpu"}
        how |= {"group_limits": {0: (3, None)}, "dedup": 0.9 if seed % 2 else None}
        if (how["groups"] == 0).sum() < 3 or np.sort(how["costs"][how["groups"] == 0])[:3].sum() > 60:
            continue
        whole = select(F, G, None, **how)
        for at in range(1, len(whole)):

            def stop(done, k, at=at):
                if done == at:
                    raise Stopped

            path = tmp_path / f"{seed}-{at}.ckpt"
            with pytest.raises(Stopped):
                select(F, G, None, checkpoint=path, checkpoint_every=1, progress=stop, **how)
            assert select(F, G, None, checkpoint=path, **how).tolist() == whole.tolist()


def test_near_duplicates_may_leave_less_than_is_set_aside():
    """The minimum is not met, and the budget is still used."""
    rng = np.random.default_rng(15)
    F, G, costs = rng.standard_normal((12, 3)), abs(rng.standard_normal(12)), rng.integers(1, 30, 12)
    codes, limits = np.arange(12) % 2, {0: (3, None)}
    how = {"costs": costs, "budget": 60, "dedup": 0.5}
    with pytest.warns(ConstraintWarning, match="minimums of 1 groups are not met"):
        chosen = select(F, G, None, device="cpu", groups=codes, group_limits=limits, **how)
    plainly = {"codes": codes, "least": np.array([3, 0]), "most": np.array([12, 12]), "exclude": []}
    assert chosen.tolist() == plain(F, G, 12, "mp", **plainly, **how)
    assert len(chosen) > 2


def test_a_result_that_ends_in_order_is_loaded(tmp_path):
    rng = np.random.default_rng(2)
    F, G, costs = rng.standard_normal((8, 4)), rng.standard_normal(8), rng.integers(1, 10, 8)
    chosen = select(F, G, None, objective="lr", sign="positive", costs=costs, budget=20, device="cpu")
    chosen.save(tmp_path / "z.npz")
    assert Selection.load(tmp_path / "z.npz") == chosen


SHARES = [((0.1, 0.25), (2, 5)), ((0.07, None), (2, 20)), ((0, 1.0), (0, 20)), ((None, 3), (0, 3))]


@pytest.mark.parametrize(("given", "meant"), SHARES)
def test_shares_of_k(given, meant):
    F, G, codes = problem(np.random.default_rng(14))
    by_share = select(F, G, 20, device="cpu", groups=codes[:90], group_limits=dict.fromkeys([1, 2], given))
    by_count = select(F, G, 20, device="cpu", groups=codes[:90], group_limits=dict.fromkeys([1, 2], meant))
    assert by_share.tolist() == by_count.tolist()


LETTERS = np.array(list("aabbbccc"))
BAD = [
    ({"exclude": [8]}, "exclude has 8 at place 0"),
    ({"exclude": [1, 1]}, "exclude has 1 at place 1 for the second time"),
    ({"exclude": [0.5]}, "exclude has dtype float64"),
    ({"exclude": range(6)}, "k is 3; exclude and initial leave 2 of 8 rows"),
    ({"exclude": [1], "initial": [1]}, "row 1 is in initial and in exclude"),
    ({"dedup": 0.0}, "dedup is 0.0"),
    ({"dedup": 1.5}, "dedup is 1.5"),
    ({"dedup": True}, "dedup is True"),
    ({"dedup": "0.9"}, "dedup is '0.9'"),
    ({"groups": LETTERS}, "groups is given without group_limits"),
    ({"group_limits": (0, 1)}, "group_limits is given without groups"),
    ({"groups": LETTERS[:5], "group_limits": (0, 1)}, "groups has 5 labels; it must have a label for each of 8 rows"),
    ({"groups": LETTERS, "group_limits": {"z": (0, 1)}}, r"group_limits has 'z', which is no label in groups \('a', "),
    ({"groups": LETTERS, "group_limits": (2, 1)}, "group 'a' has a minimum of 2 picks and a maximum of 1"),
    ({"groups": LETTERS, "group_limits": (-1, 1)}, "group 'a' has -1 in its limits"),
    ({"groups": LETTERS, "group_limits": (0.0, 1.5)}, "group 'a' has 1.5 in its limits"),
    ({"groups": LETTERS, "group_limits": (0, "2")}, "group 'a' has '2' in its limits"),
    ({"groups": LETTERS, "group_limits": "ab"}, "the limits of group 'a' are 'ab'"),
    (
        {"groups": LETTERS, "group_limits": {"a": (3, None)}},
        "group 'a' has 2 rows that may be picked, and a minimum of",
    ),
    ({"groups": LETTERS, "group_limits": {"b": (2, None), "c": (2, None)}}, "the minimums of the groups are 4 in all"),
    ({"groups": LETTERS, "group_limits": (0, 0)}, "k is 3; the maximums of the groups allow 0 picks"),
    ({"must_include": [1], "exclude": [1]}, "row 1 is in must_include and in exclude"),
    ({"must_include": [1], "initial": [1]}, "row 1 is in initial and in must_include"),
    ({"must_include": [1, 2, 3, 4]}, "k is 3, and must_include has 4 rows"),
    ({"must_include": [9]}, "must_include has 9 at place 0"),
    (
        {"must_include": [0, 2], "groups": LETTERS, "group_limits": {"b": (3, None)}},
        "minimums of the groups are 2 in all b",
    ),
    (
        {"must_include": [0, 1], "groups": LETTERS, "group_limits": (0, 1)},
        "group 'a' has 2 rows in must_include, and a m",
    ),
    ({"costs": range(1, 9)}, "costs is given without budget"),
    ({"budget": 5}, "budget is given without costs"),
    ({"costs": range(8), "budget": 5}, "costs has 0 in row 0; costs must be 8 ints from 1"),
    ({"costs": np.ones(8), "budget": 5}, "costs has dtype float64"),
    ({"costs": [1] * 7, "budget": 5}, r"costs has shape \(7,\)"),
    ({"costs": [2**53 + 1] * 8, "budget": 5}, "costs has 9007199254740993 in row 0"),
    ({"costs": [1] * 8, "budget": 2.5}, "budget is 2.5; it must be an int"),
    ({"costs": [1] * 8, "budget": True}, "budget is True; it must be an int"),
    ({"costs": [1] * 8, "budget": 0}, "budget is 0; it must be an int from 1"),
    ({"costs": [7] * 8, "budget": 6}, "budget is 6, and the cheapest row that may be picked costs 7"),
    ({"costs": [7] * 8, "budget": 13, "must_include": [3, 4]}, "budget is 13, and the rows of must_include cost 14"),
    (
        {"costs": [7] * 8, "budget": 15, "groups": LETTERS, "group_limits": {"b": (2, None), "a": (1, None)}},
        "budget is 15, and the minimums of the groups cost 21 at least",
    ),
    ({"costs": [1] + [10**11] * 7, "budget": 10**12}, "costs differ by more than a factor of 1e"),
    ({"weights": [1] * 7 + [0]}, "weights has 0 in row 7; weights must be 8 positive finite numbers"),
    ({"weights": [1] * 7 + [np.inf]}, "weights has inf in row 7"),
    ({"weights": [1] * 7 + [-1]}, "weights has -1 in row 7"),
    ({"weights": "abc"}, "weights"),
    ({"weights": [1e-11] + [1] * 7}, "weights differ by more than a factor of 1e"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_contradictions_are_named(options, message):
    F = np.random.default_rng(0).standard_normal((8, 4))
    with pytest.raises((TypeError, ValueError), match=message):
        select(F, np.arange(1.0, 9.0), 3, device="cpu", **options)


def test_no_number_of_picks_without_a_budget():
    with pytest.raises(TypeError, match="k is None, which is for a budget"):
        select(np.eye(3), [1.0, 2, 3], None, device="cpu")
