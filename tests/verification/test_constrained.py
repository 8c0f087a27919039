"""Verification of selections under constraints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gip_gpu import cli, select, verify
from gip_gpu.verification import stability
from tests.support.constrained import problem

LIMITS = {0: (3, 5), 1: (0, 2), 3: (4, None)}


COSTS = np.random.default_rng(30).integers(1, 60, 90)
WEIGHTS = np.random.default_rng(31).uniform(0.001, 2, 90)


def options(codes):
    return {"groups": codes, "group_limits": LIMITS, "dedup": 0.9, "exclude": [3, 40, 41]}


@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy", "mi", "positive"])
@pytest.mark.parametrize(
    "how",
    [
        {"must_include": [70, 5, 9]},
        {"weights": WEIGHTS},
        {"costs": COSTS, "budget": 250, "must_include": [70, 5]},
        {"weights": WEIGHTS, "costs": COSTS, "budget": 250, "dedup": 0.9, "initial": [11, 12]},
    ],
)
def test_weights_budgets_and_included_rows(objective, how):
    F, G, _ = problem(np.random.default_rng(32))
    G = None if objective == "entropy" else G
    more = {"objective": "mp", "sign": "positive"} if objective == "positive" else {"objective": objective}
    if objective == "mi":
        more["query"] = "ridge"
    more["epsilon"] = 0.1 if objective in ("lr", "omp", "entropy", "mi") else 0.0
    chosen = select(F, G, 12, device="cpu", **more, **how)
    told = {name: value for name, value in how.items() if name != "initial"}
    found = verify(chosen, F, G, **told)
    assert found.ok, found.findings
    assert len(found.verdicts) == len(chosen)
    swapped = chosen.indices.copy()
    swapped[[3, 8]] = swapped[[8, 3]]
    assert not verify(replace(chosen, indices=swapped), F, G, **told).ok
    gains = chosen.gains.copy()
    gains[0] *= 1.001
    assert not verify(replace(chosen, gains=gains), F, G, **told).ok
    for name, value in told.items():
        if name in ("weights", "budget"):
            other = {**told, name: value * (1 + np.arange(90) % 2) if name == "weights" else value + 1}
            assert not verify(chosen, F, G, **other).ok
    if "must_include" in how:
        assert not verify(replace(chosen, indices=np.r_[chosen.indices[[1, 0]], chosen.indices[2:]]), F, G, **told).ok


def test_included_rows_with_a_budget_or_a_full_group():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        F, G = rng.standard_normal((10, 4)), rng.standard_normal(10)
        full = {"must_include": [0], "groups": [0, 0] + [1] * 8, "group_limits": {0: (None, 1)}}
        for k, how in ((None, {"must_include": [0], "costs": [5] + [2, 4, 6] * 3, "budget": 7}), (3, full)):
            chosen = select(F, G, k, device="cpu", **how)
            found = verify(chosen, F, G, **how)
            assert found.ok, found.findings
            proof = replace(chosen.certificate, margins=np.r_[0.5, chosen.certificate.margins[1:]])
            assert not verify(replace(chosen, certificate=proof), F, G, **how).ok
            if len(chosen) > 1:
                proof = chosen.certificate
                less = replace(
                    proof, margins=proof.margins[:-1], candidates=proof.candidates[:-1], ties=proof.ties[:-1]
                )
                short = replace(
                    chosen, indices=chosen.indices[:-1], gains=chosen.gains[:-1], weights=chosen.weights[:-1],
                    explained=chosen.explained[:-1], certificate=less,
                )  # fmt: skip
                assert not verify(short, F, G, **how).ok


@pytest.mark.parametrize("how", [{}, {"initial": [35, 2]}, {"precision": "fp32"}])
@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy"])
def test_each_pick_holds_and_changes_are_found(objective, how):
    F, G, codes = problem(np.random.default_rng(3))
    G = None if objective == "entropy" else G
    chosen = select(F, G, 20, objective=objective, device="cpu", **how, **options(codes))
    found = verify(chosen, F, G, **options(codes))
    assert found.ok
    assert len(found.table()) > 2
    with pytest.raises(ValueError, match="made under constraints; pass the same exclude="):
        verify(chosen, F, G)
    assert not verify(chosen, F, G, **{**options(codes), "dedup": 0.8}).ok
    # Two picks in each other's place, and a row that the constraints exclude in place of a pick.
    swapped = chosen.indices.copy()
    swapped[[4, 9]] = swapped[[9, 4]]
    assert not verify(replace(chosen, indices=swapped), F, G, **options(codes)).ok
    forged = chosen.indices.copy()
    forged[7] = 40
    verdict = verify(replace(chosen, indices=forged), F, G, **options(codes))
    assert not verdict.ok
    assert "the constraints do not allow it" in str(verdict.findings)
    with pytest.raises(ValueError, match="under constraints is not known"):
        stability(chosen, F, G, score_noise=0.1)


@pytest.mark.parametrize("objective", ["mp", "lr", "entropy"])
def test_fewer_picks_than_initial_items(objective):
    F, G, codes = problem(np.random.default_rng(6))
    G = None if objective == "entropy" else G
    for how in ({"exclude": [7]}, {"dedup": 0.9}, {"groups": codes, "group_limits": (0, 2)}):
        chosen = select(F, G, 4, objective=objective, device="cpu", initial=range(40, 46), **how)
        assert verify(chosen, F, G, **how).ok


def test_rounds_rows_in_order_and_fewer_picks():
    rng = np.random.default_rng(4)
    F, codes = rng.standard_normal((40, 5)), np.arange(40) % 4
    how = {"groups": codes, "group_limits": (2, 5), "exclude": [0, 1]}
    chosen = select(F, None, 16, device="cpu", **how)
    assert len(chosen.certificate.rounds) > 2
    assert verify(chosen, F, **how).ok
    with pytest.warns(UserWarning, match="same|zero|order"):
        chosen = select(F, np.zeros(40), 8, device="cpu", groups=codes, group_limits=(0, 2))
    assert verify(chosen, F, np.zeros(40), groups=codes, group_limits=(0, 2)).ok
    swapped = chosen.indices.copy()
    swapped[[1, 2]] = swapped[[2, 1]]
    assert not verify(replace(chosen, indices=swapped), F, np.zeros(40), groups=codes, group_limits=(0, 2)).ok
    twice = np.repeat(np.eye(3), 4, axis=0)
    with pytest.warns(UserWarning, match="leave no row"):
        chosen = select(twice, np.arange(1.0, 13.0), 5, device="cpu", dedup=0.99)
    assert verify(chosen, twice, np.arange(1.0, 13.0), dedup=0.99).ok


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    F, _, codes = problem(np.random.default_rng(5))
    np.save("F.npy", F)
    np.save("groups.npy", codes)
    how = "--groups groups.npy --group-max 6 --dedup 0.9"
    assert cli.main(f"select F.npy -k 12 -o c.npz --quiet {how}".split()) == 0
    assert cli.main(f"verify c.npz F.npy {how}".split()) == 0
    assert "verified" in capsys.readouterr().out
    assert cli.main(["verify", "c.npz", "F.npy"]) == 2
    assert "--group-max" in capsys.readouterr().err
    assert Path("c.npz").exists()
