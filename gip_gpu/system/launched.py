"""Detection of processes that torchrun started."""

import os


def launched() -> bool:
    """Returns whether this process is one of several that torchrun started."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def leading() -> bool:
    """Returns whether this process writes outputs and error messages: all processes have the same command line."""
    return not launched() or os.environ["RANK"] == "0"


def local_rank() -> int:
    """Returns the number of this process on its machine, 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))
