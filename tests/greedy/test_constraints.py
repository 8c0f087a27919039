"""Constraints on the picks: the choice of a plain float64 loop under the same constraints, on every backend."""

import numpy as np
import pytest

from gip_gpu import Pool, select
from gip_gpu.exceptions import ConstraintWarning
from tests.support.constrained import plain, problem
from tests.support.emulated import device_options

OBJECTIVES = ("mp", "lr", "omp", "entropy")
NONE = {"exclude": [], "codes": None, "least": None, "most": None, "dedup": None}
LIMITS = {0: (3, 5), 1: (0, 2), 2: (None, None), 3: (4, None)}
BOUNDS = {"least": np.array([3, 0, 0, 4]), "most": np.array([5, 2, 90, 90])}
# Options of `select` by name, and what the plain loop gets.
KINDS = {
    "exclude": (lambda codes: {"exclude": [3, 40, 41, 42]}, lambda codes: {"exclude": [3, 40, 41, 42]}),
    "groups": (lambda codes: {"groups": codes, "group_limits": LIMITS}, lambda codes: {"codes": codes, **BOUNDS}),
    "dedup": (lambda codes: {"dedup": 0.9}, lambda codes: {"dedup": 0.9}),
    "all": (
        lambda codes: {"groups": codes, "group_limits": LIMITS, "dedup": 0.9, "exclude": [3, 40, 41, 42]},
        lambda codes: {"codes": codes, **BOUNDS, "dedup": 0.9, "exclude": [3, 40, 41, 42]},
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
            check(seed, objective, kind, k=8, device="cpu", sign="positive")


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "kind"), [("mp", "all"), ("mp", "groups"), ("lr", "groups"), ("entropy", "all")])
@pytest.mark.parametrize("backend", ["triton", "cupy"])
def test_on_a_gpu(backend, objective, kind, request):
    check(5, objective, kind, k=12, **device_options(backend, request))


def test_of_a_pool_and_out_of_core(tmp_path):
    F, G, codes = problem(np.random.default_rng(8))
    np.save(tmp_path / "F.npy", F.astype(np.float32))
    options = KINDS["all"][0](codes)
    whole = select(F.astype(np.float32), G, 20, device="cpu", **options)
    pool = Pool(F.astype(np.float32), device="cpu")
    assert pool.select(G, 20, **options).tolist() == whole.tolist()
    assert pool.select(G, 20).tolist() == select(F.astype(np.float32), G, 20, device="cpu").tolist()
    streamed = select(tmp_path / "F.npy", G, 20, device="cpu", **options)
    assert streamed.tolist() == whole.tolist()


@pytest.mark.parametrize("objective", ["mp", "lr", "entropy"])
def test_resumed_after_each_pick(tmp_path, objective):
    F, G, codes = problem(np.random.default_rng(9))
    G = None if objective == "entropy" else G
    options = {**KINDS["all"][0](codes), "objective": objective, "epsilon": 0.0 if objective == "mp" else 0.1}
    whole = select(F, G, 20, device="cpu", **options)

    class Stopped(Exception):
        pass

    def stop(done, k):
        if done == at:
            raise Stopped

    for at in (1, 7, 19):
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
    chosen = select(F, G, 12, on_nan="drop", **options)
    kept = np.delete(np.arange(90), [4, 50])
    some = {**options, "groups": codes[kept], "exclude": [int(np.flatnonzero(kept == 7)[0])]}
    assert chosen.tolist() == kept[select(F[kept], G[kept], 12, **some).indices].tolist()


def test_a_checkpoint_holds_for_its_constraints(tmp_path):
    F, G, codes = problem(np.random.default_rng(16))
    limits = {"groups": codes, "group_limits": (3, None)}
    kinds = [{}, {"exclude": [35, 2]}, {"dedup": 0.9}, limits]
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
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_contradictions_are_named(options, message):
    F = np.random.default_rng(0).standard_normal((8, 4))
    with pytest.raises((TypeError, ValueError), match=message):
        select(F, np.arange(1.0, 9.0), 3, device="cpu", **options)
