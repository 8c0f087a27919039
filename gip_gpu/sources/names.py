"""Choice of one among several arrays or columns of a file, and messages that list them and show how to name one."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Last words of names such as example_id and sampleIdx, and whole names.
IDENTIFIERS = {"id", "ids", "idx", "uuid", "guid", "rowid", "rownum", "pk"}
ROW_NUMBERS = {"index", "row", "line", "no", "nr", "number", "key", "unnamed 0", "index level 0", "level 0"} | {
    f"{what} {number}" for what in ("row", "line") for number in ("index", "number", "no", "nr", "num")
}

# The array of scores in a .npz of `gip-gpu score`, which also has their names.
SCORES = "scores"

NO_NAMES = "key is {key!r}, but {path} is no .npz or other file with named arrays or columns"


@dataclass(frozen=True)
class MatrixRequest:
    """A user's request for a matrix of a file.

    Attributes:
        place: the path passed in: that of the file, or of the folder that has it as a shard.
        key: name of an array, or names of columns, "a,b,c"; None if none was given.
        dimensions: 2 for a matrix, 1 also for a vector.
        room: largest size in bytes of an array that cannot be read in blocks.
    """

    place: str
    key: str | None
    dimensions: tuple[int, ...]
    room: int

    def call(self, names: Sequence[str]) -> str:
        """Returns the calls, in Python and on the command line, that name these columns or this array."""
        key, option = ",".join(names), "--scores-key" if 1 in self.dimensions else "--key"
        return (
            f"gip_gpu.sources.open_matrix({self.place!r}, {key!r}), on the command line by {option} {shlex.quote(key)}"
        )

    def choice(self, names: Sequence[str]) -> str:
        """Returns the calls as `call` does, for one of several possible names."""
        if len(names) == 1:
            return f"give the key of one, by {self.call(names)}"
        option = "--scores-key" if 1 in self.dimensions else "--key"
        shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
        return (
            f"give the key of one, {shown}, by gip_gpu.sources.open_matrix({self.place!r}, key), on the command line "
            f"by {option}"
        )


@dataclass(frozen=True)
class Origin:
    """The place of a matrix among the arrays or columns of its file.

    Attributes:
        request: the user's request.
        what: "array", "tensor", "column" or "field".
        names: names of the array or the columns; empty for a file without names.
        held: all names in the file, with a description of each.
        plain: names of the columns or vectors of numbers.
        matrix: whether it may be the embeddings: a column of lists, or a matrix beside other arrays.
    """

    request: MatrixRequest
    what: str
    names: tuple[str, ...]
    held: Mapping[str, str]
    plain: tuple[str, ...] = ()
    matrix: bool = False


def like_identifier(name: str) -> bool:
    """Returns whether a column's name suggests an identifier or row numbers.

    >>> [like_identifier(name) for name in ("id", "exampleId", "row_number", "Unnamed: 0", "quality", "validity")]
    [True, True, True, True, False, False]
    """
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return bool(words) and (words[-1] in IDENTIFIERS or " ".join(words) in ROW_NUMBERS)


def described(dimensions: Sequence[int]) -> str:
    """Describes the accepted arrays, for a message.

    >>> described((1, 2))
    '1-d or 2-d, of real numbers'
    """
    return f"{' or '.join(f'{n}-d' for n in dimensions)}, of real numbers"


def listing(held: Mapping[str, str]) -> str:
    """Lists all arrays or columns of a file, for a message."""
    return ", ".join(f"{name}: {kind}" for name, kind in held.items()) or "none"


def choose(
    path: str,
    what: str,
    request: MatrixRequest,
    matrices: Sequence[str],
    plain: Sequence[str],
    held: Mapping[str, str],
    *,
    matrices_first: bool = False,
) -> str:
    """Returns the only fitting name, or the requested one if it fits.

    Args:
        path: the file, for messages.
        what: "array", "tensor", "column" or "field".
        request: the user's request.
        matrices, plain: names of the matrices of numbers, and of the vectors.
        held: all names in the file, with a description of each.
        matrices_first: if the request has no key, a single matrix is chosen over any number of vectors.

    Raises:
        ValueError: no name fits, or several fit and the request has no key.
    """
    key = request.key
    fitting = [
        *(matrices if 2 in request.dimensions else ()),
        *(plain if 1 in request.dimensions else ()),
    ]
    found = [name for name in fitting if key in (None, name)]
    if key is None and matrices_first and 2 in request.dimensions and matrices:
        found = list(matrices)
    if len(found) == 1:
        return found[0]
    wanted = f"one {what}" if key is None else f"{'an' if what == 'array' else 'a'} {what} {key!r}"
    vectors = [name for name in plain if not like_identifier(name)] if 1 in request.dimensions else []
    hint = f"; {request.choice(vectors or fitting)}" if fitting else ""
    raise ValueError(f"{path} must hold {wanted}, {described(request.dimensions)}; it holds {listing(held)}{hint}")


def choose_array(
    path: str, what: str, request: MatrixRequest, matrices: Sequence[str], plain: Sequence[str], held: Mapping[str, str]
) -> Origin:
    """Chooses as `choose` does from a file of arrays."""
    name = choose(path, what, request, matrices, plain, held)
    matrix = name in matrices and len(held) > 1 and name != SCORES
    return Origin(request, what, (name,), held, tuple(plain), matrix)


def choose_columns(
    path: str, what: str, request: MatrixRequest, lists: Sequence[str], plain: Sequence[str], held: Mapping[str, str]
) -> Origin:
    """Chooses the requested columns, "a,b,c"; without a key the only column of lists, else the only column of numbers.

    Args:
        path, what, request, held: as in `choose`.
        lists, plain: names of the columns of lists of numbers, and of the columns of numbers.

    Raises:
        ValueError: there is no such column, or there are several and the request has no key.
    """
    key = request.key
    named = [name.strip() for name in key.split(",")] if key is not None and "," in key and key not in held else []
    if len(set(named)) < len(named):
        raise ValueError(f"key {key!r} names a {what} twice")
    for name in named:
        if name not in plain:
            hint = f"; name the right ones by {request.call(plain)}" if plain else ""
            raise ValueError(
                f"{path} has no {what} {name!r} of numbers, which key {key!r} names; it holds {listing(held)}{hint}"
            )
    if not named:
        named = [choose(path, what, request, lists, plain, held, matrices_first=True)]
    return Origin(request, what, tuple(named), held, tuple(plain), named[0] in lists)
