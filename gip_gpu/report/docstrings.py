"""Docstrings of Python's standard library: real texts that every machine has."""

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Tests, and packages that hold tests, samples or other projects' code rather than documentation.
SKIPPED = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "_vendor", "site-packages"}


@dataclass(frozen=True)
class Docstring:
    """One item of the pool: qualified name, the module it is in, and its text."""

    name: str
    module: str
    text: str


def standard_library_docstrings(folder: Path | None = None) -> list[Docstring]:
    """Returns the docstrings of the public modules of the standard library, with their classes and functions.

    The source files are parsed, not imported: imports have side effects. Files are sorted by name; inside a file the
    order is that of the source.

    Args:
        folder: folder of the source files; by default that of this interpreter.

    Raises:
        ValueError: the folder has no source files, as in frozen or zipped installations.
    """
    root = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    found: list[Docstring] = []
    for path in _source_files(root):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old code has invalid escapes
            tree = ast.parse(path.read_bytes())
        found.extend(Docstring(name, module, text) for name, text in _docstrings(tree, module))
    if not found:
        raise ValueError(f"{root} has no source files of the standard library, whose docstrings are read")
    return found


def _source_files(root: Path) -> Iterator[Path]:
    public = sorted(name for name in sys.stdlib_module_names if not name.startswith("_"))
    for name in public:
        inside = sorted((root / name).rglob("*.py")) if (root / name).is_dir() else [root / f"{name}.py"]
        for path in inside:
            if path.is_file() and SKIPPED.isdisjoint(path.relative_to(root).parts):
                yield path


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    text = ast.get_docstring(node) if isinstance(node, (ast.Module, *kinds)) else None
    if text:
        yield name, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, kinds):
            yield from _docstrings(child, f"{name}.{child.name}")
