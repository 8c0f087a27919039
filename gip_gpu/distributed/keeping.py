"""Checkpoints of a selection by many processes: rank 0 writes the file, equal to that of one process with all rows."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from gip_gpu.checkpoint.writer import LOOK, CheckpointWriter
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.greedy.state import State, Stored
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.system.deferred_signals import DeferredSignals

# Seconds in which a second signal counts as the first: a terminal and a launcher may both send it to all processes.
SAME_SIGNAL = 5.0


class SharedCheckpointWriter(CheckpointWriter):
    """Checkpoint writer for many processes: a signal to any rank ends all ranks once the file is written.

    Args:
        communicator: of rank 0, whose target is a `Shard` by the first `look`.
        path, every, of: as in `CheckpointWriter`.
    """

    def __init__(self, communicator: Communicator, path: Path, every: int | float, of: Stored) -> None:
        super().__init__(path, every, of)
        self.communicator, self.asked = communicator, time.monotonic()
        self.signals = DeferredSignals(SAME_SIGNAL)

    def look(self, state: State, stepper: Stepper) -> None:
        # A launcher signals the other ranks when one has died; asking all ranks finds the dead one first.
        if self.signals.arrived is not None or time.monotonic() - self.asked >= LOOK:
            arrived = self.communicator.ask("arrived")
            self.asked = time.monotonic()
            if any(arrived) and self.signals.arrived is None:
                self.save(state, stepper)
                # By now the signal may have reached this rank too, and its handler gives a better message.
                self.signals.deliver()
                self.communicator.fail(RuntimeError(_ended(arrived)))
        super().look(state, stepper)


def _ended(arrived: Sequence[int | None]) -> str:
    rank, number = next((rank, number) for rank, number in enumerate(arrived) if number)
    return f"rank {rank} was ended by {signal.Signals(number).name}; the checkpoint was written"
