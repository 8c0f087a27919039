"""GIPSelector: scikit-learn's own checks, and its methods, pipelines, DataFrames and errors."""

import pickle

import numpy as np
import pytest

import gip_gpu

pytest.importorskip("sklearn", minversion="1.6")
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator, parametrize_with_checks

from gip_gpu.sklearn import EXPECTED_FAILED_CHECKS, GIPSelector
from gip_gpu.sklearn.checks import ZERO

RNG = np.random.default_rng(6)
X = RNG.standard_normal((80, 6))
G = RNG.random((80, 2))

ESTIMATORS = [
    GIPSelector(device="cpu"),
    GIPSelector(k="15%", device="cpu", objective="lr", scores="labels"),
    GIPSelector(k="20%", device="cpu", objective="lr", scores="self-compression", normalize=False),
    GIPSelector(device="cpu", scores="target", sign="any", center=True),
]


def expected_of(estimator):
    """Returns the checks that fail for an estimator: rows that are not normalised, or are centred, are not zero."""
    zeros = estimator.normalize and not estimator.center
    return {name: why for name, why in EXPECTED_FAILED_CHECKS.items() if zeros or why != ZERO}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_of)
def test_checks_of_scikit_learn(estimator, check):
    if check.func.__name__ == "check_fit2d_1sample" and estimator.center:
        pytest.skip("a single row is its own mean: centring leaves nothing")
    check(estimator)


@pytest.mark.filterwarnings("ignore")
def test_expected_failures_fail():
    """A check that passes after all must leave the list."""
    results = check_estimator(GIPSelector(device="cpu"), on_fail=None, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert failed == set(EXPECTED_FAILED_CHECKS)


@pytest.mark.filterwarnings("ignore")
def test_the_zero_row_alone_fails_a_check():
    expected = {name for name, reason in EXPECTED_FAILED_CHECKS.items() if reason == ZERO}
    for estimator, check in estimator_checks_generator(GIPSelector(device="cpu", normalize=False)):
        if check.func.__name__ in expected:
            check(estimator)
            expected.remove(check.func.__name__)
    assert not expected


def test_rows_of_select():
    selector = GIPSelector(k=12, device="cpu")
    assert selector.fit(X) is selector
    chosen = gip_gpu.select(X, None, 12, device="cpu")
    assert selector.selection_ == chosen
    np.testing.assert_array_equal(selector.ranking_, chosen.indices)
    np.testing.assert_array_equal(selector.get_support(indices=True), np.sort(chosen.indices))
    assert selector.get_support().sum() == 12
    np.testing.assert_array_equal(selector.transform(X), X[selector.get_support()])
    np.testing.assert_array_equal(GIPSelector(k=12, device="cpu").fit_transform(X), X[np.sort(chosen.indices)])
    assert selector.n_features_in_ == 6
    assert gip_gpu.verify(selector.selection_, X).ok


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "lr", "epsilon": 0.1},
        {"objective": "omp", "sign": "positive", "standardize": "zscore"},
        {"normalize": False, "query": "ridge", "epsilon": 0.5},
        {"center": True, "columns": "lazy", "precision": "fp16", "memory_limit": "1GB"},
        {"objective": "mi", "query": "ridge"},
    ],
)
def test_every_option_reaches_select(options):
    rows = X / 4
    selector = GIPSelector(k=9, device="cpu", **options).fit(rows, sample_scores=G)
    assert selector.selection_ == gip_gpu.select(rows, G, 9, device="cpu", **options)


def test_parameters_are_those_of_select():
    import inspect

    own = set(GIPSelector().get_params())
    ours = set(inspect.signature(gip_gpu.select).parameters)
    # Data go to fit; rows that are not finite are refused; and the others belong to long runs.
    data = {"F", "G", "groups", "costs", "weights", "exclude", "initial", "must_include", "ids"}
    assert ours - own == data | {"on_nan", "checkpoint", "checkpoint_every", "progress"}
    assert own - ours == {"scores"}


def test_scores_from_targets():
    labels = np.array(["b", "a", "c", "a"] * 20)
    selector = GIPSelector(k=8, device="cpu", scores="labels").fit(X, labels)
    assert selector.classes_.tolist() == ["a", "b", "c"]
    indicators = (labels[:, None] == selector.classes_).astype(float)
    assert selector.selection_ == gip_gpu.select(X, indicators, 8, device="cpu")
    for targets in (G, G[:, 0]):
        assert GIPSelector(k=8, device="cpu", scores="target").fit(X, targets).selection_ == gip_gpu.select(
            X, targets, 8, device="cpu"
        )
    own = gip_gpu.signals.self_compression(X, center=True)
    found = GIPSelector(k=8, device="cpu", scores="self-compression", center=True).fit(X)
    assert found.selection_ == gip_gpu.select(X, own, 8, device="cpu", center=True, sign="any")


def test_constraints():
    groups = np.arange(len(X)) % 3
    selector = GIPSelector(k=9, device="cpu", dedup=0.9, group_limits=(2, 4)).fit(X, groups=groups)
    wanted = gip_gpu.select(X, None, 9, device="cpu", dedup=0.9, groups=groups, group_limits=(2, 4))
    assert selector.selection_ == wanted


