"""Checkpoint file of a selection: complete or absent, and refused by every other selection."""

import hashlib
import io
import json
import re
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.checkpoint import fingerprint
from gip_gpu.data.center import Center
from gip_gpu.data.rows import Rows
from gip_gpu.exceptions import CheckpointError
from gip_gpu.greedy.projection import Projection
from gip_gpu.greedy.state import Stored
from gip_gpu.problem.options import Options
from gip_gpu.system.atomic_write import atomic_write
from gip_gpu.system.files import reading

VERSION = 2
# Start of the first array of a file, near the beginning of the file.
MARK = b'{"gip_gpu": "checkpoint"'
# End of a file, stored as the comment of the .npz zip archive: the file's length and the digest of all bytes before it.
SEAL = re.compile(rb"gip_gpu checkpoint of (\d{20}) bytes, sha256 ([0-9a-f]{64})")
SEALED = len(b"gip_gpu checkpoint of  bytes, sha256 ") + 20 + 64


def subject(
    rows: Rows,
    scores: NDArray[np.float64] | None,
    options: Options,
    initial: NDArray[np.int64],
    prior: Projection | None = None,
    given: str | None = None,
    constraints: str | None = None,
) -> Stored:
    """Returns the identity of a selection: fingerprints of F and G and all settings that affect the picks, by name.

    `given` is the fingerprint of the rows as given, if the caller knows it; `constraints` is `Constraints.digest`.
    """
    sizes = *rows.shape, 0 if scores is None else scores.shape[1]
    F = fingerprint.of_matrix(rows.given) if given is None else given
    G = None if scores is None else fingerprint.of_matrix(scores)
    found = described(sizes, F, G, options, rows.normalize, initial, prior, rows.center)
    # Files written before there were constraints lack the entry.
    return found if constraints is None else {**found, "constraints": constraints}


def described(
    sizes: tuple[int, int, int],
    F: str,
    G: str | None,
    options: Options,
    normalize: bool,
    initial: NDArray[np.int64],
    prior: Projection | None = None,
    center: Center | None = None,
) -> Stored:
    """As `subject`, from the sizes m, d, n and the fingerprints of F and G."""
    settings = {**asdict(options), "objective": options.choose(G is not None).name}
    return {
        **dict(zip("mdn", sizes, strict=True)),
        "F": F,
        "G": G,
        **settings,
        "normalize": normalize,
        "initial": hashlib.sha256(initial.tobytes()).hexdigest() if len(initial) else None,
        "prior": None if prior is None else digest(prior),
        "center": None if center is None else hashlib.sha256(center.mean.tobytes()).hexdigest(),
    }


def digest(prior: Projection) -> str:
    """Returns the SHA-256 of a projection, in hexadecimal."""
    arrays, rest = prior.split()
    content = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for array in arrays.values():
        content.update(array.tobytes())
    return content.hexdigest()


def read(path: Path) -> Stored:
    """Reads a file that `write` wrote.

    Raises:
        CheckpointError: the file was cut off or altered, or is no checkpoint of this version. The message offers to
            delete it only if it is recognisably a checkpoint.
        ValueError: the file cannot be read.
    """
    with reading(f"the checkpoint {path}"):
        content = path.read_bytes()
    seal = SEAL.fullmatch(content[-SEALED:])
    if seal is None and MARK not in content[:1024]:
        raise CheckpointError(f"{path} is no checkpoint; give another path")
    if seal is None or int(seal[1]) != len(content):
        raise CheckpointError(
            f"the checkpoint {path} was cut off or altered: {len(content)} bytes without the seal that ends it; "
            "delete it or give another path"
        )
    if hashlib.sha256(content[:-64]).hexdigest().encode() != seal[2]:
        raise CheckpointError(f"the checkpoint {path} was altered since it was written; delete it or give another path")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        stored: Stored = {name: archive[name] for name in archive.files}
    stored.update(json.loads(stored.pop("meta").item()))
    if stored["version"] != VERSION:
        raise CheckpointError(
            f"the checkpoint {path} has format {stored['version']}, and this gip_gpu reads {VERSION}; "
            "delete it or give another path"
        )
    return stored


def write(path: Path, stored: Stored) -> None:
    """Replaces the file by a sealed .npz of these arrays and JSON values.

    Raises:
        OSError: the file cannot be written; the earlier file is intact.
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
