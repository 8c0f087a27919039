"""Very many candidates, processed in portions: the picks and certificates are those of one pass over all."""

import numpy as np
import pytest

from gip_gpu import select
from gip_gpu.backends.items import Projector, Rules
from gip_gpu.backends.numpy import items as numpy_items
from gip_gpu.greedy.judging import Judge
from gip_gpu.reference import greedy

pytestmark = pytest.mark.usefixtures("float32_loop")

WAYS = [
    ("entropy", {}),
    ("lr", {}),
    ("omp", {}),
    ("mi", {"query": "ridge", "epsilon": 0.1}),
    ("mp", {"sign": "positive"}),
]
PARTS = ("margins", "candidates", "ties")


@pytest.fixture(params=["plane", "copies", "crowd"])
def tied(request):
    """(m, d) rows and one column of scores: all tied at first, or in groups."""
    rng = np.random.default_rng(3)
    if request.param == "plane":
        return rng.standard_normal((9000, 2)), np.ones(9000)
    if request.param == "copies":
        return rng.standard_normal((6, 5))[rng.integers(6, size=7000)], np.ones(7000)
    # More of them tie with each other than are settled one by one.
    return np.repeat(rng.standard_normal((8, 4)), 700, axis=0), np.repeat([5.0, 1, 1, 1, 2, 2, 3, 3], 700)


@pytest.mark.parametrize(("objective", "options"), WAYS)
def test_portions(tied, objective, options, monkeypatch):
    F, g = tied
    G = None if objective == "entropy" else np.column_stack([g, g * np.arange(len(g))]) if objective == "mi" else g
    how = {"objective": objective, **options}
    together = select(F, G, 7, device="cpu", **how)
    monkeypatch.setattr(numpy_items, "PORTION", 1)
    portions, asked = numpy_items.NumpyItems.portions, []

    def counted(self, floor):
        asked.append(floor)
        return portions(self, floor)

    monkeypatch.setattr(numpy_items.NumpyItems, "portions", counted)
    # The shortcut for items that all tie is disabled.
    monkeypatch.setattr(Judge, "alike", lambda *_: False)
    chosen = select(F, G, 7, device="cpu", **how)
    assert asked
    assert chosen.indices.tolist() == together.indices.tolist() == greedy(F, G, 7, **how).tolist()
    for part in PARTS:
        np.testing.assert_allclose(
            getattr(chosen.certificate, part), getattr(together.certificate, part), rtol=0, atol=1e-12, err_msg=part
        )
    np.testing.assert_allclose(chosen.gains, together.gains, rtol=1e-12)


@pytest.mark.parametrize(("objective", "score"), [("entropy", None), ("lr", 2.0), ("omp", -2.0)])
def test_rounds_of_few_picks_rescore_few_items(objective, score, monkeypatch):
    """Each round begins with all items tied, and ends with nothing left of any item."""
    F = np.random.default_rng(0).standard_normal((20_000, 2))
    G = None if score is None else np.full(20_000, score)
    monkeypatch.setattr(numpy_items, "PORTION", 8)
    rescored, candidates = [], numpy_items.NumpyItems._candidates

    def counted(self, cells, floor):
        found = candidates(self, cells, floor)
        rescored.append(len(found[0]))
        return found

    monkeypatch.setattr(numpy_items.NumpyItems, "_candidates", counted)
    chosen = select(F, G, 8, objective=objective, device="cpu")
    assert sum(rescored) < 0.1 * len(F)
    assert chosen.rounds == (0, 2, 4, 6)
    assert chosen.certificate.ties[::2].tolist() == [20_000, 19_998, 19_996, 19_994]
    assert chosen.indices.tolist() == greedy(F, G, 8, objective=objective).tolist()


@pytest.mark.parametrize("ridge", [0.0, 0.02])
@pytest.mark.parametrize("d", [7, 300])
def test_projector_of_many_picks(d, ridge):
    """S = I - steps' phis, whatever part of it is multiplied out: P = ridge (ridge I + X'X)^-1, or I - X^+ X."""
    rng = np.random.default_rng(d)
    projector = Projector(Rules("distance", True, False, ridge), 0, d)
    picks = rng.standard_normal((min(d - 2, 150), d))
    picks /= np.linalg.norm(picks, axis=1, keepdims=True)
    for made, row in enumerate(picks, 1):
        phi = projector.remaining(row)
        projector.project(row, np.empty(0), ridge + float(phi @ phi))
        if made % 30 == 0 or made == len(picks):
            X = picks[:made]
            gram = X @ X.T + ridge * np.eye(made)
            P = np.eye(d) - X.T @ np.linalg.solve(gram, X)
            left = projector.remaining(np.eye(d))
            np.testing.assert_allclose(left @ left.T, P, atol=1e-10)
            if made > 60:
                np.testing.assert_allclose(projector.S, left, atol=1e-12)
