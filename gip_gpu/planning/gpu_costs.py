"""Cost model of the GPU backends: bytes, flops, barriers and launches of each part.

Times are predictions for the chip of the datasheet in `A100`. The host's times were measured on one machine, the H200
of `bench/results/gpu.md`; everything else is from datasheets and assumptions.
"""

from dataclasses import dataclass, field

from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import EXACT_PICKS, GRAM_COLUMNS, ITEMS, PLAIN, Layout, Rates, Steps, entry_bytes

# Precisions of Gram columns, the most exact first; and those that "auto" tries, in order, for the first that fits.
GPU_PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
GPU_AUTOMATIC = ("tf32", "fp16")
GIVEN_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
# Most picks of a launch: their records take little memory, and a display driver gets its turn.
STEPS = 4096
# Picks from one missing column to the next: on that H200 632 columns were missing in 1,494 picks of 7,473 items.
PICKS_A_MISS = 2.4
# Columns of a batch, and batches of which the host hears together.
BATCH, BATCHES_A_VISIT = 128, 16
# Halvings of a threshold in the choice of a batch, and the seconds of each, a reduction over a block.
HALVINGS, HALVING = 30, 0.3e-6
# Picks of a projecting objective after which the host hears of them, if none is in doubt; kernels of such a pick, with
# and without rows that are projected; and the assumed share of picks in doubt, which the host makes: not measured.
PICKS_A_VISIT = 64
PICK_KERNELS = {True: 7, False: 4}
DOUBTFUL = 0.05
# Values of F that are uploaded or cast at a time; two such chunks alternate.
CHUNK = 2 << 20


