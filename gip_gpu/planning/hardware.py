"""Devices and the links between them, by datasheet, for the model of a cluster. Only `END` is measured."""

import math
from dataclasses import dataclass, replace

from gip_gpu.planning.cpu_costs import Rates
from gip_gpu.planning.gpu_costs import A100, DeviceRates
from gip_gpu.validation.settings import one_of

# A CPU's products reach this share of its flops, and its passes over memory this share of its bandwidth: OpenBLAS and
# STREAM on server chips.
REACHED = 0.7
# Devices in a machine, as DGX and HGX boards have them.
PER_MACHINE = 8
# Bytes per second that a device reads its rows from storage with: what a machine of eight has of a shared file system
# of a hundred GB/s among ten machines. An assumption; sites differ by a factor of ten.
STORAGE = 1.25e9


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device that holds a part of the rows.

    Attributes:
        name: as `--device-kind` takes it.
        capacity: bytes of its memory by datasheet, in powers of 1000; the 7 % by which powers of 1024 are larger stay
            for the driver's context and for fragments.
        chip: rates of a GPU, None for a CPU.
        host: rates of the CPU, or of the CPU beside the GPU: rank 0 looks ahead there.
    """

    name: str
    capacity: int
    chip: DeviceRates | None
    host: Rates


@dataclass(frozen=True)
class Link:
    """What a message between two devices takes: `latency` on its way, and `overhead + bytes / bandwidth` at its ends.

    Attributes:
        name: for people.
        bandwidth: bytes per second, one way.
        latency: seconds on the way, when the sender has handed it over.
        overhead: seconds that the process at either end is busy with a message, however small.
    """

    name: str
    bandwidth: float
    latency: float
    overhead: float

    def seconds(self, size: float) -> float:
        """How long an end is busy with a message of so many bytes.

        >>> Link("example", 1e9, 5e-6, 1e-6).seconds(1000)
        2e-06
        """
        return self.overhead + size / self.bandwidth

    def __str__(self) -> str:
        return (
            f"{self.name}, {self.bandwidth / 1e9:.3g} GB/s, {self.latency * 1e6:.3g} us a message on its way and "
            f"{self.overhead * 1e6:.3g} us at each end"
        )


# AMD EPYC 9534 (datasheet, 2022): 64 cores, 2.45 GHz, 32 float32 flops a cycle and core (AVX-512 in two halves, two
# multiply-adds), 12 channels of DDR5-4800; memory as machines of one socket are sold. What array operations start with
# costs is that of `costs.Rates`; memory is found at 1 GB/s by each core, as a system does without a host below it.
EPYC = Rates(
    gemm=REACHED * 64 * 2.45e9 * 32, gemv=REACHED * 460.8e9, copy=REACHED * 460.8e9, touch=64 * 1e9, fresh=64 * 1e9,
    call=Rates().call,
)  # fmt: skip

# NVIDIA H100 SXM5 (datasheet, 2023), without sparsity; what datasheets do not say is taken over from the A100.
H100 = replace(
    A100,
    name="H100-SXM5-80GB",
    memory=3.35e12,
    flops={"fp32": 67e12, "tf32": 494e12, "fp16": 989e12, "bf16": 989e12, "fp64": 34e12},
    fp64=34e12,
    # PCIe 5 has twice the rate of PCIe 4.
    upload=2 * A100.upload,
    processors=132,
)

DEVICE_KINDS = {
    kind.name: kind
    for kind in (
        # NVIDIA A100 (datasheet, 2021), SXM4.
        DeviceKind("A100-80GB", 80 * 10**9, A100, EPYC),
        # The same chip with HBM2 in place of HBM2e.
        DeviceKind("A100-40GB", 40 * 10**9, replace(A100, name="A100-SXM4-40GB", memory=1.555e12), EPYC),
        DeviceKind("H100-80GB", 80 * 10**9, H100, EPYC),
        # NVIDIA H200 SXM (datasheet, 2024): the H100's processors with HBM3e.
        DeviceKind("H200-141GB", 141 * 10**9, replace(H100, name="H200-SXM-141GB", memory=4.8e12), EPYC),
        DeviceKind("cpu", 384 * 10**9, None, EPYC),
    )
}

# What `gip_gpu.distributed` takes for a message at either end, in Python and gloo: 59 us between two processes of one
# machine with two cores (`bench/results/schedule.md`); a server's are taken to be a little faster. An end of MPI takes
# about a microsecond.
END = 50e-6
# Bandwidths by datasheet, one way: NVLink 3 of an A100 (12 links of 25 GB/s), InfiniBand HDR (200 Gbit/s), 10 Gbit/s.
# Messages travel through the host's processes, and their latencies are assumptions: a few microseconds more than MPI's
# where a device is near, tens through the TCP stack. `bench/results/schedule.md` varies them.
LINKS = {
    "nvlink": Link("NVLink", 300e9, 5e-6, END),
    "infiniband": Link("InfiniBand HDR", 25e9, 10e-6, END),
    "ethernet": Link("Ethernet", 1.25e9, 30e-6, END),
}
RATES = {"GB/S": 1e9, "MB/S": 1e6, "GBIT/S": 1e9 / 8}
TIMES = {"US": 1e-6, "MS": 1e-3, "NS": 1e-9}


def device_kind(name: str) -> DeviceKind:
    """The device of that name.

    Raises:
        TypeError, ValueError: not known; names those that are.

    >>> device_kind("H200-141GB").capacity
    141000000000
    """
    return DEVICE_KINDS[one_of("device_kind", name, tuple(DEVICE_KINDS))]


def network(text: str | None, devices: int, kind: DeviceKind) -> Link:
    """The link that a run's messages have to pass: the one that was asked for, or the slowest that is needed.

    Args:
        text: "nvlink", "infiniband", "ethernet", or bandwidth and latency such as "50GB/s,5us"; None: NVLink within a
            machine of eight GPUs, InfiniBand beyond and between CPUs.
        devices, kind: how many, and of which kind.

    Raises:
        ValueError: neither a known name nor bandwidth and latency.

    >>> network(None, 8, DEVICE_KINDS["A100-80GB"]).name, network(None, 9, DEVICE_KINDS["A100-80GB"]).name
    ('NVLink', 'InfiniBand HDR')
    >>> network("100 Gbit/s, 2us", 9, DEVICE_KINDS["A100-80GB"]).bandwidth
    12500000000.0
    """
    if text is None:
        return LINKS["nvlink" if kind.chip is not None and devices <= PER_MACHINE else "infiniband"]
    if text in LINKS:
        return LINKS[text]
    wanted = f"network must be one of {', '.join(map(repr, LINKS))}, or text such as '50GB/s,5us'"
    bandwidth, comma, latency = text.replace(" ", "").upper().partition(",")
    rate, delay = _quantity(bandwidth, RATES), _quantity(latency, TIMES)
    if not comma or rate is None or delay is None:
        raise ValueError(f"network is {text!r}; {wanted}")
    return Link("as given", rate, delay, END)


def _quantity(text: str, units: dict[str, float]) -> float | None:
    """A positive number with one of these units, None for anything else."""
    unit = next((unit for unit in units if text.endswith(unit)), None)
    if unit is None:
        return None
    try:
        value = float(text.removesuffix(unit)) * units[unit]
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
