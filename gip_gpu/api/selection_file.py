"""Files of a selection, .npz or .json: every field is written, and every field is checked when it is read."""

import io
import json
import math
import reprlib
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.certificate import Certificate
from gip_gpu.api.provenance import Provenance
from gip_gpu.data.preparation import Preparation
from gip_gpu.data.standardize import METHODS, Standardization
from gip_gpu.greedy.projection import Projection
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.problem.options import Options
from gip_gpu.system.files import suffix_of
from gip_gpu.validation.json_fields import arguments, checked
from gip_gpu.validation.settings import LARGEST, one_of

SUFFIXES = (".npz", ".json")
# Prefix of the names of a projection's arrays in a file.
PREFIX = "projection_"
# Tolerance for values in [0, 1] that were computed in float32 or from sums of float64.
ROUNDING = 1e-5
# Arrays that may be NaN throughout if another method chose; a file then leaves them out.
UNKNOWN = ("gains", "explained", "margins")


def checked_suffix(path: Path) -> str:
    """Returns the suffix of a path in lower case; ValueError if it is neither .npz nor .json."""
    if suffix_of(path) not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix!r}; a selection is kept in .npz or .json")
    return suffix_of(path)


def encode(selection: Any, suffix: str) -> bytes:
    """Returns the content of a file of this suffix that holds a whole `gip_gpu.Selection`."""
    arrays, rest = _split(selection)
    if suffix == ".npz":
        # In memory first: a zip file cut off by a full disk raises a second error when it is garbage-collected.
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, meta=np.array(json.dumps(rest)))
        return buffer.getvalue()
    lists = {name: array.tolist() for name, array in arrays.items()}
    return json.dumps({"meta": rest, **lists}).encode()


def read(path: Path) -> dict[str, Any]:
    """Returns the arguments of the `Selection` that a file holds.

    Raises:
        ValueError: another suffix, or no valid selection in the file: damaged; a field missing, of another type or with
            a value that no selection has; indices outside the pool or repeated; arrays of different lengths.
        OSError: the file does not exist or cannot be read.
    """
    suffix = checked_suffix(path)
    stored = path.read_bytes()
    try:
        return _join(_unpacked(stored) if suffix == ".npz" else _parsed(stored))
    except Exception as error:
        raise ValueError(f"{path} holds no selection that can be read: {error}") from error


def _unpacked(stored: bytes) -> dict[str, Any]:
    """Returns the fields of a .npz file from its bytes in memory, so that any error comes from the content."""
    file = io.BytesIO(stored)
    if not zipfile.is_zipfile(file):
        raise ValueError("it is cut off, or no .npz file")
    with np.load(file, allow_pickle=False) as archive:
        content: dict[str, Any] = {name: archive[name] for name in archive.files}
    if "meta" in content:
        content["meta"] = json.loads(str(content["meta"]))
    return content


def _parsed(stored: bytes) -> dict[str, Any]:
    """Returns the fields of a .json file."""
    content = json.loads(stored.decode())
    if not isinstance(content, dict):
        raise ValueError(f"it is a {type(content).__name__}; it must be an object with fields")
    return content


