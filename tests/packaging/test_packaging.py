"""Contents of a build: the package, every kernel file, and nothing else.

A checkout that lost the symlink gip_gpu/kernels builds a wheel without kernels and without an error, so the
files of each wheel are compared with those below kernels/ itself. A probe kernel makes sure that there is one
to lose.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from build import ProjectBuilder

from gip_gpu.system.cuda_driver import EXTRAS
from tests.support.paths import ROOT

SOURCES = (
    *("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"),
    *("gip_gpu", "kernels", "tests", "bench"),
)
PROBE = {
    "probe.cuh": "#pragma once\n",
    "probe/probe.cu": '#include "../probe.cuh"\n',
    "probe/probe_triton.py": 'NAME = "probe"\n',
}
SAME = {"missing": [], "unexpected": []}

pytestmark = pytest.mark.skipif(
    (ROOT / "PKG-INFO").exists(), reason="an unpacked sdist holds the kernels twice; build from a checkout"
)


def copy_of_the_tree(to: Path) -> Path:
    """The source tree with a probe kernel in it."""
    to.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for source in (ROOT / name for name in SOURCES):
        if source.is_dir():
            shutil.copytree(source, to / source.name, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(source, to)
    for name, text in PROBE.items():
        path = to / "kernels" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return to


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def compare(wheel: Path, tree: Path) -> dict[str, list[str]]:
    """Returns the differences between the files of a wheel and those that the tree must ship."""
    kernels = [f for f in files_below(tree / "kernels") if f.endswith((".py", ".cu", ".cuh"))]
    modules = [f for f in files_below(tree / "gip_gpu") if f.endswith((".py", ".css", ".jinja", ".js"))]
    wanted = {f"gip_gpu/kernels/{f}" for f in kernels} | {f"gip_gpu/{f}" for f in [*modules, "py.typed"]}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    return {"missing": sorted(wanted - found), "unexpected": sorted(found - wanted)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_tree(tmp_path_factory.mktemp("checkout") / "tree")


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(ProjectBuilder(tree).build("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def unpacked_sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    sdist = ProjectBuilder(tree).build("sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def test_each_cuda_has_its_cupy_and_an_environment_holds_one() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def cupys(extra: str) -> set[str]:
        wanted = [requirement.partition("[") for requirement in extras[extra]]
        nested = [cupys(inner.rstrip("]")) for name, _, inner in wanted if name == "gip_gpu"]
        own = {re.match(r"[\w-]+", requirement)[0] for requirement in extras[extra] if requirement.startswith("cupy")}
        return own.union(*nested)

    assert {extra: cupys(extra) for extra in extras if extra.startswith("cuda")} == {
        "cuda": {EXTRAS[max(EXTRAS)][1]},
        **{extra: {package} for extra, package in EXTRAS.values()},
    }
    for version in ("", *map(str, EXTRAS)):
        assert cupys(f"kernels{version}") == cupys(f"cuda{version}")


def test_kernels_is_no_package_of_its_own() -> None:
    assert not list((ROOT / "kernels").rglob("__init__.py"))


def test_wheel_ships_the_package_and_every_kernel(wheel: Path, tree: Path) -> None:
    assert compare(wheel, tree) == SAME


def test_wheel_built_from_the_sdist_is_the_same(unpacked_sdist: Path, tree: Path, tmp_path: Path) -> None:
    assert compare(Path(ProjectBuilder(unpacked_sdist).build("wheel", tmp_path)), tree) == SAME


def test_sdist_holds_kernels_tests_and_bench(unpacked_sdist: Path, tree: Path) -> None:
    for folder in ("kernels", "tests", "bench"):
        assert files_below(unpacked_sdist / folder) == files_below(tree / folder)


def test_a_lost_symlink_is_noticed(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    link = tree / "gip_gpu" / "kernels"
    link.unlink()
    link.write_text("../kernels")  # what git leaves where it may not make symlinks
    wheel = Path(ProjectBuilder(tree).build("wheel", tmp_path))
    missing = compare(wheel, tree)["missing"]
    assert {f"gip_gpu/kernels/{name}" for name in PROBE} <= set(missing)
    assert all(name.startswith("gip_gpu/kernels/") for name in missing)


IMPORT = """
import importlib.resources, importlib.util, json, site, sys
installed, numpy_home = sys.argv[1:]
sys.path.append(numpy_home)
import numpy
sys.path.remove(numpy_home)
site.addsitedir(installed)
import gip_gpu.kernels.probe.probe_triton as probe
source = (importlib.resources.files("gip_gpu.kernels") / "probe/probe.cu").read_text()
print(json.dumps([probe.NAME, source, importlib.util.find_spec("kernels")]))
"""


# The advice that setuptools gives with every editable install.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Editable installation")
@pytest.mark.parametrize("mode", ["wheel", "editable", "editable strict"])
def test_installed_kernels_are_part_of_the_package_only(mode: str, wheel: Path, tmp_path: Path) -> None:
    """An installer unzips a wheel into a site folder, the editable kind too; here that folder is a fresh one,
    and the interpreter starts without its own, which may hold another gip_gpu."""
    if mode != "wheel":
        tree = copy_of_the_tree(tmp_path / "tree")
        settings = {"editable_mode": "strict"} if mode == "editable strict" else {}
        wheel = Path(ProjectBuilder(tree).build("editable", tmp_path, settings))
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    numpy_home = Path(np.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c", IMPORT, str(site), str(numpy_home)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == ["probe", PROBE["probe/probe.cu"], None]
