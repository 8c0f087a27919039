"""Whether this process is one of several that torchrun started."""

import os


def launched() -> bool:
    """Whether this process is one of several that torchrun started."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def leading() -> bool:
    """Whether this process writes, and says what is wrong: all have the same command line."""
    return not launched() or os.environ["RANK"] == "0"