def _split(selection: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the arrays by name, and the other fields for JSON."""
    proof = selection.certificate
    arrays: dict[str, Any] = {
        "indices": selection.indices,
        "gains": selection.gains,
        "weights": selection.weights,
        "explained": selection.explained,
        "margins": proof.margins,
        "candidates": proof.candidates,
        "ties": proof.ties,
    }
    if selection.plan.method:
        # JSON has no NaN.
        arrays = {name: array for name, array in arrays.items() if not _unknown(name, array)}
    rest = {
        "refreshes": proof.refreshes,
        "rounds": list(proof.rounds),
        "plan": asdict(selection.plan),
        "timings": selection.timings,
        "peak_bytes": selection.peak_bytes,
        "range_share": selection.range_share,
        "computed": selection.computed,
        "resumed": selection.resumed,
        "preparation": None if selection.preparation is None else asdict(selection.preparation),
        "provenance": None if selection.provenance is None else selection.provenance.encoded(),
    }
    if selection.projection is not None:
        parts, rest["projection"] = selection.projection.split()
        arrays.update({f"{PREFIX}{name}": array for name, array in parts.items()})
    return arrays, rest


def _join(content: dict[str, Any]) -> dict[str, Any]:
    rest = _entry(content, "meta")
    if not isinstance(rest, dict):
        raise ValueError(f"meta is {reprlib.repr(rest)}; it must be an object with fields")
    plan = _plan(_entry(rest, "plan"))
    preparation = _preparation(rest["preparation"], plan) if rest.get("preparation") is not None else None
    m = plan.m if preparation is None else preparation.rows
    indices = _indices(_entry(content, "indices"), m)
    k = len(indices)
    if plan.method:
        content = {**{name: np.full(k, np.nan) for name in UNKNOWN}, **content}
    numbers = {name: _floats(content, name, (k,)) for name in ("gains", "explained", "margins")}
    weights = _floats(content, "weights", (k, plan.n))
    counts = {name: _counts(content, name, (k,)) for name in ("candidates", "ties")}
    margins = numbers.pop("margins")
    if plan.method:
        _check_nothing_certified(margins, numbers["explained"], *counts.values())
    else:
        _check_counts(counts["candidates"], counts["ties"], plan.m)
        _within("margins", margins, 0, 1)
        _within("gains", numbers["gains"], 0, math.inf)
        _within("explained", numbers["explained"], -math.inf, 1, ROUNDING)
    _within("weights", weights, -math.inf, math.inf)
    share = checked(rest.get("range_share"), float | None, "range_share")
    if share is not None:
        _within("range_share", np.array([share]), 0, 1)
    proof = Certificate(
        margins, counts["candidates"], counts["ties"], _count(_entry(rest, "refreshes"), "refreshes"), _rounds(rest, k)
    )
    return {
        "indices": indices,
        **numbers,
        "weights": weights,
        "certificate": proof,
        "plan": plan,
        "timings": checked(_entry(rest, "timings"), dict[str, float], "timings"),
        "peak_bytes": _count(_entry(rest, "peak_bytes"), "peak_bytes"),
        # Earlier versions did not write these.
        "range_share": share,
        "computed": _count(rest.get("computed", 0), "computed"),
        "resumed": _resumed(rest.get("resumed", 0), k),
        "projection": _projection(content, rest["projection"], plan, preparation) if "projection" in rest else None,
        "preparation": preparation,
        "provenance": None if rest.get("provenance") is None else Provenance.decoded(rest["provenance"], m),
    }


def _plan(stored: Any) -> Plan:
    plan = Plan(**arguments(Plan, stored, "plan"))
    if not plan.method:
        one_of("plan: objective", plan.objective, tuple(OBJECTIVES))
    # A method may have chosen by scores alone, and then d is 0.
    for name, least in (("m", 1), ("d", 0 if plan.method else 1), ("n", 0), ("k", 1)):
        if getattr(plan, name) < least:
            raise ValueError(f"plan: {name} is {getattr(plan, name)}; it must be at least {least}")
    return plan


def _preparation(stored: Any, plan: Plan) -> Preparation:
    found = arguments(Preparation, stored, "preparation", leave=("standardized", "center"))
    rows, dropped = (_count(_entry(found, name), f"preparation: {name}") for name in ("rows", "dropped"))
    if rows - dropped != plan.m:
        raise ValueError(
            f"preparation leaves {rows - dropped} of {rows} rows; they must be {plan.m}, those of the plan"
        )
    done, center, cone = _entry(stored, "standardized"), _center(stored, plan.d), found.get("cone", 0.0)
    if not 0 <= cone <= 1:
        raise ValueError(f"preparation: cone is {cone}; it must lie in [0, 1]")
    if done is None:
        return Preparation(rows, dropped, None, center, cone)
    how = arguments(Standardization, done, "standardized", leave=("centers", "spreads"))
    method = one_of("standardized: method", how["method"], METHODS)
    columns = (plan.n,) if method == "zscore" else (0,)
    centers, spreads = (_floats(done, name, columns) for name in ("centers", "spreads"))
    # Scores are within LARGEST, and a constant column has spread 0.
    _within("standardized: centers", centers, -LARGEST, LARGEST)
    _within("standardized: spreads", spreads, 0, LARGEST, ROUNDING * LARGEST)
    done = Standardization(method, tuple(centers.tolist()), tuple(spreads.tolist()))
    return Preparation(rows, dropped, done, center, cone)


def _center(stored: dict[str, Any], d: int) -> tuple[float, ...] | None:
    # Earlier versions did not write it.
    if stored.get("center") is None:
        return None
    mean = _floats(stored, "center", (d,))
    _within("preparation: center", mean, -LARGEST, LARGEST)
    return tuple(mean.tolist())


def _projection(content: dict[str, Any], stored: Any, plan: Plan, preparation: Preparation | None) -> Projection:
    found = arguments(Projection, stored, "projection", leave=("A", "S", "options"))
    for name, value in found.items():
        if not (0 <= value < math.inf if name != "least" else 0 < value < math.inf):
            least = "above" if name == "least" else "at least"
            raise ValueError(f"projection: {name} is {value}; it must be {least} 0 and finite")
    options = Options(**arguments(Options, _entry(stored, "options"), "projection: options"))
    objective = options.choose(plan.n > 0)
    if objective.name != plan.objective:
        raise ValueError(f"projection: objective is {objective.name!r}; that of the plan is {plan.objective!r}")
    done = None if preparation is None else preparation.standardized
    if options.standardize != (None if done is None else done.method):
        raise ValueError(f"projection: standardize is {options.standardize!r}; standardized in preparation is {done}")
    A = _floats(content, f"{PREFIX}A", (plan.d, plan.n))
    S = _floats(content, f"{PREFIX}S", (plan.d, plan.d)) if f"{PREFIX}S" in content else None
    for name, part in (("A", A), ("S", S)):
        if part is not None and not np.isfinite(part).all():
            raise ValueError(f"{PREFIX}{name} has a value that is not finite")
    if (S is not None) != objective.projects:
        raise ValueError(f"{PREFIX}S is {'missing' if S is None else 'there'}, with objective {objective.name!r}")
    # S lengthens no vector, so none of its rows and columns has a norm above 1.
    if S is not None:
        longest = max(float(np.linalg.norm(S / max(1.0, np.abs(S).max()), axis=axis).max()) for axis in (0, 1))
        longest *= max(1.0, float(np.abs(S).max()))
        if longest > 1 + ROUNDING:
            raise ValueError(f"{PREFIX}S has a row or column of norm {longest:g}; none exceeds 1")
    return Projection(A, S, options, **found)


def _entry(stored: dict[str, Any], name: str) -> Any:
    if name not in stored:
        raise ValueError(f"it lacks {name!r}")
    return stored[name]


def _indices(values: Any, m: int) -> NDArray[np.int64]:
    array = _as_array("indices", values)
    wanted = f"it must hold rows of the pool, ints from 0 to {m - 1}, each once"
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"indices holds {array.dtype} {array.shape}; {wanted}")
    outside = np.flatnonzero((array < 0) | (array >= m))
    if len(outside):
        raise ValueError(f"indices holds {array[outside[0]]} at place {outside[0]}; {wanted}")
    again = np.setdiff1d(np.arange(len(array)), np.unique(array, return_index=True)[1])
    if len(again):
        raise ValueError(f"indices holds {array[again[0]]} at place {again[0]} for the second time; {wanted}")
    return array.astype(np.int64)


def _floats(content: dict[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return _array(content, name, shape, "iuf").astype(np.float64)


def _counts(content: dict[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    array = _array(content, name, shape, "iu").astype(np.int64)
    if array.size and array.min() < 0:
        raise ValueError(f"{name} holds {array.min()}; it must hold counts")
    return array


def _within(name: str, values: NDArray[np.float64], least: float, most: float, rounding: float = 0.0) -> None:
    """Raises ValueError for numbers outside [least, most], and for NaN."""
    if values.size and not (values.min() >= least and values.max() <= most + rounding):
        reach = f"reach from {values.min():g} to {values.max():g}"
        raise ValueError(f"{name} {reach}; they must lie in [{least:g}, {most:g}]")


def _unknown(name: str, array: NDArray[Any]) -> bool:
    return name in UNKNOWN and bool(np.isnan(array).all())


def _check_nothing_certified(
    margins: NDArray[np.float64], explained: NDArray[np.float64], *counts: NDArray[np.int64]
) -> None:
    """Raises ValueError if a file claims evidence for the picks of a method that has none."""
    if not (np.isnan(margins).all() and np.isnan(explained).all()) or any(count.any() for count in counts):
        raise ValueError("plan: method names a method without a certificate, and the file has entries of a certificate")


def _check_counts(candidates: NDArray[np.int64], ties: NDArray[np.int64], m: int) -> None:
    # Picks that were included have neither; they come first.
    free = np.flatnonzero((ties != 0) | (candidates != 0))
    start = int(free[0]) if len(free) else len(ties)
    chosen = np.arange(len(ties)) >= start
    wrong = np.flatnonzero(chosen & ((ties < 1) | (candidates < ties) | (candidates > m)))
    if len(wrong):
        t = wrong[0]
        found = f"candidates holds {candidates[t]} and ties {ties[t]} at place {t}"
        raise ValueError(f"{found}; ties must lie in [1, candidates] and candidates in [1, {m}]")


def _as_array(name: str, values: Any) -> NDArray[Any]:
    """Returns values as a NumPy array; ValueError for a bool among numbers, which NumPy would convert to 0 or 1."""
    rows = values if isinstance(values, list) else ()
    if any(isinstance(item, bool) for row in rows for item in (row if isinstance(row, list) else (row,))):
        raise ValueError(f"{name} holds bool, true or false; it must hold numbers")
    return np.asarray(values)


def _array(content: dict[str, Any], name: str, shape: tuple[int, ...], kinds: str) -> NDArray[Any]:
    array = _as_array(name, _entry(content, name))
    if not array.size and 0 in shape:
        return array.reshape(shape)  # empty lists have neither width nor type
    if array.shape != shape or array.dtype.kind not in kinds:
        wanted = "ints" if "f" not in kinds else "numbers"
        raise ValueError(f"{name} holds {array.dtype} {array.shape}; it must hold {wanted} {shape}")
    return array


def _count(value: Any, name: str) -> int:
    count: int = checked(value, int, name)
    if count < 0:
        raise ValueError(f"{name} is {count}; it must be a count")
    return count


def _resumed(value: Any, k: int) -> int:
    if _count(value, "resumed") > k:
        raise ValueError(f"resumed is {value}; it must be at most {k}, the picks")
    return int(value)


def _rounds(rest: dict[str, Any], k: int) -> tuple[int, ...]:
    stored = _entry(rest, "rounds")
    if not isinstance(stored, list):
        raise ValueError(f"rounds is {reprlib.repr(stored)}; it must be a list of counts of picks")
    found = [_count(start, "rounds: an entry") for start in stored]
    if found != sorted(set(found)) or (found and found[-1] >= k):
        raise ValueError(f"rounds is {found}; it must hold counts of picks below {k}, ascending")
    return tuple(found)
