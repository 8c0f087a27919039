"""Reports to test, and their data read back in Python."""

from __future__ import annotations

import base64
import itertools
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu
from gip_gpu.report import write

TYPES = {"Uint8Array": "u1", "Uint16Array": "<u2", "Uint32Array": "<u4", "Float32Array": "<f4"}
SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
HOSTILE = [
    SCRIPT,
    "<!-- <script> \u2028 ]]> ${window.hacked = 3} {{ 7 * 7 }} {% raw %}",
    "null \0 byte, bell \a, escape \x1b[31m",
    "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\u05e9\u05dc\u05d5\u05dd \u202eright to left\u202c \u0645\u0631\u062d\u0628\u0627",
    "",
    "   \n\t ",
    "lone surrogate \ud800 here",
    "huge <b>" + "x" * 200_000,
    "zalgo " + "e" + "\u0301" * 50,
]


def blobs(m: int, seed: int = 0) -> NDArray[np.float32]:
    """(m, 8) rows in three narrow cones."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(3, 8))
    return (centres[np.arange(m) % 3] + rng.normal(size=(m, 8)) * 0.6).astype(np.float32)


def made(folder: Path, m: int = 300, k: int = 40, **how: Any) -> tuple[Path, gip_gpu.Selection, NDArray[np.float32]]:
    """Writes a report of k picks from blobs; returns its path, the selection and the embeddings."""
    F = how.pop("F", None)
    F = blobs(m) if F is None else F
    G = how.pop("G", gip_gpu.signals.self_compression(F))
    chosen = gip_gpu.select(F, G, k, device="cpu")
    return write(chosen, folder / "report.html", F, G, **how), chosen, F


def data_of(path: Path) -> dict[str, Any]:
    """The JSON data of a page, with arrays in place of its blocks."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    return unpacked(json.loads(text))


def unpacked(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"type", "data"}:
        return np.frombuffer(zlib.decompress(base64.b64decode(value["data"])), TYPES[value["type"]])
    if isinstance(value, dict):
        return {name: unpacked(part) for name, part in value.items()}
    return [unpacked(part) for part in value] if isinstance(value, list) else value


def texts_of(data: dict[str, Any]) -> list[str]:
    """The texts of a page, one a row that it shows."""
    ends = [0, *data["text"]["ends"].tolist()]
    raw = data["text"]["data"].tobytes()
    return [raw[a:b].decode("utf-8") for a, b in itertools.pairwise(ends)]
