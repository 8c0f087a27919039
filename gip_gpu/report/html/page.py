"""The page of a report: measures as data for the browser, and as text for the reader."""

import base64
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from gip_gpu.api.selection import Selection
from gip_gpu.report.html.blocks import block, quantised, smallest
from gip_gpu.report.html.histograms import histogram, log_histogram
from gip_gpu.report.html.inputs import Shown
from gip_gpu.report.html.measures import Groups, Near, Reach
from gip_gpu.report.html.texts import Blob, readable
from gip_gpu.system import memory

SCRIPTS = ("core.js", "charts.js", "grid.js", "map.js", "detail.js", "table.js", "main.js")


@dataclass(frozen=True)
class Content:
    """All that a report shows; p shown rows, k picks.

    Attributes:
        selection: the picks.
        pool: the shown rows.
        places: (p, 2) coordinates on the map.
        plane_share: share of the variance that the map shows.
        nearest, cosines: (p,) rank of the nearest pick of each row, and their cosine.
        others: (k,) largest cosine of each pick with another pick.
        reach: cosines with the nearest pick, beside those of a random choice.
        near: near-duplicates.
        groups: groups of the rows.
        texts: texts of the rows, or None.
    """

    selection: Selection
    pool: Shown
    places: NDArray[np.float64]
    plane_share: float
    nearest: NDArray[np.int64]
    cosines: NDArray[np.float32]
    others: NDArray[np.float32]
    reach: Reach
    near: Near
    groups: Groups
    texts: Blob | None


def page(
    content: Content, *, title: str, command: str | None, stability: Mapping[str, Any], notes: Sequence[str]
) -> str:
    """Returns the HTML of a report; the arguments are those of `gip_gpu.report.write`."""
    script, style = _asset_texts()
    chosen = content.selection
    return str(
        _environment()
        .get_template("report.html.jinja")
        .render(
            title=readable(title, 200)[0],
            version=gip_gpu.__version__,
            script=script,
            style=style,
            script_hash=_hash(script),
            style_hash=_hash(style),
            data=data(content),
            c=content,
            chosen=chosen,
            k=len(chosen),
            p=len(content.pool.indices),
            explained=_explained(chosen),
            medians=[float(np.median(values)) if len(values) else None for values in
                     (content.reach.chosen, content.reach.random)],
            coverage=_coverage(content),
            scores=_score_table(content),
            command=command,
            stability=[(str(name), str(value)) for name, value in stability.items()],
            notes=notes,
            timings=_timings(chosen),
            plan=chosen.plan.table(),
            said=() if chosen.preparation is None else chosen.preparation.said,
            software=f"gip_gpu {gip_gpu.__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
        )
    )  # fmt: skip


def data(content: Content) -> dict[str, Any]:
    """Returns the data of a page for its script, as JSON."""
    chosen, pool, texts = content.selection, content.pool, content.texts
    low, high = content.places.min(axis=0), content.places.max(axis=0)
    span = float(max((high - low).max(), 1e-30))
    places = (content.places - (low + high - span) / 2) / span
    picked = pool.scores[pool.picks]
    finite = np.nan_to_num(chosen.gains.astype(np.float32))
    return {
        "m": pool.m,
        "near": content.near.limit,
        "x": block(quantised(places[:, 0], 0, 1)),
        "y": block(quantised(1 - places[:, 1], 0, 1)),
        "row": block(smallest(pool.indices)),
        "picks": block(smallest(pool.picks)),
        "group": block(smallest(content.groups.of)),
        "groups": [readable(name, 80)[0] for name in content.groups.names],
        "nearest": block(smallest(content.nearest)),
        "cosine": block(quantised(content.cosines, -1, 1)),
        "scores": [
            {
                "name": readable(name, 60)[0],
                "values": block(np.ascontiguousarray(pool.scores[:, j], dtype=np.float32)),
                "histogram": histogram({"pool": pool.scores[:, j], "picks": picked[:, j]}),
            }
            for j, name in enumerate(pool.score_names)
        ],
        "gains": block(finite),
        "explained": block(np.nan_to_num(chosen.explained.astype(np.float32), nan=-1.0)),
        "margins": block(np.nan_to_num(chosen.certificate.margins.astype(np.float32))),
        "ties": block(smallest(chosen.certificate.ties)),
        "other": block(content.others.astype(np.float32)),
        "rounds": list(chosen.rounds),
        "reach": histogram({"picks": content.reach.chosen, "random": content.reach.random}, high=1.0),
        "lead": log_histogram(chosen.certificate.margins),
        "text": None
        if texts is None
        else {"data": block(texts.data), "ends": block(texts.ends), "cut": block(texts.cut)},
    }


