"""Arrays in GPU memory: torch tensors, CuPy arrays and others, recognised without importing their libraries."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.system.files import NoRows

# Device types of the DLPack standard: memory of a CUDA device, and managed memory, which device and host both access.
CUDA_MEMORY = (2, 13)
FORMATS = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}


def on_gpu(value: Any) -> bool:
    """Returns whether a value is an array in the memory of a CUDA device."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return bool(value.is_cuda)
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0]) in CUDA_MEMORY
    return hasattr(value, "__cuda_array_interface__")


def gpu_of(value: Any) -> int:
    """Returns the number of the CUDA device that holds an array."""
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[1])
    return int(value.device.id)


def dense(tensor: Any, name: str) -> Any:
    """Returns a torch tensor detached from its gradient, in strided layout; stacks a nested tensor into a matrix.

    Args:
        tensor: a tensor on any device.
        name: name of the argument, for messages.

    Raises:
        TypeError: the tensor is sparse, or it is nested and its rows differ in length.
    """
    tensor = tensor.detach()
    if tensor.is_nested:
        rows = tensor.unbind()
        shapes = {tuple(row.shape) for row in rows}
        if len(shapes) > 1:
            raise TypeError(
                f"{name} is a nested tensor with parts of several shapes, {min(shapes)} and {max(shapes)}; "
                "it must be (m, d), or have parts of one length"
            )
        import torch

        return torch.stack(rows)
    if str(tensor.layout) != "torch.strided":
        raise TypeError(f"{name} is a sparse tensor; it must be dense: {name}.to_dense()")
    return tensor.resolve_conj().resolve_neg()


def to_numpy(tensor: Any, name: str) -> NDArray[Any]:
    """Converts a dense torch tensor to a NumPy array; copies a tensor on a GPU to the host.

    NumPy has no bfloat16 and no 8-bit floats: they become float32, which represents all their values.

    Raises:
        TypeError: neither NumPy nor float32 has the tensor's type.
    """
    kind = str(tensor.dtype).removeprefix("torch.")
    try:
        return np.asarray((tensor.float() if kind.startswith(("bfloat16", "float8")) else tensor).cpu().numpy())
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{name} is a tensor of {kind}, which NumPy does not have ({error}); it must hold real numbers of float "
            f"or integer type: {name}.float() or, where it is quantized, {name}.dequantize()"
        ) from None


def to_host(value: Any, name: str = "F") -> NDArray[Any]:
    """Copies an array to the host's memory; bfloat16 and 8-bit floats, which NumPy does not have, become float32."""
    if hasattr(value, "detach"):
        return to_numpy(dense(value, name), name)
    if hasattr(value, "get"):
        return np.asarray(value.get())
    for module in ("torch", "cupy"):
        library = sys.modules.get(module)
        if library is not None and hasattr(value, "__dlpack__"):
            return to_host(library.from_dlpack(value), name)
    raise TypeError(f"a {type(value).__name__} on a GPU needs torch or cupy to be read, and neither is imported")


class DeviceMatrix:
    """A matrix in GPU memory; indexing copies rows to the host.

    Args:
        array: (m, d), a torch tensor or a CuPy array.

    Attributes:
        array: the array passed in, detached from any gradient.
        shape: (m, d).
        format: "fp16", "bf16", "fp32", "fp64", or None for other types.
    """

    def __init__(self, array: Any) -> None:
        if hasattr(array, "detach"):
            array = dense(array, "F")
            if str(array.dtype).startswith("torch.float8"):
                # Few operations accept 8-bit floats. float16 represents every value of these types, except those of
                # "e8m0", which are powers of two in float32's range.
                array = array.float() if "e8m0" in str(array.dtype) else array.half()
        name = str(array.dtype).removeprefix("torch.")
        if name.startswith(("complex", "object")):
            raise TypeError(f"F has dtype {name}; it must hold real numbers, any float or integer type")
        shape = tuple(array.shape)
        error = NoRows if shape[:1] == (0,) else ValueError
        if len(shape) != 2:
            raise error(f"F has shape {shape}; it must be a 2-d array, one row an item")
        if 0 in shape:
            raise error(f"F has shape {shape}; it must have at least one row and one column")
        self.array = array
        self.shape: tuple[int, int] = (shape[0], shape[1])
        self.format = FORMATS.get(name)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, (int, np.integer, slice)):
            return to_host(self.array[key])
        return to_host(self.taken(np.asarray(key, dtype=np.int64)))

    def taken(self, indices: NDArray[np.int64]) -> Any:
        """Returns these rows as an array of the same kind on the GPU."""
        if hasattr(self.array, "detach"):
            import torch

            return self.array[torch.tensor(indices, device=self.array.device)]
        return self.array[indices]


def format_of(values: Any) -> str:
    """Returns the format in which a GPU stores these rows: the input's own where the GPU has it, else a wider one."""
    if isinstance(values, DeviceMatrix):
        return values.format or "fp64"
    dtype = values.dtype
    if dtype.name in FORMATS:
        return FORMATS[dtype.name]
    return "fp32" if dtype.kind in "bui" and dtype.itemsize <= 2 else "fp64"
