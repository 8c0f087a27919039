"""Answers shared by the workers of one test run: the first worker that asks computes, the others load."""

import hashlib
import inspect
import io

import numpy as np
from filelock import FileLock


def folder_of_the_run(config, tmp_path_factory):
    """Returns the temporary folder that all workers of one `pytest -n` run share, and no other run."""
    own = tmp_path_factory.getbasetemp()
    # pytest-xdist puts the folders of its workers into that of the run.
    return own.parent if hasattr(config, "workerinput") else own


class SharedAnswers:
    """Arrays that functions return, one .npy file for each function and its arguments.

    Args:
        folder: folder shared by all workers; created if missing.
    """

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def compute_once(self, function, *arguments, **options):
        """Returns `function(*arguments, **options)`, computed by one process only.

        Args:
            function: of a module, with no state of its own; returns an array.
            arguments, options: arrays, numbers, strings, booleans or None. They decide, by value, which answer it is.

        Raises:
            TypeError: function or arguments that do not identify an answer.
        """
        path = self.folder / f"{key(function, arguments, options)}.npy"
        with self.lock(path.stem):
            if not path.exists():
                answer = function(*arguments, **options)
                file = io.BytesIO()
                np.save(file, answer, allow_pickle=False)
                # A process that ends while writing leaves no partial answer under the final name.
                partial = path.with_suffix(".partial")
                partial.write_bytes(file.getvalue())
                partial.replace(path)
            return np.load(path, allow_pickle=False)

    def lock(self, name):
        """Returns a lock, as a context manager, that one process at a time holds."""
        return FileLock(self.folder / f"{name}.lock")


def key(function, arguments, options):
    """Returns a file name for a call: equal for equal calls, different for different ones."""
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        raise TypeError(f"function is {function!r}; its name must identify it, so it must be one of a module")
    call = (
        function.__module__,
        function.__qualname__,
        [_description(value) for value in arguments],
        [(name, _description(value)) for name, value in sorted(options.items())],
    )
    return hashlib.sha256(repr(call).encode()).hexdigest()


def _description(value):
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"an argument is a {type(value).__name__}; arrays, numbers, strings, booleans and None identify a call"
    )
