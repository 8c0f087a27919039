"""Which of several arrays in a file is meant; messages that say what it holds."""

from collections.abc import Mapping, Sequence

NO_NAMES = "key is {key!r}, but {path} is no .npz or other file with named arrays"


def described(dimensions: Sequence[int]) -> str:
    """What an array must be, for a message.

    >>> described((1, 2))
    '1-d or 2-d, of real numbers'
    """
    return f"{' or '.join(f'{n}-d' for n in dimensions)}, of real numbers"


def choose(
    path: str, what: str, key: str | None, fitting: Sequence[str], held: Mapping[str, str], dimensions: Sequence[int]
) -> str:
    """The one fitting name, or `key` if it fits.

    Args:
        path: the file, for messages.
        what: "array", "tensor" or "column".
        key: as the user gave it.
        fitting: names of numbers of the right dimensions.
        held: all names, and what each is.
        dimensions: as wanted.

    Raises:
        ValueError: there is no such, or there are several and no key.
    """
    found = [name for name in fitting if key in (None, name)]
    if len(found) == 1:
        return found[0]
    wanted = f"one {what}" if key is None else f"{'an' if what == 'array' else 'a'} {what} {key!r}"
    listed = ", ".join(f"{name}: {kind}" for name, kind in held.items()) or "none"
    hint = "; give the key of one" if len(found) > 1 else ""
    raise ValueError(f"{path} must hold {wanted}, {described(dimensions)}; it holds {listed}{hint}")
