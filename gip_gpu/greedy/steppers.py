"""Choice of the stepper for a problem on a backend."""

from gip_gpu.backends.base import Backend
from gip_gpu.gram.columns import Columns
from gip_gpu.greedy.matching_pursuit import LocalPursuit, MatchingPursuit
from gip_gpu.greedy.projecting import Projecting
from gip_gpu.greedy.state import State
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.problem.formulation import Problem


def stepper_for(backend: Backend, columns: Columns | None, state: State, problem: Problem) -> Stepper:
    """Returns the stepper of a selection.

    Args:
        backend: arrays and launches.
        columns: Gram columns; None if the column of a pick is computed in its step.
        state, problem: of the selection.
    """
    if backend.device_loop:
        # Not for those who have no GPU: imports take time.
        from gip_gpu.backends.gpu.backend import GpuBackend
        from gip_gpu.greedy.device_projecting import DeviceProjecting
        from gip_gpu.greedy.device_pursuit import DeviceMatchingPursuit

        assert isinstance(backend, GpuBackend)
        if columns is None:
            return DeviceProjecting(backend, state, problem.epsilon, problem.sign, problem.Q)
        return DeviceMatchingPursuit(backend, columns)
    if columns is None:
        return Projecting(backend, state, problem.epsilon, problem.sign, problem.Q)
    return MatchingPursuit(LocalPursuit(backend, state.n), columns)
