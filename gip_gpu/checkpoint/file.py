"""Checkpoints of a selection: one file that is whole or not there, and that no other selection goes on from."""

import hashlib
import io
import json
import operator
import os
import re
import time
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.checkpoint import fingerprint
from gip_gpu.data.rows import Rows
from gip_gpu.greedy.projection import Projection
from gip_gpu.greedy.state import State, Stored
from gip_gpu.problem.formulation import Options
from gip_gpu.system.atomic_write import atomic_write, check_target, remove_leftovers
from gip_gpu.system.deferred_signals import Deferred
from gip_gpu.system.files import reading, suffix_of

if TYPE_CHECKING:
    from gip_gpu.greedy.loop import Stepper

VERSION = 2
# What the first array of a file begins with, near the beginning of the file.
MARK = b'{"gip_gpu": "checkpoint"'
# The end of a file, as the comment of the zip archive that a .npz is: its length and the digest of all before.
SEAL = re.compile(rb"gip_gpu checkpoint of (\d{20}) bytes, sha256 ([0-9a-f]{64})")
SEALED = len(b"gip_gpu checkpoint of  bytes, sha256 ") + 20 + 64
# Settings that are digests, in the words of a message.
OTHERS = {"initial": "initial items", "prior": "picks before these rows joined"}
# Seconds between two checkpoints where nothing else is asked for.
EVERY = 60.0
# Seconds between two looks at the clock and at signals, about.
LOOK = 0.25

# The file of a checkpoint, and picks or seconds between two.
Saving = tuple[Path, int | float]


def as_saving(path: Any, every: Any, reads: Iterable[str]) -> Saving | None:
    """Where to write checkpoints and how often, checked; None for nowhere.

    Args:
        path, every: `checkpoint` and `checkpoint_every` as given.
        reads: `gip_gpu.sources.places` of rows and scores.

    Raises:
        TypeError, ValueError: as `gip_gpu.select`.
    """
    interval = as_interval(every)
    if path is not None:
        return as_path(path, reads), interval
    if every is not None:
        raise ValueError(f"checkpoint_every is {every!r}, and there is no checkpoint to write; give checkpoint a path")
    return None


def as_interval(every: Any) -> int | float:
    """`checkpoint_every` if it is an int of picks or a float of seconds; None is 60 seconds.

    Raises:
        TypeError, ValueError: anything else.
    """
    if every is None:
        return EVERY
    wanted = "checkpoint_every must be an int of picks, 1 or more, or a float of seconds above 0"
    if isinstance(every, (bool, np.bool_)):
        raise TypeError(f"checkpoint_every is {every!r} (bool); {wanted}")
    if isinstance(every, (float, np.floating)):
        if not every > 0:
            raise ValueError(f"checkpoint_every is {every!r}; {wanted}")
        return float(every)
    try:
        count = operator.index(every)
    except TypeError:
        raise TypeError(f"checkpoint_every is {every!r} ({type(every).__name__}); {wanted}") from None
    if count < 1:
        raise ValueError(f"checkpoint_every is {count}; {wanted}")
    return count


