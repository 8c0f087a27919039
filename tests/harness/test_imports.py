"""No test module imports another, so that each can be moved, split or run alone; shared code is in tests/support.

Scripts that tests run as strings count too.
"""

import re

import pytest

from tests.support.paths import ROOT

IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+)?import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)
TEST_MODULE = re.compile(r"\btest_\w+")


def imported_by(text):
    """The names of test modules that Python code imports."""
    return [name for parts in IMPORT.findall(text) for name in TEST_MODULE.findall(" ".join(parts))]


def test_no_test_module_is_imported():
    modules = sorted((ROOT / "tests").rglob("*.py"))
    assert len(modules) > 80
    imported = {path.relative_to(ROOT).as_posix(): imported_by(path.read_text()) for path in modules}
    assert {path: names for path, names in imported.items() if names} == {}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import test_{}", ["test_{}"]),
        ("    from test_{} import pool", ["test_{}"]),
        ("from tests.api.test_{} import pool", ["test_{}"]),
        ("from tests.api import (\n    pools,\n    test_{},\n)", ["test_{}"]),
        ("import unittest.mock\nfrom tests.support.pools import pool", []),
        ("def test_{}():\n    import numpy", []),
    ],
)
def test_each_way_to_import_is_seen(line, names):
    assert imported_by(line.replace("{}", "select")) == [name.replace("{}", "select") for name in names]
