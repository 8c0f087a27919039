"""Stand-in for CuPy without a GPU: NumPy arrays for device memory, and the CUDA kernels run on the CPU.

It has only the calls that the backend makes; any other raises AttributeError, like a call that CuPy lacks. The
arithmetic of the kernels is real: `cuda_on_cpu` builds their expanded sources with the options that NVRTC would get.
Memory that CuPy would leave uninitialised is NaN.
"""

import ctypes
import types
from contextlib import contextmanager
from typing import ClassVar

import numpy as np

from gip_gpu.kernels import cuda_source
from tests.support.cuda_on_cpu.emulator import build

MULTIPROCESSORS = 3
# Addresses of host memory that is mapped into device memory.
MAPPED: set[int] = set()


class Array(np.ndarray):
    """NumPy array with two properties of CuPy's: `data.ptr`, and no silent conversion from or to NumPy."""

    device = types.SimpleNamespace(id=0)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        """As in CuPy, NumPy arrays cannot be operands or be assigned; scalars can."""
        out = out or ()
        for value in (*inputs, *out):
            assert isinstance(value, Array) or np.isscalar(value), f"{ufunc.__name__} of a {type(value)}"
        into = {"out": tuple(map(host, out))} if out else {}
        found = getattr(ufunc, method)(*map(host, inputs), **into, **options)
        return out[0] if out else device(found)

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} of a CuPy array")

    def __setitem__(self, places, value):
        assert isinstance(value, Array) or np.isscalar(value), f"assigned a {type(value)}"
        super().__setitem__(places, value)

    def set(self, values, stream):
        assert values.dtype == self.dtype
        host(self)[...] = values

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def host(value):
    """Returns an `Array` as a plain NumPy array, any other value unchanged."""
    return value.view(np.ndarray) if isinstance(value, Array) else value


def device(array):
    return np.asarray(array).view(Array)


def empty(shape, dtype):
    array = np.empty(shape, dtype)
    if array.dtype.kind == "f":
        array.fill(np.nan)
    else:
        array.fill(-7 if array.dtype.kind == "i" else 7)
    return array.view(Array)


class OutOfMemoryError(MemoryError):
    pass


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class Device:
    """One small GPU. Its attributes are named as cupy.cuda.Device names them."""

    attributes: ClassVar[dict[str, int]] = {
        "MultiProcessorCount": MULTIPROCESSORS,
        "MaxSharedMemoryPerBlockOptin": 163 << 10,
    }

    compute_capability = "80"

    def __init__(self, number):
        self.id = number

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        assert Stream.capturing is None, "a wait during a capture"


class Graph:
    """Captured launches, with the arguments of the capture."""

    def __init__(self, launches):
        self.launches = launches

    def launch(self):
        assert Stream.capturing is None, "a graph started during a capture"
        for function, arguments in self.launches:
            function.emulate(*arguments)


class Stream:
    # Launches of the capture that is going on; None: none is.
    capturing: ClassVar[list | None] = None
    entered: ClassVar[list["Stream"]] = []

    def __init__(self, non_blocking):
        assert non_blocking

    def __enter__(self):
        self.entered.append(self)
        return self

    def __exit__(self, *_):
        self.entered.pop()

    def synchronize(self):
        assert Stream.capturing is None, "a wait during a capture"

    def begin_capture(self):
        assert self.entered[-1] is self, "CuPy captures the launches in the current stream"
        Stream.capturing = []

    def end_capture(self):
        launches, Stream.capturing = Stream.capturing, None
        return Graph(launches)


