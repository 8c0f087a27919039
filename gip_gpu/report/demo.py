"""Demo: a selection from the docstrings of Python's standard library, which every machine has."""

import ast
import json
import platform
import re
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import metrics
from gip_gpu.api.select import select
from gip_gpu.api.selection import Selection
from gip_gpu.signals import self_compression
from gip_gpu.system import memory
from gip_gpu.system.atomic_write import Together, check_target
from gip_gpu.system.files import suffix_of

INSTALL = 'the demo needs scikit-learn and matplotlib: pip install "gip_gpu[demo]"'
DIMENSIONS = 192
RANDOM_SEEDS = 5
SHOWN = 8
# Tests, and packages that hold tests, samples or other projects' code rather than documentation.
SKIPPED = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "_vendor", "site-packages"}
OURS, RANDOM, TOP = "gip_gpu", "random", "top-k by score"

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Docstring:
    """One item of the pool: qualified name, the module it is in, and its text."""

    name: str
    module: str
    text: str


@dataclass(frozen=True)
class Choice:
    """The choices of one selector, several if it is random, and the share explained after each pick."""

    name: str
    sets: list[Indices]
    curves: NDArray[np.float64]


def run(out: Path, *, share: float = 0.05, seed: int = 0) -> str:
    """Runs the demo, writes `chosen.jsonl` and `demo.png` to the folder `out` and returns the report.

    Args:
        out: folder, created if missing; earlier results in it are overwritten.
        share: share of the pool to choose, in (0, 1).
        seed: random seed of the embedding.

    Raises:
        ImportError: scikit-learn or matplotlib is not installed.
        ValueError: share is out of range, `out` cannot be written, or the standard library has no source files.
    """
    try:
        import matplotlib.figure
        import sklearn.decomposition  # noqa: F401
    except ImportError as error:
        raise ImportError(INSTALL) from error
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must lie in (0, 1)")
    rows_path, figure_path = _targets(out)

    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        pool = standard_library_docstrings()
    k = round(share * len(pool))
    if k < 2:
        raise ValueError(f"share is {share}; it must give at least 2 of the {len(pool):,} docstrings")
    with _timed(seconds, "embedding"):
        F = embed([f"{item.name}\n{item.text}" for item in pool], seed=seed)
    with _timed(seconds, "scoring"):
        scores = self_compression(F)
    with _timed(seconds, "selection"):
        selection = select(F, scores, k)

    generators = map(np.random.default_rng, range(RANDOM_SEEDS))
    sets = {
        OURS: [selection.indices],
        RANDOM: [generator.choice(len(pool), k, replace=False) for generator in generators],
        TOP: [np.argsort(-scores, kind="stable")[:k]],
    }
    choices = [
        Choice(name, drawn, np.array([metrics.explained_curve(F, scores, chosen) for chosen in drawn]))
        for name, drawn in sets.items()
    ]
    with Together() as together:
        with together.open(rows_path) as file:
            for rank, i in enumerate(selection):
                item = {"name": pool[i].name, "module": pool[i].module, "doc": pool[i].text}
                gains = {"score": float(scores[i]), "gain": float(selection.gains[rank]), "rank": rank}
                file.write((json.dumps({**item, **gains}, ensure_ascii=False) + "\n").encode())
        with together.open(figure_path) as file:
            plot(matplotlib.figure.Figure, F, choices, selection).savefig(file, format="png", dpi=150)
    return _report(pool, F, choices, selection, seconds, (rows_path, figure_path))


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
        raise ValueError(f"{root} has no source files of the standard library, whose docstrings the demo reads")
    return found