def _explained(selection: Selection) -> str:
    """Returns the share that the picks of the first round explain, or "none"."""
    rounds = selection.rounds
    share = float(selection.explained[rounds[1] - 1] if len(rounds) > 1 else selection.explained[-1])
    if not np.isfinite(share) or share < 0:
        return "none"
    return "100 %" if share > 0.99995 else f"{100 * share:.3g} %" if share < 0.99 else f"{100 * share:.2f} %"


def _coverage(content: Content) -> list[dict[str, Any]]:
    """Returns a row for each group: name, rows and picks in it, their shares, and the bar widths in per cent."""
    groups, pool = content.groups, content.pool
    rows = np.bincount(groups.of, minlength=len(groups.names))
    picks = np.bincount(groups.of[pool.picks], minlength=len(groups.names))
    shares = rows / rows.sum(), picks / picks.sum()
    largest = max(float(share.max()) for share in shares)
    return [
        {
            "name": readable(name, 80)[0],
            "rows": int(rows[i]),
            "picks": int(picks[i]),
            "row_share": float(shares[0][i]),
            "pick_share": float(shares[1][i]),
            "row_bar": round(100 * float(shares[0][i]) / largest, 2),
            "pick_bar": round(100 * float(shares[1][i]) / largest, 2),
        }
        for i, name in enumerate(groups.names)
    ]


def _score_table(content: Content) -> list[dict[str, Any]]:
    """Returns a row for each score: name, means of pool and picks, missing values."""
    pool = content.pool
    table = []
    for j, name in enumerate(pool.score_names):
        column = pool.scores[:, j]
        finite = np.isfinite(column)
        picked = column[pool.picks]
        table.append(
            {
                "name": readable(name, 60)[0],
                "pool": f"{column[finite].mean():.4g}" if finite.any() else "none",
                "picks": f"{picked[np.isfinite(picked)].mean():.4g}" if np.isfinite(picked).any() else "none",
                "missing": int((~finite).sum()),
            }
        )
    return table


def _timings(selection: Selection) -> list[tuple[str, str, float]]:
    """Returns (part, seconds, bar width in per cent) of the parts of a run."""
    parts = {part: seconds for part, seconds in selection.timings.items() if part != "total"}
    largest = max([*parts.values(), 1e-12])
    return [(part, _seconds(span), round(100 * span / largest, 2)) for part, span in parts.items()]


def _seconds(span: float) -> str:
    return f"{span:.3g} s" if span >= 0.1 else f"{1000 * span:.3g} ms"


@cache
def _environment() -> Any:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("gip_gpu.report.html", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # All but ASCII is escaped too, so that no reader's idea of line ends or encodings matters.
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    made.policies["json.dumps_function"] = json.dumps
    made.filters["bytes"] = memory.readable
    made.filters["seconds"] = _seconds
    made.filters["percent"] = lambda share: f"{100 * share:.3g} %"
    made.filters["count"] = lambda number: f"{number:,}"
    return made


@cache
def _asset_texts() -> tuple[str, str]:
    """Returns the script and the style of a page."""
    folder = files("gip_gpu.report.html") / "assets"
    parts = [(folder / name).read_text("utf-8") for name in SCRIPTS]
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"
    return script, (folder / "style.css").read_text("utf-8")


def _hash(text: str) -> str:
    """Returns the hash of a script or style for the page's content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
