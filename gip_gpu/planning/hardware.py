"""Devices and their links, from datasheets, for the cost model of a cluster. Only `END` is measured."""

import math
from dataclasses import dataclass, replace

from gip_gpu.planning.cpu_costs import Rates
from gip_gpu.planning.gpu_costs import A100, DeviceRates
from gip_gpu.validation.settings import one_of

# Share of a CPU's flops that its products reach, and share of its bandwidth that its passes over memory reach: OpenBLAS
# and STREAM on server chips.
REACHED = 0.7
# Devices in a machine, as DGX and HGX boards have them.
PER_MACHINE = 8
# Bytes per second at which a device reads its rows from storage: ten machines of eight devices share a file system of a
# hundred GB/s. An assumption; sites differ by a factor of ten.
STORAGE = 1.25e9


@dataclass(frozen=True)
class DeviceKind:
    """Kind of device that stores a part of the rows.

    Attributes:
        name: value of `--device-kind`.
        capacity: bytes of its memory by datasheet, in powers of 1000; the 7 % by which powers of 1024 are larger are
            left for the driver's context and for fragmentation.
        chip: rates of a GPU, None for a CPU.
        host: rates of the CPU, or of the GPU's host CPU, which runs rank 0's lookahead.
    """

    name: str
    capacity: int
    chip: DeviceRates | None
    host: Rates


@dataclass(frozen=True)
class Link:
    """Link between two devices. A message takes `latency` in transit, and `overhead + bytes / bandwidth` at each end.

    Attributes:
        name: name for tables and messages.
        bandwidth: bytes per second, one way.
        latency: seconds in transit, after the sender has handed the message over.
        overhead: seconds that the process at either end is busy with the smallest message.
    """

    name: str
    bandwidth: float
    latency: float
    overhead: float

    def seconds(self, size: float) -> float:
        """Returns the seconds that an end is busy with a message of `size` bytes.

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
# multiply-adds), 12 channels of DDR5-4800; memory as machines of one socket are sold. The fixed cost of an array
# operation is that of `cpu_costs.Rates`; each core finds memory at 1 GB/s, as on a system without a hypervisor.
EPYC = Rates(
    gemm=REACHED * 64 * 2.45e9 * 32, gemv=REACHED * 460.8e9, copy=REACHED * 460.8e9, touch=64 * 1e9, fresh=64 * 1e9,
    call=Rates().call,
)  # fmt: skip

# NVIDIA H100 SXM5 (datasheet, 2023), without sparsity; values that datasheets lack are those of the A100.
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
        # The same chip with HBM2 instead of HBM2e.
        DeviceKind("A100-40GB", 40 * 10**9, replace(A100, name="A100-SXM4-40GB", memory=1.555e12), EPYC),
        DeviceKind("H100-80GB", 80 * 10**9, H100, EPYC),
        # NVIDIA H200 SXM (datasheet, 2024): the H100's processors with HBM3e.
        DeviceKind("H200-141GB", 141 * 10**9, replace(H100, name="H200-SXM-141GB", memory=4.8e12), EPYC),
        DeviceKind("cpu", 384 * 10**9, None, EPYC),
    )
}

# Seconds of `gip_gpu.distributed` for a message at either end, in Python and gloo: 59 us between two processes of one
# machine with two cores (`bench/results/schedule.md`); a server is assumed to be a little faster. MPI takes about a
# microsecond at an end.
END = 50e-6
# Bandwidths by datasheet, one way: NVLink 3 of an A100 (12 links of 25 GB/s), InfiniBand HDR (200 Gbit/s), 10 Gbit/s.
# Messages pass through the host's processes, and their latencies are assumptions: a few microseconds more than MPI's
# for near devices, tens through the TCP stack. `bench/results/schedule.md` varies them.
LINKS = {
    "nvlink": Link("NVLink", 300e9, 5e-6, END),
    "infiniband": Link("InfiniBand HDR", 25e9, 10e-6, END),
    "ethernet": Link("Ethernet", 1.25e9, 30e-6, END),
}
RATES = {"GB/S": 1e9, "MB/S": 1e6, "GBIT/S": 1e9 / 8}
TIMES = {"US": 1e-6, "MS": 1e-3, "NS": 1e-9}


def device_kind(name: str) -> DeviceKind:
    """Returns the kind of device with that name.

    Raises:
        TypeError, ValueError: the name is unknown; the message lists the known names.

    >>> device_kind("H200-141GB").capacity
    141000000000
    """
    return DEVICE_KINDS[one_of("device_kind", name, tuple(DEVICE_KINDS))]


def network(text: str | None, devices: int, kind: DeviceKind) -> Link:
    """Returns the link of a run's messages: the requested one, or the slowest that connects all devices.

    Args:
        text: "nvlink", "infiniband", "ethernet", or bandwidth and latency such as "50GB/s,5us"; None: NVLink within a
            machine of eight GPUs, InfiniBand beyond and between CPUs.
        devices, kind: number and kind of the devices.

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
    """Parses a positive number with one of these units; returns None for anything else."""
    unit = next((unit for unit in units if text.endswith(unit)), None)
    if unit is None:
        return None
    try:
        value = float(text.removesuffix(unit)) * units[unit]
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
