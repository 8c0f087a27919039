"""`python -m gip_gpu` is the command line."""

import sys

from gip_gpu.cli import main

if __name__ == "__main__":
    sys.exit(main())