class Function:
    """A kernel of a module. Its launches are emulated; LAUNCHES keeps their names and grids for the tests."""

    LAUNCHES: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, module, name):
        self.module, self.name = module, name
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert self.name != "loop" or (self.module.cooperative and grid[0] <= MULTIPROCESSORS)
        for arg in args:
            assert isinstance(arg, (Array, np.int32, np.int64, np.float32, np.float64)), (
                f"{self.name} takes no {type(arg)}"
            )
        if Stream.capturing is not None:
            Stream.capturing.append((self, (grid, block, args, shared_mem)))
            return
        self.emulate(grid, block, args, shared_mem)

    def emulate(self, grid, block, args, shared_mem):
        self.LAUNCHES.append((self.name, grid[0]))
        kinds = self.module.program.parameters(self.name)
        plain = [self.plain(kind, arg) for kind, arg in zip(kinds, args, strict=True)]
        self.module.program.launch(self.name, grid, block, plain, shared_bytes=shared_mem, seed=len(self.LAUNCHES))

    @classmethod
    def plain(cls, kind, arg):
        """Converts an argument for the emulation; a null pointer is an int64 of 0."""
        if isinstance(arg, Array):
            return cls.contiguous(arg)
        if kind[0] not in "pP":
            return arg.item()
        assert (type(arg), arg) == (np.int64, 0)
        return None

    @staticmethod
    def contiguous(array):
        """Returns all memory from the first element on, because the kernel gets only that element's address."""
        if array.flags.c_contiguous:
            return host(array)
        # A slice of columns: the kernel gets its stride as another argument.
        size = array.strides[0] // array.itemsize * (len(array) - 1) + array.shape[1]
        return np.lib.stride_tricks.as_strided(host(array), (size,), (array.itemsize,))


class RawModule:
    def __init__(self, *, code, options, enable_cooperative_groups=False):
        (op,) = (
            op
            for op in ("batch", "cast", "family", "gram", "loop", "pick", "refresh")
            if code == cuda_source.expanded(op)
        )
        assert options[0] == "-std=c++17"
        macros = dict(option.removeprefix("-D").split("=", 1) for option in options[1:])
        self.cooperative = enable_cooperative_groups
        self.program = build(op, macros)

    def get_function(self, name):
        return Function(self, name)


def gemm_ex(
    handle, transa, transb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algo
):
    """Emulates cublasGemmEx for the backend's calls: float32, the first factor transposed, column-major."""
    assert (handle, transa, transb, a_type, b_type, c_type, algo) == ("cublas", 1, 0, 0, 0, 0, -1)
    assert compute in (68, 77)

    def at(address, count):
        return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32)

    assert at(alpha, 1)[0] == 1
    assert at(beta, 1)[0] == 0
    left = np.lib.stride_tricks.as_strided(at(a, lda * (m - 1) + k), (m, k), (4 * lda, 4))
    right = np.lib.stride_tricks.as_strided(at(b, ldb * (n - 1) + k), (n, k), (4 * ldb, 4))
    out = np.lib.stride_tricks.as_strided(at(c, ldc * (n - 1) + m), (n, m), (4 * ldc, 4))
    np.lib.stride_tricks.as_strided(out, writeable=True)[...] = right @ left.T


@contextmanager
def installed(monkeypatch, free=1 << 30):
    """Makes `import cupy` find the stand-in, with a GPU of `free` bytes of free memory."""
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        memGetInfo=lambda: (free, free),
        hostRegister=lambda address, size, flags: MAPPED.add(address),
        hostUnregister=MAPPED.remove,
        CUDARuntimeError=CUDARuntimeError,
    )
    cublas = types.SimpleNamespace(gemmEx=gemm_ex)
    cuda = types.ModuleType("cupy.cuda")
    cuda.Device, cuda.Stream, cuda.runtime, cuda.cublas = Device, Stream, runtime, cublas
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda.driver = types.SimpleNamespace(CUDADriverError=CUDADriverError)
    cuda.device = types.SimpleNamespace(get_cublas_handle=lambda: "cublas")
    cuda.UnownedMemory = lambda address, size, owner, number: owner.values
    cuda.MemoryPointer = lambda memory, offset: memory
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "stand-in"
    cupy.cuda, cupy.RawModule, cupy.empty = cuda, RawModule, empty
    cupy.ndarray = type("ndarray", (Array,), {"__new__": lambda cls, shape, dtype, memory: device(memory)})
    cupy.asarray = lambda values: device(np.array(host(values)))
    cupy.asnumpy = lambda array: np.array(host(array))
    cupy.ascontiguousarray = lambda array: device(np.ascontiguousarray(host(array)))
    cupy.from_dlpack = lambda array: device(np.from_dlpack(array))
    cupy.where = lambda *values: device(np.where(*map(host, values)))
    cupy.argsort = lambda array: device(np.argsort(host(array)))
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0)
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = lambda shape, dtype: np.empty(shape, dtype)
    import sys

    for name, module in (("cupy", cupy), ("cupy.cuda", cuda), ("cupyx", cupyx)):
        monkeypatch.setitem(sys.modules, name, module)
    yield cupy
