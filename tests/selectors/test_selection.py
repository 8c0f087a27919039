"""The Selection of a method without a certificate: it claims nothing, and every use of a Selection works or refuses."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Selection
from gip_gpu.selectors import FacilityLocation, KCenter, Random, Threshold, TopK
from gip_gpu.selectors.base import UncertifiedSelector

F = np.random.default_rng(0).standard_normal((80, 6))
G = np.random.default_rng(1).standard_normal(80)

METHODS = [Random(3), TopK(), Threshold(-1), KCenter(first=4), FacilityLocation()]


@pytest.fixture(params=METHODS, ids=lambda method: type(method).__name__)
def method(request: pytest.FixtureRequest) -> UncertifiedSelector:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_it_is_saved_and_loaded(method: UncertifiedSelector, suffix: str, tmp_path: Path) -> None:
    chosen = method.select(F, G, 9)
    chosen.save(tmp_path / f"chosen{suffix}")
    for loaded in (Selection.load(tmp_path / f"chosen{suffix}"), pickle.loads(pickle.dumps(chosen))):
        assert (loaded == chosen) is True
        assert loaded.plan == chosen.plan
        assert loaded.timings == chosen.timings
        for name in ("gains", "weights", "explained"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(chosen, name))
        assert not loaded.certificate.certifies
        assert repr(loaded) == repr(chosen)
    if suffix == ".json":
        text = (tmp_path / "chosen.json").read_text()
        json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("field", "value"), [("margins", [0.5] * 9), ("explained", [0.1] * 9), ("candidates", [1] * 9), ("ties", [1] * 9)]
)
def test_a_file_with_a_claim_is_refused(field: str, value: list[float], tmp_path: Path) -> None:
    TopK().select(F, G, 9).save(tmp_path / "chosen.json")
    content = json.loads((tmp_path / "chosen.json").read_text())
    (tmp_path / "chosen.json").write_text(json.dumps({**content, field: value}))
    with pytest.raises(ValueError, match="names a method without a certificate"):
        Selection.load(tmp_path / "chosen.json")


def test_scores_alone_are_enough(tmp_path: Path) -> None:
    chosen = TopK().select(None, G, 5)
    chosen.save(tmp_path / "chosen.npz")
    assert Selection.load(tmp_path / "chosen.npz").plan.d == 0
    assert chosen.weights[:, 0].tolist() == G[chosen].tolist()


def test_it_says_what_it_is(method: UncertifiedSelector) -> None:
    chosen = method.select(F, G, 9)
    assert str(chosen.certificate) == "nothing certified"
    assert (chosen.certificate.tied, chosen.certificate.within_rounding) == (0, 0)
    assert chosen.plan.method == repr(method)
    for text in (repr(chosen), chosen._repr_html_()):
        assert repr(method) in text
        assert "nothing certified" in text
        assert "float64 argmax" not in text
        assert "explained" not in text
    assert ("method", repr(method)) in chosen.plan.table()
    assert repr(method) in str(chosen.plan)


def test_settings_are_in_the_name() -> None:
    assert [repr(method) for method in METHODS] == [
        "Random(seed=3)", "TopK()", "Threshold(at_least=-1.0)", "KCenter(first=4)", "FacilityLocation()",
    ]  # fmt: skip
    four = np.int64(4)
    numbers = [Random(np.int64(3)), Threshold(np.float64(4.5)), KCenter(first=four), KCenter(np.uint8(2))]
    assert [repr(method) for method in numbers] == [
        "Random(seed=3)", "Threshold(at_least=4.5)", "KCenter(first=4)", "KCenter(seed=2)",
    ]  # fmt: skip


def test_a_frame_and_a_plot(method: UncertifiedSelector) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    chosen = method.select(F, G, 9)
    frame = chosen.to_frame()
    assert frame["index"].tolist() == chosen.tolist()
    assert frame["margin"].isna().all()
    assert len(chosen.plot().axes) == 2


def test_a_report(method: UncertifiedSelector, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("sklearn")
    from gip_gpu.report import write

    text = write(method.select(F, G, 9), tmp_path / "report.html", F, G).read_text()
    assert "Nothing certified" in text
    assert f"chosen by {method!r}" in text
    assert 'id="lead-chart"' not in text
    assert 'id="explained-chart"' not in text
    assert ('id="gain-chart"' in text) == (not isinstance(method, Random))
    assert "float64 argmax" not in text


def test_it_cannot_be_verified_or_extended(method: UncertifiedSelector) -> None:
    chosen = method.select(F, G, 9)
    with pytest.raises(
        ValueError, match=r"the selection was made by \w+\(.*\), which certifies nothing; only selections"
    ):
        gip_gpu.verify(chosen, F, G)
    with pytest.raises(ValueError, match="which certifies nothing"):
        gip_gpu.stability(chosen, F, G, score_noise=0.1)
    with pytest.raises(ValueError, match=r"cannot be extended: it was made by \w+"):
        gip_gpu.extend(chosen, F, G, 3)


def test_select_goes_on_from_it() -> None:
    """As `initial` and `exclude` of other choices."""
    chosen = KCenter(first=4).select(F, None, 9)
    after = gip_gpu.select(F, np.abs(G), 5, initial=chosen, device="cpu")
    assert not set(after) & set(chosen)
    assert not set(TopK().select(F, G, 71, exclude=chosen)) & set(chosen)
