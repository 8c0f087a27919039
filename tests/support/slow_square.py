"""A function that takes its time, and a note of how often it was called."""

import time


def slow_square(values, note):
    """Squares; each computation leaves a line in the file `note`."""
    with open(note, "a") as file:
        file.write("computed\n")
    time.sleep(0.5)
    return values**2


def count(note):
    return len(note.read_text().splitlines())
