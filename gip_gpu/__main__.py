"""Entry point of `python -m gip_gpu`, the command line."""

import sys

from gip_gpu.cli import main

if __name__ == "__main__":
    sys.exit(main())