def as_path(path: Any, reads: Iterable[str] = ()) -> Path:
    """`checkpoint` as a path that can be written to.

    Args:
        path: as given.
        reads: real paths of the files and folders that rows and scores are read from.

    Raises:
        TypeError, ValueError: no path, no folder for it, not writable, no regular file, or one that is read.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint is {path!r} ({type(path).__name__}); it must be a path")
    target = Path(path)
    taken, real = set(reads), os.path.realpath(target)
    for place, what in ((real, ""), (os.path.dirname(real), "lies in a folder of shards that ")):
        if place in taken:
            raise ValueError(f"checkpoint is {target}, which {what}this run reads; give another path")
    try:
        check_target(target, (suffix_of(target),), overwrite=True)
    except ValueError as error:
        raise ValueError(f"checkpoint: {error}") from error
    return target


def subject(
    rows: Rows,
    scores: NDArray[np.float64] | None,
    options: Options,
    initial: NDArray[np.int64],
    prior: Projection | None = None,
) -> Stored:
    """What a checkpoint is of: F, G and every setting that the picks depend on, by name."""
    sizes = *rows.shape, 0 if scores is None else scores.shape[1]
    F, G = fingerprint.of_matrix(rows.values), None if scores is None else fingerprint.of_matrix(scores)
    return described(sizes, F, G, options, rows.normalize, initial, prior)


def described(
    sizes: tuple[int, int, int],
    F: str,
    G: str | None,
    options: Options,
    normalize: bool,
    initial: NDArray[np.int64],
    prior: Projection | None = None,
) -> Stored:
    """As `subject`, of m, d and n, and the fingerprints of F and G."""
    settings = {**asdict(options), "objective": options.choose(G is not None).name}
    return {
        **dict(zip("mdn", sizes, strict=True)),
        "F": F,
        "G": G,
        **settings,
        "normalize": normalize,
        "initial": hashlib.sha256(initial.tobytes()).hexdigest() if len(initial) else None,
        "prior": None if prior is None else _digest(prior),
    }


def _digest(prior: Projection) -> str:
    arrays, rest = prior.split()
    content = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for array in arrays.values():
        content.update(array.tobytes())
    return content.hexdigest()


def read(path: Path) -> Stored:
    """What `write` wrote.

    Raises:
        ValueError: it cannot be read, was cut off or altered, or is no checkpoint of this version. None but a file that
            shows that it is a checkpoint is said to be one that may be deleted.
    """
    with reading(f"the checkpoint {path}"):
        content = path.read_bytes()
    seal = SEAL.fullmatch(content[-SEALED:])
    if seal is None and MARK not in content[:1024]:
        raise ValueError(f"{path} is no checkpoint; give another path")
    if seal is None or int(seal[1]) != len(content):
        raise ValueError(
            f"the checkpoint {path} was cut off or altered: {len(content)} bytes without the seal that ends it; "
            "delete it or give another path"
        )
    if hashlib.sha256(content[:-64]).hexdigest().encode() != seal[2]:
        raise ValueError(f"the checkpoint {path} was altered since it was written; delete it or give another path")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        stored: Stored = {name: archive[name] for name in archive.files}
    stored.update(json.loads(stored.pop("meta").item()))
    if stored["version"] != VERSION:
        raise ValueError(
            f"the checkpoint {path} has format {stored['version']}, and this gip_gpu reads {VERSION}; "
            "delete it or give another path"
        )
    return stored


def write(path: Path, stored: Stored) -> None:
    """Replaces the file by these arrays and values that JSON can hold, as a sealed .npz.

    Raises:
        OSError: it cannot be written; what was there is intact.
    """
    arrays: dict[str, Any] = {name: value for name, value in stored.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in stored.items() if name not in arrays}
    meta = json.dumps({"gip_gpu": "checkpoint", "version": VERSION, **rest}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.array(meta), **arrays)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b" " * SEALED
    content = buffer.getvalue()[:-SEALED]
    content += b"gip_gpu checkpoint of %020d bytes, sha256 " % (len(content) + SEALED)
    content += hashlib.sha256(content).hexdigest().encode()
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        before = "the checkpoint before it is intact" if path.exists() else "there is none before it"
        raise OSError(
            error.errno, f"cannot write the checkpoint {path}: {error.strerror or error}; {before}"
        ) from error


class Keeper:
    """Writes the checkpoints of a run, and finds the one to go on from.

    Args:
        path: of the file.
        every: picks (int) or seconds (float) between two checkpoints.
        of: what the run is of, as `subject` says.

    Attributes:
        stored: what the file held, or None without one.

    Raises:
        ValueError: the file is no whole checkpoint, or one of another selection; the message says which.
    """

    def __init__(self, path: Path, every: int | float, of: Stored) -> None:
        self.path, self.every, self.of = path, every, of
        remove_leftovers(path)
        self.stored: Stored | None = read(path) if path.exists() else None
        if self.stored is not None:
            self._compare(self.stored["of"])
        self.signals = Deferred()
        self.saved = 0 if self.stored is None else len(self.stored["indices"])
        self.stride, self.before = 1, (self.saved, time.monotonic())
        self.written = self.before[1]

    def _compare(self, stored: Stored) -> None:
        names = {"m": "items", "d": "columns of F", "n": "signals"}
        differing = [name for name in self.of if stored.get(name) != self.of[name]]
        sizes = [f"of {stored[name]} {names[name]}, not {self.of[name]}" for name in differing if name in names]
        matrices = [f"of another {name}" for name in differing if name in ("F", "G")]
        settings = [
            f"of other {OTHERS[name]}" if name in OTHERS else f"of {name} {stored[name]!r}, not {self.of[name]!r}"
            for name in differing
            if name not in (*names, "F", "G")
        ]
        if differing:
            raise ValueError(
                f"the checkpoint {self.path} is of another selection: {'; '.join(sizes or matrices)}"
                f"{'; ' * bool(settings and (sizes or matrices))}{'; '.join(settings)}; "
                "delete it or give another path"
            )

    def holds(self, k: int) -> bool:
        """Whether the file has the first k picks, those of `initial` included, or all that there will be."""
        return self.stored is not None and (self.saved >= k or self.stored["ending"] == "exhausted")

    def resumed(self, first: int, k: int) -> int:
        """How many of the picks `first` to k of a run came from the file; those before `first` are of `initial`."""
        return 0 if self.stored is None else max(0, min(len(self.stored["indices"]), k) - first)

    def until(self, state: State) -> int:
        """How far to go before the next `look`."""
        until = state.t + self.stride
        return min(until, max(self.saved + self.every, state.t + 1)) if isinstance(self.every, int) else until

    def look(self, state: State, stepper: "Stepper") -> None:
        """Saves where it is time to, or where a signal came, which then has its effect."""
        now, (t, since) = time.monotonic(), self.before
        if now - since > 2 * LOOK:
            self.stride = max(1, self.stride // 2)
        elif now - since < LOOK and state.t - t >= self.stride:
            self.stride *= 2
        self.before = state.t, now
        passed = state.t - self.saved if isinstance(self.every, int) else now - self.written
        if passed >= self.every or self.signals.arrived is not None:
            self.save(state, stepper)
            self.signals.deliver()

    def save(self, state: State, stepper: "Stepper") -> None:
        """Writes the file."""
        parts = stepper.snapshot(state) if state.projecting else {}
        write(self.path, {"of": self.of, **state.snapshot(), **parts})
        self.saved, self.written = state.t, time.monotonic()