def test_a_budget():
    costs = np.arange(len(X)) % 5 + 1
    selector = GIPSelector(k=None, device="cpu", budget=30).fit(X, costs=costs)
    assert selector.selection_ == gip_gpu.select(X, None, None, device="cpu", costs=costs, budget=30)
    assert costs[selector.ranking_].sum() <= 30


def test_clone_and_set_params():
    selector = GIPSelector(k=5, objective="lr", device="cpu", scores="self-compression").fit(X)
    copy = clone(selector)
    assert not hasattr(copy, "ranking_")
    assert copy.get_params() == selector.get_params()
    np.testing.assert_array_equal(copy.fit(X).ranking_, selector.ranking_)
    assert len(copy.set_params(k="10%", scores=None, objective="entropy").fit(X).ranking_) == 8
    again = pickle.loads(pickle.dumps(selector))
    np.testing.assert_array_equal(again.transform(X), selector.transform(X))


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"), index=[f"row {i}" for i in range(80)])
    selector = GIPSelector(k=7, device="cpu").fit(frame)
    assert selector.feature_names_in_.tolist() == list("abcdef")
    chosen = selector.transform(frame)
    pandas.testing.assert_frame_equal(chosen, frame.iloc[selector.get_support(indices=True)])
    assert selector.get_feature_names_out().tolist() == list("abcdef")
    wrapped = GIPSelector(k=7, device="cpu").set_output(transform="pandas").fit_transform(frame)
    pandas.testing.assert_frame_equal(wrapped, chosen)
    plain = GIPSelector(k=7, device="cpu").set_output(transform="pandas").fit_transform(X)
    assert plain.columns.tolist() == [f"x{i}" for i in range(6)]
    with pytest.raises(ValueError, match="feature names should match"):
        selector.transform(frame.rename(columns={"a": "z"}))


def test_last_step_of_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), PCA(3, random_state=0), GIPSelector(k=9, device="cpu"))
    chosen = pipeline.fit_transform(X)
    inner = PCA(3, random_state=0).fit_transform(StandardScaler().fit_transform(X))
    np.testing.assert_array_equal(chosen, inner[pipeline[-1].get_support()])
    pipeline.set_params(gipselector__k=4)
    assert pipeline.fit_transform(X).shape == (4, 3)


def test_scores_by_metadata_routing():
    sklearn = pytest.importorskip("sklearn")
    with sklearn.config_context(enable_metadata_routing=True):
        selector = GIPSelector(k=9, device="cpu").set_fit_request(sample_scores=True)
        pipeline = make_pipeline(StandardScaler(), selector)
        pipeline.fit(X, sample_scores=G)
        expected = gip_gpu.select(StandardScaler().fit_transform(X), G, 9, device="cpu")
        assert pipeline[-1].selection_ == expected


def test_a_classifier_on_chosen_digits():
    digits, labels = load_digits(return_X_y=True)
    train, test, y, y_test = train_test_split(digits, labels, random_state=0)
    selector = GIPSelector(k=120, scores="labels", objective="omp", epsilon=0.1, device="cpu").fit(train, y)
    rows = selector.get_support()
    model = LogisticRegression(max_iter=5000).fit(train[rows], y[rows])
    assert set(y[rows]) == set(range(10))
    assert model.score(test, y_test) > 0.8


@pytest.mark.parametrize(
    ("selector", "call", "error", "message"),
    [
        (GIPSelector(k=81), {}, ValueError, "k is 81"),
        (GIPSelector(scores="other"), {}, ValueError, "scores is 'other'"),
        (GIPSelector(scores="labels"), {}, ValueError, "requires y to be passed"),
        (GIPSelector(scores="labels"), {"y": G}, ValueError, r"y has shape \(80, 2\)"),
        (GIPSelector(scores="target"), {"y": G[:79]}, ValueError, "79"),
        (GIPSelector(scores="self-compression"), {"sample_scores": G}, ValueError, "one of them must be None"),
        (GIPSelector(objective="lr"), {}, TypeError, "objective 'lr' needs scores"),
    ],
)
def test_errors(selector, call, error, message):
    with pytest.raises(error, match=message):
        selector.set_params(device="cpu").fit(X, **call)


def test_sparse_input_and_other_rows_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        GIPSelector(device="cpu").fit(sparse.csr_matrix(X))
    selector = GIPSelector(k=5, device="cpu").fit(X)
    with pytest.raises(ValueError, match=r"X has 79 rows, and GIPSelector was fitted on 80"):
        selector.transform(X[1:])
    with pytest.raises(ValueError, match="NaN"):
        GIPSelector(device="cpu").fit(np.where(X > 2, np.nan, X))


def test_without_scikit_learn(monkeypatch):
    import importlib
    import sys

    for name in [name for name in sys.modules if name.startswith("gip_gpu.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "gip_gpu\[sklearn\]"'):
        importlib.import_module("gip_gpu.sklearn")
