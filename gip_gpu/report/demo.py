"""Demo: which handwritten digits to label, if a classifier may learn from few?"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.api.selection import Selection
from gip_gpu.report.comparison import (
    DRAWS,
    EVEN,
    KMEANS,
    NEAR,
    OURS,
    PLAIN,
    RANDOM,
    SPLITS,
    TOP,
    Measured,
    accuracy,
    choose,
    compare,
    one_thread,
)  # fmt: skip
from gip_gpu.report.digits import COPIED, Digits, digits, picture
from gip_gpu.report.html import write
from gip_gpu.system import memory
from gip_gpu.system.atomic_write import Together, check_target
from gip_gpu.system.files import suffix_of

INSTALL = 'the demo needs scikit-learn, jinja2 and matplotlib: pip install "gip_gpu[demo]"'
COLOURS = {
    OURS: "#0b6e4f", PLAIN: "#6fb39b", RANDOM: "#e08e0b", EVEN: "#f2c14e", KMEANS: "#4e79a7", TOP: "#b3261e"
}  # fmt: skip
COMMANDS = """\
gip-gpu embed data.jsonl -o embeddings.npy
gip-gpu select embeddings.npy --scores self-compression -k 5% -o chosen.npz
gip-gpu report chosen.npz --embeddings embeddings.npy --rows data.jsonl -o report.html"""


def run(out: Path, *, share: float = 0.025, seed: int = 0) -> str:
    """Runs the demo, writes `chosen.jsonl`, `demo.png` and `report.html` to the folder `out`, and returns the summary.

    Args:
        out: folder, created if missing; earlier results in it are overwritten.
        share: share of the pool to choose, in (0, 1).
        seed: random seed of the pools and of the random choices.

    Raises:
        ImportError: scikit-learn, jinja2 or matplotlib is not installed.
        ValueError: share is out of range, or `out` cannot be written.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib.figure
        import sklearn.datasets  # noqa: F401
    except ImportError as error:
        raise ImportError(INSTALL) from error
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must lie in (0, 1)")
    rows_path, figure_path, report_path = _targets(out)
    pool = digits(seed)
    k = round(share * len(pool.images))
    if k < 10:
        raise ValueError(f"share is {share}; it must give at least 10 of the {len(pool.images):,} images")
    sizes = [size for size in (k // 2, k, 2 * k, 4 * k) if 10 <= size <= len(pool.images) // 2]
    seconds: dict[str, float] = {}
    with one_thread(), _timed(seconds, "selection"):
        selection = choose(pool, k)
    with _timed(seconds, "comparison"):
        table = compare(sizes, seed)
    with _timed(seconds, "report"):
        write(
            selection, report_path, pool.embeddings, texts=[picture(pool, i) for i in range(len(pool.images))],
            groups=[f"digit {label}" for label in pool.labels], title=f"{k} of {len(pool.images):,} handwritten digits",
            command="gip-gpu demo", near=NEAR,
            notes=("Images of 8 x 8 pixels; a third of the pool are near-copies. Scores: one column a digit.",),
        )  # fmt: skip
    with Together() as together:
        with together.open(rows_path) as file:
            for rank, i in enumerate(selection):
                item = {"rank": rank, "row": i, "digit": int(pool.labels[i]), "copy": i >= pool.originals,
                        "gain": float(selection.gains[rank]), "pixels": pool.images[i].round(4).tolist()}  # fmt: skip
                file.write((json.dumps(item) + "\n").encode())
        with together.open(figure_path) as file:
            figure = plot(matplotlib.figure.Figure, pool, selection, table, seed)
            figure.savefig(file, format="png", dpi=150)
    return _summary(pool, k, table, selection, seconds, (rows_path, figure_path, report_path))


def plot(
    new_figure: Callable[..., Any], pool: Digits, selection: Selection, table: dict[str, dict[int, Measured]], seed: int
) -> Any:
    """Plots accuracy and near-copies over the number of picks, and the first picks beside a random choice."""
    figure = new_figure(figsize=(12, 6.9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    left, right = top.subplots(1, 2)
    for name, by_size in table.items():
        sizes, style = list(by_size), {"color": COLOURS[name], "label": name, "linewidth": 2.6 if name == OURS else 1.6}
        left.plot(sizes, [by_size[k].accuracy for k in sizes], marker="o", **style)
        right.plot(sizes, [by_size[k].copies for k in sizes], marker="o", **style)
    left.set(xlabel="images chosen", ylabel="accuracy", title="A classifier trained on the choice, 500 test images")
    right.set(xlabel="images chosen", ylabel="share", title="Picks that nearly repeat another pick")
    top.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    shown = 3 * (min(36, len(selection)) // 3)
    rows = {
        "chosen first by gip_gpu": selection.indices[:shown],
        "random": np.random.default_rng((seed, 0)).choice(len(pool.images), shown, replace=False),
    }
    for axes, (name, chosen) in zip(bottom.subplots(1, 2), rows.items(), strict=True):
        strip = np.pad(pool.images[chosen].reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
        lines = [np.concatenate(list(strip[at : at + shown // 3]), axis=1) for at in range(0, shown, shown // 3)]
        axes.imshow(np.concatenate(lines), cmap="gray_r", interpolation="nearest", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, loc="left", fontsize=11)
        axes.spines[:].set_visible(False)
    return figure


def _targets(out: Path) -> tuple[Path, Path, Path]:
    rows, figure, report = out / "chosen.jsonl", out / "demo.png", out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make folder {out}: {error.strerror}") from error
    for path in (rows, figure, report):
        check_target(path, (suffix_of(path),), overwrite=True)
    return rows, figure, report


def _summary(
    pool: Digits, k: int, table: dict[str, dict[int, Measured]], selection: Selection, seconds: dict[str, float],
    written: tuple[Path, ...],
) -> str:  # fmt: skip
    from tabulate import tabulate

    sizes = list(table[OURS])
    by_size = tabulate(
        [[name, *(f"{by_size[size].accuracy:.1%}" for size in sizes)] for name, by_size in table.items()],
        ["test accuracy, trained on", *(f"{size} images" for size in sizes)], disable_numparse=True,
    )  # fmt: skip
    spread = tabulate(
        [[name, f"{at[k].copies:.1%}", f"{at[k].distance:.3f}", f"{at[k].far:.3f}"] for name, at in table.items()],
        [f"{k} images", "near-copies among them", "distance to nearest pick", "of the farthest 1 %"],
        disable_numparse=True,
    )  # fmt: skip
    everything = accuracy(pool, np.arange(len(pool.images)))
    spent = ", ".join(f"{part} {span:.2g} s" for part, span in seconds.items())
    return "\n".join(
        [
            f"{len(pool.images):,} images of handwritten digits, {len(pool.images) - pool.originals} of them "
            f"near-copies of {COPIED}; means of {SPLITS} pools and {DRAWS} random choices from each",
            f"\n{by_size}\n\n{spread}\n",
            f"trained on all {len(pool.images):,}: {everything:.1%}",
            *_findings(table, k),
            f"\ntime: {spent}; peak memory of it all: {memory.readable(selection.peak_bytes)}",
            f"certificate: {selection.certificate}",
            f"written: {', '.join(map(str, written))}",
            f"\nOn your own data:\n{COMMANDS}",
        ]
    )


def _findings(table: dict[str, dict[int, Measured]], k: int) -> list[str]:
    """Returns sentences on where the choice wins and where it does not, from the figures alone."""
    sizes = list(table[OURS])
    lines = []
    for rival in (RANDOM, EVEN, KMEANS):
        lead = {size: table[OURS][size].accuracy - table[rival][size].accuracy for size in sizes}
        won = [str(size) for size in sizes if lead[size] > 0.01]
        lost = [str(size) for size in sizes if lead[size] < -0.01]
        lines.append(
            f"against {rival}: better with {', '.join(won) or 'no number of'} images, worse with "
            f"{', '.join(lost) or 'none'}, else within a point"
        )
    ours, chance = table[OURS][k].distance, table[RANDOM][k].distance
    nearer = (
        "nearer to the picks than"
        if ours < chance - 0.01
        else "farther from the picks than"
        if ours > chance + 0.01
        else "as near to the picks as"
    )
    lines.append(f"the pool is {nearer} to a random choice ({ours:.3f} and {chance:.3f})")
    return lines


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[part] = time.perf_counter() - began
