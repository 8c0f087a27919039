"""`write`: the report of a selection as one HTML file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gip_gpu.api.selection import Selection
from gip_gpu.report.html import measures
from gip_gpu.report.html.inputs import POINTS, Texts, shown
from gip_gpu.report.html.installed import check_installed
from gip_gpu.report.html.page import Content, page
from gip_gpu.report.html.texts import blob, group_names
from gip_gpu.system.atomic_write import atomic_write, check_target

SUFFIXES = (".html", ".htm")


def write(
    selection: Selection,
    path: str | os.PathLike[str],
    F: Any,
    G: Any = None,
    *,
    texts: Texts | None = None,
    groups: Texts | None = None,
    score_names: Sequence[str] | None = None,
    title: str = "Selected data",
    command: str | None = None,
    stability: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    near: float = measures.NEAR,
    points: int = POINTS,
) -> Path:
    """Writes a report of a selection: one HTML file with all data inside, which loads nothing from elsewhere.

    It shows gains and explained share, a map of the pool (its two main directions), the nearest pick of every row,
    near-duplicates, groups, scores, a searchable table of the picks, the certificate, time and memory. All texts are
    escaped. The same input gives the same file.

    Args:
        selection: the result of `gip_gpu.select`, or `gip_gpu.Selection.load("chosen.npz")`.
        path: file to write, .html; an existing one is replaced.
        F: (m, d) embeddings that the selection was made from: an array, a tensor, a path or a source.
        G: (m,) or (m, n) scores, or None. The first 8 columns are shown; missing values may be NaN.
        texts: m texts (or mappings of fields, such as rows of a .jsonl), or a function from an int64 array of row
            numbers to their texts. Picks keep 4,000 characters and other rows at most 400.
        groups: m labels, or such a function; by default 2 to 12 clusters by k-means, named by their words.
        score_names: n names of the columns of G.
        title: heading of the page.
        command: command line that made the selection, shown with a button to copy it.
        stability: findings on how stable the picks are, as (name, finding), shown beside the certificate.
        notes: paragraphs shown below the heading.
        near: cosine from which two rows count as near-duplicates, in (0, 1].
        points: most rows to show. Of a larger pool, the picks and a random sample of the others are shown and measured,
            and the page says so. Fewer are shown if `points` rows take over a fifth of the free memory.

    Returns:
        The path of the file.

    Raises:
        ImportError: jinja2 or scikit-learn is not installed (`pip install "gip_gpu[report]"`).
        TypeError: the selection is no `Selection`, or F or G are no numbers.
        ValueError: no picks; F, G, texts, groups or score_names do not belong to the selection; `near` or `points` is
            out of range; or the file cannot be written.

    >>> import numpy as np, gip_gpu.report
    >>> from tempfile import TemporaryDirectory
    >>> F = np.random.default_rng(0).normal(size=(60, 4))
    >>> chosen = gip_gpu.select(F, None, 6, device="cpu")
    >>> with TemporaryDirectory() as folder:
    ...     path = gip_gpu.report.write(chosen, f"{folder}/report.html", F, texts=[f"row {i}" for i in range(60)])
    ...     path.name, "row 59" in path.read_text()  # texts are compressed
    ('report.html', False)
    """
    check_installed()
    if not isinstance(selection, Selection):
        raise TypeError(
            f"selection is a {type(selection).__name__}; it must be a gip_gpu.Selection: the result of select(), or "
            'gip_gpu.Selection.load("chosen.npz")'
        )
    if not len(selection):
        raise ValueError("selection has no picks; a report needs at least one, so select with k=1 or more")
    if isinstance(near, bool) or not isinstance(near, (int, float)) or not 0 < near <= 1:
        raise ValueError(f"near is {near!r}; it must be a cosine in (0, 1], such as near={measures.NEAR}")
    target = Path(path)
    check_target(target, SUFFIXES, overwrite=True)
    pool = shown(selection, F, G, score_names=score_names, points=points)
    for name, values in (("texts", texts), ("groups", groups)):
        _check_rows(name, values, pool.m)
    content = _content(selection, pool, texts, groups, float(near))
    text = page(content, title=title, command=command, stability=stability or {}, notes=notes)
    with atomic_write(target) as file:
        file.write(text.encode("utf-8", "replace"))
    return target


def _content(selection: Selection, pool: Any, texts: Texts | None, groups: Texts | None, near: float) -> Content:
    nearest, cosines = measures.nearest_picks(pool.rows, pool.picks)
    others = measures.nearest_other(pool.rows, pool.picks)
    places, share = measures.plane(pool.rows)
    said = None if texts is None else pool.taken(texts)
    if groups is None:
        made = measures.clusters(pool.rows)
        words = [""] * len(made.names) if said is None else group_names(said, made.of, len(made.names))
        names = [f"cluster {i + 1}{': ' if word else ''}{word}" for i, word in enumerate(words)]
        made = measures.Groups(made.of, names, True)
    else:
        made = measures.given_groups(pool.taken(groups))
    return Content(
        selection=selection,
        pool=pool,
        places=places,
        plane_share=share,
        nearest=nearest,
        cosines=cosines,
        others=others,
        reach=measures.reach(pool, cosines),
        near=measures.near_duplicates(pool, others, cosines, near),
        groups=made,
        texts=None if said is None else blob(said, pool.picks),
    )


def _check_rows(name: str, values: Any, m: int) -> None:
    """Raises TypeError or ValueError if texts or labels are not m in number; functions are asked later."""
    if values is None or callable(values):
        return
    if isinstance(values, (str, bytes, Mapping)) or not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        raise TypeError(
            f"{name} is a {type(values).__name__}; it must be a sequence with one value a row of F, or a function of "
            "row numbers"
        )
    if len(values) != m:
        raise ValueError(f"{name} has {len(values):,} values and F has {m:,} rows; row i of F has value i of {name}")
