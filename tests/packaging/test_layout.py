"""The layout: few flat modules, short files, a name for each class. `lint-imports` checks the layers."""

import ast
from collections import defaultdict

from tests.support.paths import ROOT

PACKAGE = ROOT / "gip_gpu"
# Lines of a file outside kernels and tests.
LONGEST = 350


def modules(folder):
    """Python files below a folder, those of the kernels left out."""
    return [path for path in sorted(folder.rglob("*.py")) if "kernels" not in path.relative_to(folder).parts]


def test_nothing_else_is_flat():
    flat = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert flat == {"__init__.py", "__main__.py", "py.typed", "reference.py"}


def test_files_are_short():
    long = {path.name: len(path.read_text().splitlines()) for path in [*modules(PACKAGE), *modules(ROOT / "bench")]}
    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}


def test_each_class_has_a_name_of_its_own():
    places = defaultdict(list)
    for path in modules(PACKAGE):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