def chunk_rows(d: int) -> int:
    """Returns the rows of F in a chunk: whole blocks of items for every kernel."""
    return max(256, CHUNK // d // 256 * 256)


def multiplied_as(precision: str, given: str, sane: bool = True) -> tuple[str, bool]:
    """Returns the format in which rows are multiplied, and whether they are multiplied without a cast.

    A row given in 16 bits is multiplied without a cast if the requested format holds it exactly; its norm is divided
    out of the product. `sane` says that the norms allow that.
    """
    exact = {"fp32": ("fp32", "fp16", "bf16"), "tf32": ("fp16", "bf16"), "fp16": ("fp16",), "bf16": ("bf16",)}
    return (given, True) if sane and given in exact[precision] else (precision, False)


@dataclass(frozen=True)
class DeviceRates:
    """Rates of a GPU, per second unless stated otherwise: from datasheets, or microbenchmarks if these lack a value.

    Attributes:
        name: of the chip.
        memory: bytes of device memory read or written.
        flops: flops by format of the factors.
        fp64: float64 flops without tensor cores.
        share: share of the datasheet's flops that a good product reaches.
        upload: bytes over the bus from pinned memory.
        processors: number of multiprocessors.
        cached, missed: seconds of a dependent load that hits the L2 cache, and of one that goes to memory.
        barrier: seconds of a barrier over all blocks of a cooperative launch.
        launch: seconds from one kernel of a graph to the next.
        visit: seconds of a return to the host: the header and the records read, steps launched.
        miss: seconds of the host's work for a pick without a column, including the visit, if rows stream past.
        pick: seconds of the host's work for a pick that it decides.
    """

    name: str
    memory: float
    flops: dict[str, float]
    fp64: float
    share: float
    upload: float
    processors: int
    cached: float
    missed: float
    barrier: float
    launch: float
    visit: float
    miss: float
    pick: float


A100 = DeviceRates(
    name="A100-SXM4-80GB",
    memory=2.039e12,
    flops={"fp32": 19.5e12, "tf32": 156e12, "fp16": 312e12, "bf16": 312e12, "fp64": 9.7e12},
    fp64=9.7e12,
    share=0.6,
    upload=2.2e10,
    processors=108,
    cached=0.2e-6,
    missed=0.47e-6,
    barrier=1.3e-6,
    launch=1.3e-6,
    # Measured on an H200 with a host of 16 cores, 2026-11-27. A miss: the extra time of a run with columns on demand
    # over one with the Gram matrix, divided by its misses. A pick: 1.2 to 1.5 ms in lr, omp and entropy on 52,002
    # items, including some 30 us of device work. A visit: its share of a miss, by profile.
    visit=0.3e-3,
    miss=1.2e-3,
    pick=1.2e-3,
)


@dataclass(frozen=True)
class GpuCosts:
    """Cost model for m items, rows of length d, n signals, input dtype in `GIVEN_BYTES`; steps in a graph or loop."""

    m: int
    d: int
    n: int
    given: str = "fp32"
    graph: bool = False
    chip: DeviceRates = A100
    share: float = field(default=0.9, init=False)
    widest: bool = field(default=False, init=False)
    timed: bool = field(default=False, init=False)

    def _embeddings(self, precision: str, resident: bool) -> int:
        multiply, as_given = multiplied_as(precision, self.given)
        given, copied = GIVEN_BYTES[self.given], 0 if as_given else error_bounds.FORMATS[multiply].bytes
        chunk = self.d * min(self.m, chunk_rows(self.d))
        # A chunk passes through float64 on its way to `multiply`: twice 8 bytes, twice 4.
        work = 0 if as_given else 24 * chunk
        return self.m * self.d * (given + copied) + work if resident else 2 * (chunk * (given + copied) + work)

    def _shared(self, precision: str, resident: bool) -> dict[str, int]:
        record = 8 * min(STEPS, self.m) * (6 + self.n)
        return {
            "embeddings": self._embeddings(precision, resident),
            # Scores, residual, a list of candidates with room for all items; norms, inverses, weights, squares, slots.
            "scores and residual": self.m * (8 * self.n + 4 * self.n + 8 * (self.n + 2) + 2 * 8 + 4 * 4) + record,
            "projection": 8 * self.n * self.d + (1 << 16),
        }

    def stepwise(self, layout: Layout, precision: str) -> dict[str, int]:
        parts = self._shared(precision, layout.resident)
        # Distance, bound, inverse norm and squared norm of each item. S, a product that changes it, a chunk of rows in
        # float64 and its product with S, partial sums.
        parts[ITEMS] = parts.pop("scores and residual") + (2 * 4 + 2 * 8) * self.m
        parts["projector"] = 2 * 8 * self.d * self.d + 3 * 8 * self.d * min(self.m, chunk_rows(self.d)) + (1 << 19)
        return parts

    def stepwise_seconds(
        self, k: int, precision: str, layout: Layout, rates: Rates | None, steps: Steps = PLAIN
    ) -> float:
        multiply, _ = multiplied_as(precision, self.given)
        rows = self.m * self.d * error_bounds.FORMATS[multiply].bytes
        column = rows / (self.chip.memory if layout.resident else self.chip.upload)
        # S is read three times and written once.
        projector = 32 * self.d * self.d / self.chip.memory
        upload = self.m * self.d * GIVEN_BYTES[self.given] / self.chip.upload
        return upload + k * (column + projector + self.decision_seconds(layout, steps))

    def decision_seconds(self, layout: Layout, steps: Steps) -> float:
        """Predicts the seconds of the decision of a pick: by the host, or mostly by the device."""
        if steps.metric or not layout.resident:
            return self.host_seconds()
        # Each kernel waits for the one before, and reads its numbers from the header and then from an array.
        device = PICK_KERNELS[steps.project] * (self.chip.launch + 2 * self.chip.missed)
        return device + DOUBTFUL * self.host_seconds() + self.chip.visit / PICKS_A_VISIT

    def layouts(self) -> tuple[Layout, ...]:
        return Layout(least=64), Layout(resident=False, least=1)

    def column(self, precision: str, layout: Layout | None = None) -> int:
        return self.m * entry_bytes(precision)

    def lazy(self, slots: int, layout: Layout, precision: str) -> dict[str, int]:
        # Ranking the items for a batch takes a copy of their scores and the order of them.
        return {
            **self._shared(precision, layout.resident),
            GRAM_COLUMNS: slots * self.column(precision),
            "ranking": 16 * self.m,
        }

    def gram(self, precision: str) -> dict[str, int]:
        return {**self._shared(precision, True), "Gram matrix": self.m * self.m * entry_bytes(precision)}

    def _rate(self, precision: str) -> float:
        return self.chip.share * self.chip.flops[multiplied_as(precision, self.given)[0]]

    def gram_kernel_seconds(self, precision: str) -> float:
        """Predicts the seconds of the whole Gram matrix: half of the flops, or every entry written once."""
        written = self.m * self.m * entry_bytes(precision)
        return max(self.m * self.m * self.d / self._rate(precision), written / self.chip.memory)

    def columns_seconds(self, count: int, precision: str, resident: bool = True) -> float:
        """Predicts the seconds of `count` Gram columns in one product."""
        multiply, _ = multiplied_as(precision, self.given)
        read = self.m * self.d * error_bounds.FORMATS[multiply].bytes
        moved = (read + count * self.column(precision)) / self.chip.memory
        product = 2 * count * self.m * self.d / self._rate(precision)
        uploaded = 0 if resident else self.m * self.d * GIVEN_BYTES[self.given] / self.chip.upload
        return max(moved, product, uploaded)

    def step_bytes(self, precision: str, in_shared: bool = True) -> int:
        """Returns the bytes of device memory that a step moves: the column, and W~ unless it is in shared memory."""
        return self.m * (entry_bytes(precision) + (0 if in_shared else 8 * self.n + 8))

    def step_seconds(self, precision: str) -> float:
        """Predicts the seconds of a step of this backend."""
        return self.graph_step_seconds(precision) if self.graph else self.loop_step_seconds(precision)

    def host_seconds(self) -> float:
        """Returns the host's seconds of a step that it decides: two visits and some fifteen operations."""
        return self.chip.pick

    def loop_step_seconds(self, precision: str) -> float:
        """Predicts the seconds of a step of the persistent loop: two barriers, and a chain of dependent loads.

        Memory: the column, then a candidate's row. Cache: the maxima of the blocks, the place in the list, its length,
        the gains, the winner's residual, its slot. Arithmetic: three reductions over a block and the row's float64 sum.
        """
        chain = 2 * self.chip.missed + 6 * self.chip.cached + 3 * 0.15e-6 + 0.3e-6
        return self.step_bytes(precision) / self.chip.memory + 2 * self.chip.barrier + chain

    def graph_step_seconds(self, precision: str) -> float:
        """Predicts the seconds of a step of two kernels in a graph: W~ passes through memory, launches are barriers."""
        chain = 3 * self.chip.missed + 9 * self.chip.cached + 3 * 0.15e-6 + 0.3e-6
        return self.step_bytes(precision, False) / self.chip.memory + 2 * self.chip.launch + chain

    def refresh_seconds(self, resident: bool = True) -> float:
        """Predicts the seconds of G - F A in float64."""
        read = self.m * self.d * GIVEN_BYTES[self.given]
        computed = 2 * self.m * self.d * self.n / self.chip.fp64
        return max(read / (self.chip.memory if resident else self.chip.upload), computed)

    def picks_a_refresh(self, precision: str) -> int:
        """Returns the picks from one refresh to the next on real data: with exact products, hardly any refreshes."""
        multiply, as_given = multiplied_as(precision, self.given)
        if as_given and entry_bytes(precision) == 4:
            return EXACT_PICKS
        return {"fp32": EXACT_PICKS, "tf32": 75, "fp16": 50}.get(multiply, 12)

    def _rest_seconds(self, k: int, precision: str, resident: bool) -> float:
        refreshes = 1 + k / self.picks_a_refresh(precision)
        upload = self.m * self.d * GIVEN_BYTES[self.given] / self.chip.upload
        return (
            upload + refreshes * (self.refresh_seconds(resident) + self.chip.visit) + k * self.step_seconds(precision)
        )

    def gram_seconds(self, k: int, precision: str, rates: Rates | None = None) -> float:
        return self._rest_seconds(k, precision, True) + self.gram_kernel_seconds(precision)

    def lazy_seconds(self, k: int, precision: str, layout: Layout, rates: Rates | None = None, slots: int = 0) -> float:
        batch = self.columns_seconds(BATCH, precision, layout.resident) + self.listing_seconds(layout.resident)
        return self._rest_seconds(k, precision, layout.resident) + k / PICKS_A_MISS * batch

    def listing_seconds(self, resident: bool = True) -> float:
        """Predicts the seconds from a missing column to the product of its batch.

        The device lists the batch by itself, in two scans of scores and slots and the choice of a threshold; if rows
        stream past, the host does.
        """
        if not resident:
            return self.chip.miss
        scans = 2 * self.m * 8 / self.chip.memory
        return scans + 3 * self.chip.launch + HALVINGS * HALVING + self.chip.visit / BATCHES_A_VISIT
