"""A device through torch: a GPU, or the CPU, with a clock instead of events and without graphs."""

import gc
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from bench.gpu.library import Action, EventTimer, Library, Timer


class TorchLibrary(Library):
    name = "torch"

    def __init__(self, device: str) -> None:
        import torch

        from gip_gpu.backends.triton.arrays import TorchArrays

        self.torch, self.arrays = torch, TorchArrays(device)
        self.cuda = self.arrays.cuda
        event = torch.cuda.Event
        self.timer = EventTimer(partial(event, enable_timing=True), event.elapsed_time) if self.cuda else Timer()

    def put(self, values: Any, kind: str) -> Any:
        from gip_gpu.backends.triton.arrays import TORCH_DTYPES

        return self.torch.from_numpy(np.ascontiguousarray(values)).to(self.arrays.device, TORCH_DTYPES[kind])

    def poison(self, array: Any) -> None:
        array.fill_(float("nan"))

    def copy(self, target: Any, source: Any) -> None:
        target.copy_(source)

    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        if kind in ("fp32", "tf32"):
            self.arrays.matmul(left, right, out, kind == "tf32")
        else:
            self.torch.matmul(left, right.T, out=out.view(left.dtype))

    def graph(self, action: Action) -> Action | None:
        if not self.cuda:
            return None
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            action()
        return graph.replay

    def empty_launch(self) -> Action:
        from bench.gpu.empty_triton import empty

        word = self.arrays.empty((1,), "int32")
        return lambda: empty[(1,)](word)

    def release(self) -> None:
        gc.collect()
        if self.cuda:
            self.torch.cuda.empty_cache()

    def watch(self) -> Callable[[], int | None]:
        if not self.cuda:
            return lambda: None
        cuda = self.torch.cuda
        cuda.synchronize()
        held = cuda.memory_allocated()
        cuda.reset_peak_memory_stats()
        return lambda: int(cuda.max_memory_allocated()) - held

    def facts(self) -> dict[str, Any]:
        try:
            triton = version("triton")
        except PackageNotFoundError:
            triton = "not installed"
        told = {"torch": self.torch.__version__, "triton": triton}
        if not self.cuda:
            return {"device": "CPU", **told}
        properties = self.torch.cuda.get_device_properties(self.arrays.device)
        return {
            "device": properties.name,
            "CUDA of torch": self.torch.version.cuda,
            "compute capability": self.arrays.capability,
            "multiprocessors": properties.multi_processor_count,
            "memory": properties.total_memory,
            "L2 cache": properties.L2_cache_size,
            **told,
        }
