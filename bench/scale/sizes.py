"""Pool sizes and numbers of runs of each section."""

from collections.abc import Callable
from dataclasses import dataclass

Done = Callable[[str], object]


@dataclass(frozen=True)
class Sizes:
    """Sizes of all sections."""

    quick: bool = False  # whether Alpaca is cut to a fortieth
    runs: int = 3  # number of runs of a selection by several processes or with a checkpoint
    d: int = 256  # length of a synthetic row
    # Rows in the file of "file", and picks.
    large: int = 1_000_000
    large_k: int = 2000
    # Numbers of signals, each with its number of runs within the roomy limit; other variants run once.
    signals: tuple[tuple[int, int], ...] = ((1, 3), (4, 1))
    # Memory limits: for rows in memory as float32, and for rows that stream.
    roomy: str = "2GB"
    tight: str = "700MB"
    # Warm-up passes and timed passes of the baseline.
    warm: int = 3
    timed: int = 40
    # Picks from Alpaca in "memory", and runs.
    shares: tuple[tuple[int, int], ...] = ((52, 3), (520, 3), (2600, 3), (5200, 3), (15_600, 1), (31_200, 1))
    # Further pools of "memory": items, picks, and runs of both variants.
    synthetic: tuple[tuple[int, int, int], ...] = ((200_000, 2000, 3), (200_000, 10_000, 1), (1_000_000, 500, 1))
    # Items of the pools of "growth", each with its number of runs, and picks.
    growing: tuple[tuple[int, int], ...] = ((10_000, 3), (100_000, 3), (1_000_000, 1))
    growing_k: int = 1000
    # Numbers of processes, and picks from Alpaca.
    processes: tuple[int, ...] = (1, 2, 4)
    processes_k: int = 520
    # Picks from Alpaca with a checkpoint, and seconds between writes.
    kept_k: int = 5200
    every: float = 1.0


FULL = Sizes()
# The large file is the smallest whose rows take more memory in float32 than chunks of them.
QUICK = Sizes(
    quick=True, runs=1, d=128, large=160_000, large_k=10, signals=((2, 1),), roomy="500MB", tight="75MB", warm=1,
    timed=3, shares=((13, 1), (65, 1)), synthetic=((2000, 30, 1),), growing=((1000, 1), (2000, 1)),
    growing_k=50, processes=(2,), processes_k=13, kept_k=130, every=0.01,
)  # fmt: skip
