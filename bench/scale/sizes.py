"""Pool sizes and numbers of runs of each section."""

from collections.abc import Callable
from dataclasses import dataclass

Done = Callable[[str], object]


@dataclass(frozen=True)
class Sizes:
    """Sizes of all sections.

    Attributes:
        quick: whether Alpaca is cut to a fortieth.
        runs: number of runs of a selection by several processes or with a checkpoint.
        d: length of a synthetic row.
        large, large_k: rows in the file of "file", and picks.
        signals: numbers of signals, each with its number of runs within the roomy limit; other variants run once.
        roomy, tight: memory limits: for rows in memory as float32, and for rows that stream.
        warm, timed: warm-up passes and timed passes of the baseline.
        shares: picks from Alpaca in "memory", and runs.
        synthetic: further pools of "memory": items, picks, and runs of both variants.
        growing, growing_k: items of the pools of "growth", each with its number of runs, and picks.
        processes, processes_k: numbers of processes, and picks from Alpaca.
        kept_k, every: picks from Alpaca with a checkpoint, and seconds between writes.
    """

    quick: bool = False
    runs: int = 3
    d: int = 256
    large: int = 1_000_000
    large_k: int = 2000
    signals: tuple[tuple[int, int], ...] = ((1, 3), (4, 1))
    roomy: str = "2GB"
    tight: str = "700MB"
    warm: int = 3
    timed: int = 40
    shares: tuple[tuple[int, int], ...] = ((52, 3), (520, 3), (2600, 3), (5200, 3), (15_600, 1), (31_200, 1))
    synthetic: tuple[tuple[int, int, int], ...] = ((200_000, 2000, 3), (200_000, 10_000, 1), (1_000_000, 500, 1))
    growing: tuple[tuple[int, int], ...] = ((10_000, 3), (100_000, 3), (1_000_000, 1))
    growing_k: int = 1000
    processes: tuple[int, ...] = (1, 2, 4)
    processes_k: int = 520
    kept_k: int = 5200
    every: float = 1.0


FULL = Sizes()
# The large file is the smallest whose rows take more memory in float32 than chunks of them.
QUICK = Sizes(
    quick=True, runs=1, d=128, large=160_000, large_k=10, signals=((2, 1),), roomy="500MB", tight="75MB", warm=1,
    timed=3, shares=((13, 1), (65, 1)), synthetic=((2000, 30, 1),), growing=((1000, 1), (2000, 1)),
    growing_k=50, processes=(2,), processes_k=13, kept_k=130, every=0.01,
)  # fmt: skip
