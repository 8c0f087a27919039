"""Memory: free bytes, peak use, and readable sizes."""

import os
import sys
from pathlib import Path


def available() -> int:
    """Returns the bytes that can be allocated without swapping: the system's free memory, or less in a container."""
    try:
        free = _kilobytes("/proc/meminfo", b"MemAvailable:")
    except (OSError, ValueError):
        return _physical()
    try:
        cgroup = Path("/sys/fs/cgroup")
        room = int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return max(0, min(free, room))


def _kilobytes(path: str, name: bytes) -> int:
    """Reads a size in kB from a line of a /proc file, in bytes; raises ValueError if there is no such line."""
    with open(path, "rb", buffering=0) as file:
        _, found, rest = file.read(1 << 16).partition(name)
    if not found:
        raise ValueError(f"{path} has no {name!r}")
    return int(rest.split(maxsplit=1)[0]) * 1024


def _physical() -> int:
    """Returns half of the machine's memory, for systems that do not report free memory; 4 GiB if that is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 4 << 30


def peak() -> int:
    """Returns the peak resident size of this process so far, in bytes; 0 if the system does not report it."""
    try:
        # Preferred to getrusage, whose peak starts from the size of the parent process.
        return _kilobytes("/proc/self/status", b"VmHWM:")
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def readable(count: float) -> str:
    """Formats bytes for people, in powers of 1000.

    >>> readable(79_872_000)
    '79.9 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def at_least(count: int) -> str:
    """Formats bytes as `readable` does, but rounds up.

    >>> at_least(12_612_345), readable(12_612_345)
    ('12.7 MB', '12.6 MB')
    """
    unit = 1
    while count >= 1000 * unit:
        unit *= 1000
    # Three digits are shown.
    step = max(1, unit // 10 ** (3 - len(str(count // unit))))
    return readable(-(-count // step) * step)


def out_of_memory(wanted: int, free: int, where: str) -> MemoryError:
    """Returns the error for a failed device allocation that the plan had counted on."""
    return MemoryError(
        f"{where} could not allocate {readable(wanted)}; {readable(free)} is free there. Other programs may have taken "
        "memory since the plan was made: pass memory_limit below what is free, or columns='lazy'"
    )
