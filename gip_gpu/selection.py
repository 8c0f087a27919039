"""The result of a selection: what was chosen, why it can be trusted, what it took."""

import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import memory
from gip_gpu.plan import Plan
from gip_gpu.projection import Projection
from gip_gpu.writing import atomic_write

# Of the names of the arrays of a projection in a file.
PREFIX = "projection_"


@dataclass(frozen=True, eq=False)
class Certificate:
    """The proof, step by step, that each pick is the float64 argmax.

    Attributes:
        margins: (k,) float64 in [0, 1], by how much of its own gain (for "mi" of its information) each pick beats every
            other item; a lower bound.
            Float64 rounding is taken off, so 0 means a tie, decided for the lowest index, or a difference that
            rounding could have made (`within_rounding` counts these).
        candidates: (k,) int64, items that the error bound left in doubt and that were rescored in float64.
        ties: (k,) int64, items that equalled the best, itself included; 1 without a tie.
        refreshes: how often the whole residual was recomputed in float64.
        rounds: picks made before each round began; more than one entry after exhaustion.
    """

    margins: NDArray[np.float64]
    candidates: NDArray[np.int64]
    ties: NDArray[np.int64]
    refreshes: int
    rounds: tuple[int, ...]

    @property
    def tied(self) -> int:
        """Picks that were decided by the tie rule."""
        return int((self.ties > 1).sum())

    @property
    def within_rounding(self) -> int:
        """Picks without a tie that lead by no more than the bound on float64 rounding."""
        return int(((self.ties == 1) & (self.margins == 0)).sum())

    def __str__(self) -> str:
        if not len(self.margins):
            return "no picks"
        unsure = (
            f" but {self.within_rounding}, which led by less than float64 rounding," if self.within_rounding else ""
        )
        text = (
            f"every pick{unsure} is the float64 argmax: {self.candidates.mean():.3g} candidates rescored a pick, "
            f"{self.refreshes} refreshes, {self.tied} ties, smallest margin without a tie "
            f"{self.margins[self.ties == 1].min(initial=1.0):.2g}"
        )
        if len(self.rounds) > 1:
            shown = ", ".join(map(str, self.rounds[1:6])) + (", ..." if len(self.rounds) > 6 else "")
            text += f", rounds began after picks {shown}"
        return text


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen examples, most informative first.

    `len`, iteration and `numpy.asarray` give the indices, so `F[selection]` works.

    Attributes:
        indices: (k,) int64, rows of F in order of choice.
        gains: (k,) float64, the score of each pick when it was made: exact, not accumulated. For "mi" with several
            columns, or with query "ridge", the information gained is -log1p(-gain) / 2 nats; where scores are used up
            and items taken in order, 0.
        weights: (k, n) float64, the residual rows W_s: for "mp" the coefficients of the projection on the chosen rows.
        explained: (k,) float64, what is explained after each pick: 1 - ||W||^2 / ||G||^2 over the pool, to float32
            accuracy; for "mi" the share of tr(Q'Q), of the whitened query; for "entropy" that of the sum of squared
            norms. It starts anew with each round, over the items then left. For "mp", "lr" and "omp" it can fall below
            0 where the scores lie far from the range of F: a pick takes out of every item what it shares with that
            item, whether the scores are alike or not. Then `repr` and the command line say "none".
        certificate: why the indices are those of the float64 reference.
        plan: what was decided before the run.
        timings: seconds by part.
        peak_bytes: the largest resident size of the process so far, a GPU's memory not included; 0 where the system
            does not tell.
        range_share: share of ||G||^2 that lies in the range of F, where a query was fitted; else None.
        projection: what the picks of the last round projected out, which `gip_gpu.extend` goes on from; None where it
            cannot (see there).
        computed: Gram columns computed in this selection; 0 where each is made in the step of its pick.
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    weights: NDArray[np.float64]
    explained: NDArray[np.float64]
    certificate: Certificate
    plan: Plan
    timings: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    range_share: float | None = None
    projection: Projection | None = None
    computed: int = 0

    @property
    def used_share(self) -> float | None:
        """Picks for each column computed on demand, in an unbroken run; None where all or none were computed."""
        if self.plan.columns != "lazy" or not self.computed:
            return None
        return min(1.0, len(self) / self.computed)

    @property
    def seconds_per_pick(self) -> float:
        """Time of a pick: its column, refreshes and steps, without what was done before the first."""
        parts = ("columns", "refresh", "steps")
        return sum(self.timings.get(part, 0.0) for part in parts) / max(1, len(self))

    @property
    def work(self) -> str:
        """Time of a pick and the share of columns that were used, in a few words."""
        used = "" if self.used_share is None else f", {self.used_share:.0%} of {self.computed:,} columns used"
        return f"{1000 * self.seconds_per_pick:.3g} ms a pick{used}"

    @property
    def rounds(self) -> tuple[int, ...]:
        """Picks made before each round began: (0,) unless the scores were exhausted, () if nothing was picked."""
        return self.certificate.rounds

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = np.array(self.indices, dtype=dtype) if copy else np.asarray(self.indices, dtype=dtype)
        if copy is False and array is not self.indices:
            raise ValueError(f"indices are int64; as {dtype} they have to be copied")
        return array

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.indices[:6])) + (", ..." if len(self) > 6 else "")
        # Below 0 it is no share.
        share = self.explained[-1] if len(self) else 0.0
        explained = f"{share:.4g}" if share >= 0 else "none"
        seconds = self.timings.get("total", 0.0)
        return (
            f"Selection of {len(self)} from {self.plan.m}: [{shown}]\n"
            f"  explained {explained}; {self.certificate}\n"
            f"  {self.plan.objective}, {self.plan.kept} on {self.plan.device} ({self.plan.backend}), "
            f"{seconds:.3g} s, {self.work}, peak {memory.readable(self.peak_bytes)}"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all of it to a .npz or .json file, beside it first and then renamed.

        Raises:
            ValueError: another suffix.
        """
        target = Path(path)
        arrays, rest = self._split()
        if _suffix(target) == ".npz":
            # In memory first: a zip file that is cut off by a full disk complains once more when it is collected.
            buffer = io.BytesIO()
            np.savez(buffer, **arrays, meta=np.array(json.dumps(rest)))
            with atomic_write(target) as file:
                file.write(buffer.getvalue())
        else:
            lists = {name: array.tolist() for name, array in arrays.items()}
            with atomic_write(target) as file:
                file.write(json.dumps({"meta": rest, **lists}).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Selection":
        """Reads what `save` wrote; equal to it in every array and field.

        Raises:
            ValueError: another suffix, or a file that holds no selection.
        """
        source = Path(path)
        try:
            if _suffix(source) == ".npz":
                # Opened here, so that it is closed where NumPy fails on what is inside.
                with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    content = {name: stored[name] for name in stored.files}
                rest = json.loads(str(content.pop("meta")))
            else:
                content = json.loads(source.read_text())
                rest = content.pop("meta")
            return cls._join(content, rest)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{source} holds no selection that can be read: {error}") from error

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Gain and explained share over the picks; a matplotlib Figure, also written to `path` if one is given.

        Raises:
            ImportError: matplotlib is not installed (`pip install "gip_gpu[plot]"`).
        """
        from gip_gpu.plotting import plot_selection

        return plot_selection(self, path)

    def _split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        proof = self.certificate
        arrays: dict[str, Any] = {
            "indices": self.indices,
            "gains": self.gains,
            "weights": self.weights,
            "explained": self.explained,
            "margins": proof.margins,
            "candidates": proof.candidates,
            "ties": proof.ties,
        }
        rest = {
            "refreshes": proof.refreshes,
            "rounds": list(proof.rounds),
            "plan": asdict(self.plan),
            "timings": self.timings,
            "peak_bytes": self.peak_bytes,
            "range_share": self.range_share,
            "computed": self.computed,
        }
        if self.projection is not None:
            parts, rest["projection"] = self.projection.split()
            arrays.update({f"{PREFIX}{name}": array for name, array in parts.items()})
        return arrays, rest

    @classmethod
    def _join(cls, arrays: dict[str, Any], rest: dict[str, Any]) -> "Selection":
        k = len(arrays["indices"])
        parts = {name.removeprefix(PREFIX): arrays.pop(name) for name in list(arrays) if name.startswith(PREFIX)}
        whole = ("indices", "candidates", "ties")
        stored: dict[str, NDArray[Any]] = {
            name: np.asarray(values, np.int64 if name in whole else np.float64) for name, values in arrays.items()
        }
        if any(len(array) != k for array in stored.values()):
            raise ValueError("its arrays differ in length")
        n = int(rest["plan"]["n"])
        proof = Certificate(
            stored["margins"], stored["candidates"], stored["ties"], rest["refreshes"], tuple(rest["rounds"])
        )
        known = {entry.name for entry in fields(Plan)}
        return cls(
            stored["indices"],
            stored["gains"],
            stored["weights"].reshape(k, n),
            stored["explained"],
            proof,
            Plan(**{name: value for name, value in rest["plan"].items() if name in known}),
            rest["timings"],
            rest["peak_bytes"],
            rest.get("range_share"),
            Projection.join(parts, rest["projection"]) if "projection" in rest else None,
            rest.get("computed", 0),
        )


def _suffix(path: Path) -> str:
    if path.suffix not in (".npz", ".json"):
        raise ValueError(f"{path} ends in {path.suffix!r}; a selection is kept in .npz or .json")
    return path.suffix