def embed(texts: Sequence[str], *, seed: int = 0) -> NDArray[np.float32]:
    """Computes latent semantic embeddings of texts: hashed words and pairs of words, tf-idf, truncated SVD.

    Returns:
        (len(texts), d) float32 rows of unit length; d is 192, or less for fewer texts.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    steps = make_pipeline(
        HashingVectorizer(ngram_range=(1, 2), n_features=2**14, alternate_sign=False, norm=None, dtype=np.float32),
        TfidfTransformer(sublinear_tf=True),
        TruncatedSVD(min(DIMENSIONS, len(texts) - 1), random_state=seed),
        Normalizer(),
    )
    words = [re.sub(r"[._]", " ", text) for text in texts]  # split qualified names into words
    return np.asarray(steps.fit_transform(words), dtype=np.float32)


def plot(
    new_figure: Callable[..., Any],
    F: NDArray[np.float32],
    choices: Sequence[Choice],
    selection: Selection,
) -> Any:
    """Plots explained share and gains over the picks, and the positions of each choice in the pool."""
    colours = {OURS: "#0b6e4f", RANDOM: "#e08e0b", TOP: "#b3261e"}
    figure = new_figure(figsize=(12, 7.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    curves, gains = top.subplots(1, 2, width_ratios=(1.6, 1))

    picks = np.arange(1, len(selection) + 1)
    drawn = min(len(picks), F.shape[1] - 1)  # with d rows, any choice explains all
    for choice in choices:
        left = 1 - choice.curves.mean(axis=0)[:drawn]
        curves.loglog(picks[:drawn], left, color=colours[choice.name], label=choice.name, linewidth=2)
    curves.set(xlabel="rows chosen", ylabel="share not explained", title="What the choice leaves unexplained")
    curves.legend(frameon=False)
    gains.semilogy(picks, selection.gains, color=colours[OURS], linewidth=1.5)
    for start in selection.rounds[1:]:
        gains.axvline(start + 0.5, color="grey", linestyle=":", linewidth=1)
    gains.set(xlabel="rows chosen", ylabel=r"gain $\|W_s\|^2$", title="Information gained by each pick")
    for axes in (curves, gains):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)

    plane = _principal_plane(F)
    panels = bottom.subplots(1, len(choices), sharex=True, sharey=True)
    for axes, choice in zip(panels, choices, strict=True):
        chosen = plane[choice.sets[0]]
        axes.scatter(*plane.T, s=3, color="#c9ced6", linewidths=0)
        axes.scatter(*chosen.T, s=14, color=colours[choice.name], linewidths=0.3, edgecolors="white")
        cosine = metrics.mean_pairwise_cosine(F, choice.sets[0])
        axes.set(title=f"{choice.name}: mean cosine {cosine:.3f}", xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    bottom.suptitle(f"{len(selection)} of {len(F):,} docstrings on the two main directions of the pool")
    return figure


def _targets(out: Path) -> tuple[Path, Path]:
    rows, figure = out / "chosen.jsonl", out / "demo.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make folder {out}: {error.strerror}") from error
    for path in (rows, figure):
        check_target(path, (suffix_of(path),), overwrite=True)
    return rows, figure


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


def _principal_plane(F: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns (m, 2) coordinates on the two main directions of the rows."""
    centred = F.astype(np.float64) - F.mean(axis=0, dtype=np.float64)
    plane: NDArray[np.float64] = centred @ np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    return plane


def _report(
    pool: Sequence[Docstring],
    F: NDArray[np.float32],
    choices: Sequence[Choice],
    selection: Selection,
    seconds: dict[str, float],
    written: Sequence[Path],
) -> str:
    from tabulate import tabulate

    modules = [item.module for item in pool]
    k = len(selection)
    few = min(20, k)

    def row(choice: Choice) -> list[str]:
        needed = (choice.curves < 0.999).sum(axis=1) + 1
        cosines = [metrics.mean_pairwise_cosine(F, chosen) for chosen in choice.sets]
        covered = [metrics.coverage(modules, chosen) for chosen in choice.sets]
        return [
            choice.name if len(choice.sets) == 1 else f"{choice.name}, mean of {len(choice.sets)}",
            f"{choice.curves[:, few - 1].mean():.2%}",
            f"{choice.curves[:, -1].mean():.2%}",
            f"{needed.mean():.0f}" if needed.max() <= k else f"over {k}",
            f"{np.mean(cosines):.4f}",
            f"{np.mean(covered):.0f}",
        ]

    header = ["choice", f"explained by {few}", f"by all {k}", "rows for 99.9 %", "mean cosine", "modules"]
    table = tabulate([row(choice) for choice in choices], header, disable_numparse=True)
    first = [(rank, pool[i].name, _brief(pool[i].text)) for rank, i in enumerate(selection.indices[:SHOWN])]
    spent = ", ".join(f"{part} {span:.2g} s" for part, span in seconds.items())
    return "\n".join(
        [
            f"{len(pool):,} docstrings of {len(set(modules))} modules of Python {platform.python_version()}, "
            f"embedded in {F.shape[1]} dimensions, scored by self-compression",
            f"\n{table}\n",
            tabulate(first, ["rank", "chosen first", "says"], disable_numparse=True),
            f"\ntime: {spent}; peak memory of it all: {memory.readable(selection.peak_bytes)}",
            f"certificate: {selection.certificate}",
            f"written: {', '.join(map(str, written))}",
        ]
    )


def _brief(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line if len(line) <= 60 else f"{line[:59]}…"


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[part] = time.perf_counter() - began
