"""Small runs of the GPU benchmark, for its tests: sessions without a device, measurements, results and their files."""

import json

from bench.gpu.budget import Budget
from bench.gpu.cases import TINY
from bench.gpu.results import Entry, Results
from bench.gpu.session import Session

PARTS = ["ceilings", "steps", "selections", "gram", "lazy", "family", "equivalence"]
# A file in the first format, without tracebacks and seconds of the parts.
OLD = {
    "sizes": "full",
    "machine": {"device": "old chip", "date": "2026-01-02"},
    "ceilings": {"copy bandwidth": 1e12},
    "checks": [],
    "entries": [
        {"part": "ceilings", "case": "copy bandwidth", "variant": "", "backend": "", "seconds": 2.0},
        {"part": "gram", "case": "gone", "variant": "v", "backend": "triton", "seconds": 1.0, "difference": None},
    ],
    "failures": [{"what": "steps", "backend": "triton", "message": "RuntimeError: lost"}],
    "left_out": [],
    "wrong": True,
}


def session_of(library=None, budget=100.0):
    return Session(TINY, "cuda", {"cupy": library}, Budget(budget), Results("tiny"))


def selection(seconds, backend="cupy", difference=None, unchecked="", **rest):
    variant = f"{backend}, device arrays" if backend else "plain cupy loop"
    return Entry(
        "selections", "pool, k = 3", variant, backend, seconds, (), 10, None, True, difference, unchecked, "g", **rest
    )


def run_with(entries, **machine):
    results = Results("tiny", {"device": "chip", "date": "2026-03-04", **machine}, entries=entries)
    return json.loads(json.dumps(results.as_json()))
