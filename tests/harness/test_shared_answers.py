"""Tests in parallel: answers computed once in a run, and no warning that ends it."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.shared_answers import SharedAnswers, key
from tests.support.slow_square import count, slow_square


def failing(values):
    raise ArithmeticError("no answer")


def failing_write(values):
    # numpy.save fails after it has begun to write, because a .npy file without pickle cannot hold an object.
    return np.array([{}], dtype=object)


def ask(folder, note, start, answers):
    shared = SharedAnswers(folder)
    start.wait()
    answers.put(shared.compute_once(slow_square, np.arange(5.0), str(note)).tolist())


def test_processes_that_ask_at_the_same_time_compute_once(tmp_path):
    context, note = multiprocessing.get_context("spawn"), tmp_path / "note"
    start, answers = context.Barrier(3), context.Queue()
    arguments = (tmp_path / "answers", note, start, answers)
    processes = [context.Process(target=ask, args=arguments, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == [[0, 1, 4, 9, 16]] * 3
    for process in processes:
        process.join(60)
    assert count(note) == 1


def test_an_answer_keeps_its_type_and_shape(tmp_path):
    shared, note = SharedAnswers(tmp_path), str(tmp_path / "note")
    values = np.array([[1, -2]], np.int8)
    for _ in range(2):
        answer = shared.compute_once(slow_square, values, note)
        assert answer.dtype == np.int8
        np.testing.assert_array_equal(answer, [[1, 4]])
        # Each test gets its own copy, so changing one affects no other test.
        answer[:] = 0
    assert count(tmp_path / "note") == 1


@pytest.mark.parametrize(("function", "error"), [(failing, ArithmeticError), (failing_write, ValueError)])
def test_a_computation_that_fails_leaves_no_answer(function, error, tmp_path):
    shared = SharedAnswers(tmp_path)
    for _ in range(2):
        with pytest.raises(error):
            shared.compute_once(function, np.arange(3))
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_keys_of_different_calls_differ():
    f = np.arange(6.0)
    calls = [
        (slow_square, (f,), {}),
        (failing, (f,), {}),
        (slow_square, (f + 1,), {}),
        (slow_square, (f.astype(np.float32),), {}),
        (slow_square, (f.view(np.int64),), {}),
        (slow_square, (f.reshape(2, 3),), {}),
        (slow_square, (f.reshape(3, 2),), {}),
        (slow_square, (np.asfortranarray(f.reshape(2, 3).T),), {}),
        (slow_square, (f, 1), {}),
        (slow_square, (f, 1.0), {}),
        (slow_square, (f, True), {}),
        (slow_square, (f, "1"), {}),
        (slow_square, (f, "None"), {}),
        (slow_square, (f, None), {}),
        (slow_square, (f,), {"k": 1}),
        (slow_square, (f,), {"n": 1}),
        (slow_square, (f, "k", 1), {}),
        (slow_square, (f, f), {}),
    ]
    keys = [key(*call) for call in calls]
    assert len(set(keys)) == len(keys)
    assert keys == [key(*call) for call in calls]


def test_keys_of_equal_calls_are_equal():
    f = np.arange(6.0).reshape(2, 3)
    assert key(slow_square, (np.asfortranarray(f),), {}) == key(slow_square, (f,), {})
    assert key(slow_square, (), {"a": 1, "b": 2}) == key(slow_square, (), {"b": 2, "a": 1})


@pytest.mark.parametrize("function", [lambda values: values, np.ones(3).sum, np.sum.__call__, SharedAnswers])
def test_functions_whose_names_do_not_identify_them_are_refused(function, tmp_path):
    with pytest.raises(TypeError, match="must be one of a module"):
        SharedAnswers(tmp_path).compute_once(function, np.ones(3))


@pytest.mark.parametrize("value", [[1, 2], np.array([None]), np.float64(1)])
def test_arguments_that_do_not_identify_a_call_are_refused(value, tmp_path):
    with pytest.raises(TypeError, match=f"an argument is a {type(value).__name__}; arrays, numbers"):
        SharedAnswers(tmp_path).compute_once(slow_square, value)


RUN = """
import numpy as np
import pytest
from tests.conftest import answers
from tests.support.slow_square import slow_square

@pytest.mark.parametrize("turn", range(4))
def test_answer(turn, answers):
    assert answers.compute_once(slow_square, np.arange(3), {note!r}).tolist() == [0, 1, 4]
"""


def run_of_four_tests(folder, note, *options):
    """Runs pytest on four tests that ask for the same answer; the temporary folders are below `folder`."""
    folder.mkdir(exist_ok=True)
    test = folder / "test_run.py"
    test.write_text(textwrap.dedent(RUN.format(note=str(note))))
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    # If this process is a worker of a parallel run, its variables must not reach the inner run.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTEST_DEBUG_TEMPROOT": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    command += ["-p", "no:cacheprovider", *options, str(test)]
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 passed" in result.stdout


@pytest.mark.slow
def test_no_answer_is_shared_between_runs(tmp_path):
    for runs in (1, 2):
        run_of_four_tests(tmp_path / "runs", tmp_path / "note")
        assert count(tmp_path / "note") == runs


@pytest.mark.slow
def test_workers_share_an_answer_and_runs_do_not(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    for runs in (1, 2):
        run_of_four_tests(tmp_path / "runs", tmp_path / "note", "-n", "2")
        assert count(tmp_path / "note") == runs


def test_the_warning_of_disabled_benchmarks_is_no_error():
    """pytest-benchmark 4.0 to 5.2 warns so whenever `pytest -n` is used; every other warning is an error."""
    warnings.warn(
        "Benchmarks are automatically disabled because xdist plugin is active."
        "Benchmarks cannot be performed reliably in a parallelized environment.",
        pytest.PytestWarning,
        stacklevel=1,
    )
    for text in ("Benchmarks are disabled", "so: Benchmarks are automatically disabled because xdist plugin is active"):
        with pytest.raises(pytest.PytestWarning):
            warnings.warn(text, pytest.PytestWarning, stacklevel=1)
