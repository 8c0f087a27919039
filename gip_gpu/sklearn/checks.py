"""scikit-learn's estimator checks that do not apply to the selection of rows, for `expected_failed_checks`."""

FEWER = "transform returns the chosen rows, and the check wants as many as it passes"
SAME = "transform takes the rows that were fitted, and the check passes others"
ZERO = "the check has a zero row, which cannot be normalised; with normalize=False it passes"

# Names of the checks, with the reason of each.
EXPECTED_FAILED_CHECKS: dict[str, str] = {
    "check_transformer_general": FEWER,
    "check_transformer_data_not_an_array": FEWER,
    "check_methods_sample_order_invariance": FEWER,
    "check_methods_subset_invariance": SAME,
    "check_fit_idempotent": SAME,
    "check_estimators_dtypes": ZERO,
}
