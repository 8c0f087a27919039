"""Recipes of docs/architecture.md: a copy of the package with their changes does what they promise."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.docs.support import DOCS, blocks
from tests.support.paths import ROOT

PAGE = DOCS / "architecture.md"
RECIPES = {
    "Recipe: add an objective": (
        4,
        """
        for normalize in (True, False):
            for epsilon in (0.0, 0.05):
                how = {"objective": "volume", "epsilon": epsilon, "normalize": normalize, "on_exhausted": "stop"}
                chosen = select(F, G, 20, sign="any", device="cpu", **how)
                assert chosen.tolist() == reference.greedy(F, G, 20, **how).tolist()
                assert chosen.certificate.tied == 0
        try:
            select(F, G, 5, objective="volume", device="cpu", columns="gram")
        except ValueError as error:
            assert "made in its step" in str(error)
        else:
            raise AssertionError("no column serves twice")
        """,
    ),
    "Recipe: add a backend": (
        2,
        """
        for columns in ("gram", "lazy"):
            for scale in (1, 1 / 30):
                how = {"normalize": scale == 1}
                chosen = select(F * scale, G, 150, backend="plain", device="cpu", columns=columns, sign="any", **how)
                expected = reference.matching_pursuit(F * scale, G, 150, on_exhausted="restart", **how)
                assert chosen.tolist() == expected.tolist()
                assert (chosen.plan.backend, chosen.plan.columns) == ("plain", columns)
        """,
    ),
    "Recipe: add a column strategy": (
        2,
        """
        chosen = select(F, G, 60, columns="single", device="cpu", sign="any")
        assert chosen.tolist() == reference.matching_pursuit(F, G, 60, on_exhausted="restart").tolist()
        assert (chosen.plan.columns, chosen.computed) == ("single", 60)
        pool = Pool(F, columns="single", device="cpu")
        assert pool.select(G, 30, sign="any") == chosen[:30]
        assert select(F, G, 60, device="cpu", sign="any").plan.columns != "single"
        """,
    ),
}
BEFORE = """
import numpy as np
from gip_gpu import Pool, reference, select
rng = np.random.default_rng(0)
F, G = rng.standard_normal((300, 24)) + 1, rng.standard_normal((300, 2))
"""


def recipe(title):
    """Returns the changes that a section shows."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks(section) if block.language == "diff")
    return block.text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the changes")
@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title, tmp_path):
    most, check = RECIPES[title]
    changes = recipe(title)
    files = re.findall(r"^\+\+\+ b/(\S+)$", changes, re.MULTILINE)
    assert 0 < len(files) <= most
    shutil.copytree(ROOT / "gip_gpu", tmp_path / "gip_gpu", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    how = {"cwd": tmp_path, "env": environment, "text": True, "capture_output": True}
    applied = subprocess.run(["git", "apply", "-"], input=changes, check=False, **how)
    assert applied.returncode == 0, applied.stderr
    code = f"{BEFORE}{inspect.cleandoc(check)}\nimport gip_gpu; print(gip_gpu.__file__)\n"
    # -P: import the changed copy, not the package under test.
    done = subprocess.run([sys.executable, "-W", "ignore", "-P", "-c", code] if sys.version_info >= (3, 11) else
                          [sys.executable, "-W", "ignore", "-c", code], check=False, **how)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_every_change_that_pages_show_is_tried():
    """Blocks of changes are not run like other blocks, so this module must apply each."""
    shown = [
        (page.name, block.text) for page in DOCS.rglob("*.md") for block in blocks(page.read_text())
        if block.language == "diff"
    ]  # fmt: skip
    assert shown == [(PAGE.name, recipe(title)) for title in RECIPES]


def test_names_of_the_trace():
    """Each `file:name` of the page exists."""
    named = re.findall(r"`((?:gip_gpu|tests|kernels)/[\w/]+\.py):(\w+)`", PAGE.read_text().replace("\n", " "))
    assert len(named) > 25
    for path, name in named:
        module = importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        assert hasattr(module, name), f"{path}:{name}"


def test_layers_of_the_page():
    """The table names every package in the order that import-linter checks."""
    text = (ROOT / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^layers = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    layers = [re.findall(r"\w+", line) for line in listed.splitlines()]
    (table,) = re.findall(r"^\| package .*?\n\n", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:] if line]
    assert [sorted(row) for row in rows] == [sorted(layer) for layer in layers]
