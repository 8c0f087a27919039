"""A slow function that records its calls."""

import time


def slow_square(values, note):
    """Returns the square; each computation appends a line to the file `note`."""
    with open(note, "a") as file:
        file.write("computed\n")
    time.sleep(0.5)
    return values**2


def count(note):
    return len(note.read_text().splitlines())
