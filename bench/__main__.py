"""`python -m bench`: see `bench.suites`."""

from bench.suites import main

if __name__ == "__main__":
    main(prog_name="python -m bench")
