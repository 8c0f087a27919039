"""GIPSelector: the choice of rows with scikit-learn's methods."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from gip_gpu.api.select import select
from gip_gpu.problem.groups import Limits
from gip_gpu.signals import self_compression
from gip_gpu.validation.settings import one_of

SCORES = ("labels", "target", "self-compression")


class GIPSelector(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Selects the most informative rows of X by Greedy Information Projection.

    Unlike scikit-learn's selectors, which choose columns, it chooses rows: `transform` takes the X that was fitted and
    returns the chosen rows, in the order of X, as `get_support` marks them; `y[selector.get_support()]` are the targets
    that belong to them. So it is the last step of a pipeline of transformers, or used by itself: a pipeline does not
    shorten y for the steps that follow.

    Args:
        k: number of rows: an int, a share of the rows (a float in (0, 1)), or text such as "5%"; None, with a
            budget: as many as it pays for.
        objective, epsilon, query, sign, standardize, normalize, center, on_exhausted, dedup, budget: as in
            `gip_gpu.select`; the `costs` are passed to `fit`.
        group_limits: as in `gip_gpu.select`, for the `groups` that are passed to `fit`.
        device, backend, precision, columns, memory_limit: as in `gip_gpu.select`.
        scores: scores of the rows, unless `sample_scores` is passed to `fit`. None: the rows alone decide (objective
            "entropy"). "labels": one column for each class in y, 1 for its rows and 0 for all others. "target": y, of
            numbers, (m,) or (m, n). "self-compression": `gip_gpu.signals.self_compression(X)`.

    Attributes:
        selection_: the `gip_gpu.Selection`, with gains and certificate.
        ranking_: (k,) int64, the chosen rows, most informative first.
        classes_: (c,) the classes in y, with scores "labels".
        n_features_in_: number of columns of X.
        feature_names_in_: (n_features_in_,) names of the columns, if X has names of str.

    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.1]])
    >>> selector = GIPSelector(k=2, device="cpu").fit(X)
    >>> selector.ranking_, selector.get_support()
    (array([0, 2]), array([ True, False,  True, False]))
    >>> GIPSelector(k=1, objective="lr", device="cpu").fit(X, sample_scores=[1, 3, 2, 1]).transform(X)
    array([[0.8, 0.6]])
    """

    def __init__(
        self,
        k: int | float | str | None = 0.1,
        *,
        objective: str | None = None,
        scores: str | None = None,
        epsilon: float = 0.0,
        query: str = "direct",
        sign: str | None = None,
        standardize: str | None = None,
        normalize: bool = True,
        center: bool | str = False,
        on_exhausted: str = "restart",
        dedup: float | None = None,
        budget: int | None = None,
        group_limits: Limits | None = None,
        device: str = "auto",
        backend: str | None = None,
        precision: str = "auto",
        columns: str = "auto",
        memory_limit: int | float | str | None = None,
    ) -> None:
        self.k = k
        self.objective = objective
        self.scores = scores
        self.epsilon = epsilon
        self.query = query
        self.sign = sign
        self.standardize = standardize
        self.normalize = normalize
        self.center = center
        self.on_exhausted = on_exhausted
        self.dedup = dedup
        self.budget = budget
        self.group_limits = group_limits
        self.device = device
        self.backend = backend
        self.precision = precision
        self.columns = columns
        self.memory_limit = memory_limit

    def fit(
        self, X: Any, y: Any = None, *, sample_scores: Any = None, groups: Any = None, costs: Any = None
    ) -> "GIPSelector":
        """Chooses rows.

        Args:
            X: (m, d) array or DataFrame of numbers, finite and dense.
            y: (m,) targets; used with scores "labels" and "target" only.
            sample_scores: (m,) or (m, n) scores of the rows, in any form that `gip_gpu.select` takes as G. A pipeline
                passes them on by metadata routing: `GIPSelector(...).set_fit_request(sample_scores=True)`.
            groups: (m,) labels of the rows, for `group_limits`; passed on in the same way.
            costs: (m,) costs of the rows, for `budget`; passed on in the same way.

        Returns:
            self.

        Raises:
            TypeError, ValueError: bad input or parameters, as `gip_gpu.select`.
        """
        rows = validate_data(self, X, dtype="numeric")
        settings = {name: value for name, value in self.get_params(deep=False).items() if name != "scores"}
        self.selection_ = select(rows, self._scores(rows, y, sample_scores), groups=groups, costs=costs, **settings)
        self.ranking_ = self.selection_.indices
        self._rows = len(rows)
        return self

    def _scores(self, rows: NDArray[Any], y: Any, sample_scores: Any) -> Any:
        """Returns the scores G, None for none."""
        if self.scores is not None:
            one_of("scores", self.scores, SCORES)
        if sample_scores is not None:
            if self.scores is not None:
                raise ValueError(f"scores is {self.scores!r}, and sample_scores is given; one of them must be None")
            return sample_scores
        if self.scores is None:
            return None
        if self.scores == "self-compression":
            return self_compression(rows, normalize=self.normalize, center=self.center)
        if y is None:
            raise ValueError(f"scores={self.scores!r} requires y to be passed, but the target y is None")
        targets = np.asarray(y)
        type_of_target(targets, raise_unknown=True)
        if self.scores == "target":
            return targets
        if targets.ndim != 1:
            raise ValueError(f"y has shape {targets.shape}; for scores='labels' it must be (m,), a class for each row")
        self.classes_, places = np.unique(targets, return_inverse=True)
        return np.eye(len(self.classes_))[places]

    def get_support(self, indices: bool = False) -> NDArray[Any]:
        """Returns the chosen rows: a mask (m,) bool, or their indices (k,) int64, ascending."""
        check_is_fitted(self)
        if indices:
            return np.sort(self.ranking_)
        mask = np.zeros(self._rows, bool)
        mask[self.ranking_] = True
        return mask

    def transform(self, X: Any) -> Any:
        """Returns the chosen rows of X, (k, d), in their order in X; a DataFrame stays one.

        Args:
            X: (m, d), the rows that were fitted, or others that belong to them, row by row, such as scaled ones.

        Raises:
            ValueError: X has another number of rows or columns.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype="numeric", reset=False)
        if len(rows) != self._rows:
            raise ValueError(
                f"X has {len(rows)} rows, and GIPSelector was fitted on {self._rows}: it chooses among the rows that "
                "it was fitted on"
            )
        chosen = self.get_support(indices=True)
        return X.iloc[chosen] if hasattr(X, "iloc") else rows[chosen]

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Returns the names of the columns, which are those of the input."""
        check_is_fitted(self)
        return np.asarray(_check_feature_names_in(self, input_features))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.scores in ("labels", "target")
        tags.input_tags.sparse = False
        return tags
