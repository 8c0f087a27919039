"""check_selector: the conformance suite of selectors."""

from collections.abc import Mapping
from typing import Any

from gip_gpu.testing.selector_checks import CHECKS
from gip_gpu.testing.trial import Trial, maker


def check_selector(
    selector: Any,
    *,
    scores: bool = True,
    expected_failures: Mapping[str, str] | None = None,
    seconds: float = 60.0,
) -> tuple[str, ...]:
    """Checks that an object chooses rows as `gip_gpu.selectors.Selector` says, on small pools made for the purpose.

    `gip_gpu.testing.CHECKS` has the checks by name; each docstring there says what it checks. All are run, and their
    failures are reported together. Warnings of the selector are ignored.

    Args:
        selector: an object with `select(F, G, k, *, exclude=None)`, which is copied and not used itself, or a class or
            function without arguments that makes one. Only the latter shows that fresh objects agree if the object
            holds a generator.
        scores: whether to pass scores as G, one column of positive numbers; else G is None.
        expected_failures: checks that do not apply, with the reason, by name.
        seconds: time after which the choice from a pool of equal rows counts as endless.

    Returns:
        The names of the checks that pass.

    Raises:
        AssertionError: checks fail, or pass that were expected to fail; the message lists each with its cause.
        TypeError, ValueError: `selector` has no method `select`; `expected_failures` has an unknown name.

    >>> from gip_gpu.selectors import Random, TopK
    >>> len(check_selector(TopK())) == len(CHECKS)
    True
    >>> drawn = check_selector(Random(seed=0), scores=False, expected_failures={"row order": "row numbers are drawn"})
    >>> sorted(set(CHECKS) - set(drawn))
    ['row order']
    """
    expected = {} if expected_failures is None else dict(expected_failures)
    unknown = [name for name in expected if name not in CHECKS]
    if unknown:
        raise ValueError(f"expected_failures has {unknown[0]!r}; the checks are {', '.join(map(repr, CHECKS))}")
    trial = Trial(maker(selector), scores, seconds)
    failed, passed = {}, list[str]()
    for name, check in CHECKS.items():
        try:
            check(trial)
        except Exception as error:
            if name not in expected:
                failed[name] = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            continue
        passed.append(name)
        if name in expected:
            failed[name] = f"passes, and was expected to fail: {expected[name]}"
    if failed:
        shown = "".join(f"\n  {name}: {cause}" for name, cause in failed.items())
        raise AssertionError(f"{len(failed)} of {len(CHECKS)} checks failed{shown}")
    return tuple(passed)
