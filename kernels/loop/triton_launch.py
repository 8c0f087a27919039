"""The loop of the Triton backend: two kernels for each step, captured in CUDA graphs of several steps."""

from collections.abc import Callable
from typing import Any

from gip_gpu.backends.gpu.layout import Code, HeaderI64
from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.loop import tuning


class StepGraphs:
    """Launcher of steps, until the header says that the host is needed.

    Args:
        header_i64: the header of the selection.
        capability: compute capability of the device; selects the tuning values.
    """

    def __init__(self, header_i64: Any, capability: int) -> None:
        self.header_i64, self.values = header_i64, tuned(tuning.TRITON, capability)
        # Graphs by the address of the columns that their steps read.
        self.graphs: dict[int, Any] = {}

    def run(self, pick: Callable[[], None], update: Callable[[Any], None], columns: Any) -> None:
        """Takes steps with these Gram columns; `pick` and `update` launch the kernels."""
        # A launch begins by scoring the residual, after projecting out a pending pick with a known column.
        update(columns)
        ahead = 1
        while True:
            self._launch(pick, update, columns, ahead)
            if int(self.header_i64[HeaderI64.REASON]) != Code.RUNNING:
                return
            # As long as no column is missing, the host checks less and less often.
            ahead = min(2 * ahead, self.values.graphs_ahead)

    def _launch(self, pick: Callable[[], None], update: Callable[[Any], None], columns: Any, ahead: int) -> None:
        """Starts `ahead` graphs of steps, or the same number of steps if there are no graphs."""
        if not columns.is_cuda:
            for _ in range(ahead):
                pick()
                update(columns)
            return
        graph = self.graphs.get(columns.data_ptr())
        if graph is None:
            graph = self.graphs[columns.data_ptr()] = self._capture(pick, update, columns)
        for _ in range(ahead):
            graph.replay()

    def _capture(self, pick: Callable[[], None], update: Callable[[Any], None], columns: Any) -> Any:
        """Captures a graph of steps, after a launch with nothing to do, which compiles the kernels if necessary."""
        import torch

        held = self.header_i64.clone()
        self.header_i64[HeaderI64.REASON] = int(Code.DONE)
        pick()
        torch.cuda.synchronize()
        self.header_i64.copy_(held)
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads may allocate during the capture.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for _ in range(self.values.graph_steps):
                pick()
                update(columns)
        return graph
