"""A selection as HTML, for notebooks."""

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.system import memory

# Picks listed, and points of a curve.
LISTED, POINTS = 8, 160
WIDTH, HEIGHT = 240, 56


def as_html(selection: Any) -> str:
    """Returns a `gip_gpu.Selection` as an HTML fragment without scripts: figures, curves, first picks, certificate.

    Colours are those of the notebook, so that it fits light and dark ones.
    """
    plan, k = selection.plan, len(selection)
    share = float(selection.explained[-1]) if k else 0.0
    seconds = f"{selection.timings.get('total', 0.0):.3g} s"
    chosen_by = (
        [("method", plan.method), ("time", seconds)]
        if plan.method
        else [
            ("explained", f"{share:.4g}" if share >= 0 else "none"),
            ("objective", f"{plan.objective}, {plan.kept} on {plan.device} ({plan.backend})"),
            ("time", f"{seconds}, {selection.work}"),
        ]
    )
    facts = [
        *chosen_by,
        ("peak memory", memory.readable(selection.peak_bytes)),
        *(() if selection.preparation is None else selection.preparation.said),
        ("certificate", str(selection.certificate)),
    ]
    table = "".join(
        f"<tr><th style='text-align:left;padding-right:1em'>{escape(name)}</th>"
        f"<td style='text-align:left;white-space:normal'>{escape(value)}</td></tr>"
        for name, value in facts
    )
    curves = ""
    if k > 1 and plan.method:
        curves = "" if np.isnan(selection.gains).any() else _curve(selection.gains, "gain")
    elif k > 1:
        gains = np.log10(np.maximum(selection.gains, selection.gains.max() * 1e-9 or 1.0))
        curves = _curve(gains, "gain, log") + (_curve(selection.explained, "explained") if share >= 0 else "")
    first = ", ".join(map(str, selection.indices[:LISTED].tolist())) + (", ..." if k > LISTED else "")
    return (
        f"<div><strong>Selection of {k:,} from {plan.m:,}</strong>: <code>[{escape(first)}]</code>"
        f"<div>{curves}</div><table>{table}</table></div>"
    )


def _curve(values: NDArray[np.float64], name: str) -> str:
    """Returns a small line of values over the picks, as SVG."""
    places = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).astype(int))
    low, high = float(values.min()), float(values.max())
    x = 2 + (WIDTH - 4) * places / max(1, len(values) - 1)
    y = HEIGHT - 2 - (HEIGHT - 4) * (values[places] - low) / ((high - low) or 1.0)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f"<figure style='display:inline-block;margin:.4em 1em .4em 0'>"
        f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='{name} of each pick'>"
        f"<polyline points='{points}' fill='none' stroke='currentColor' stroke-width='1.5'/></svg>"
        f"<figcaption style='font-size:.8em'>{name}</figcaption></figure>"
    )
