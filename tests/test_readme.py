"""What the README shows works: its Python runs, its commands succeed, its plan is the plan."""

import re
from pathlib import Path

import numpy as np
import pytest

from gip_gpu import cli

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language):
    """The code blocks in that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A working folder with the files that the README reads."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    np.save("embeddings.npy", rng.normal(size=(1000, 16)).astype(np.float16))
    np.save("scores.npy", rng.integers(0, 6, size=(1000, 2)))
    Path("data.jsonl").write_text("".join(f'{{"id": {i}}}\n' for i in range(1000)))
    return tmp_path


def test_python_and_commands(own_data, capsys):
    pytest.importorskip("matplotlib")
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("gip-gpu select")]
    assert len(commands) == 5
    for command in commands:
        assert cli.main(command.split()[1:]) == 0, capsys.readouterr().err
    namespace = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), namespace)
    lines = Path("chosen.jsonl").read_text()
    assert lines.count("\n") == 50
    assert lines == Path("chosen_too.jsonl").read_text()
    assert namespace["chosen"].indices.tolist() == np.load("chosen.npy").tolist()


def test_plan(capsys):
    command, of_many = (block for block in blocks("bash") if block.startswith("gip-gpu plan"))
    assert cli.main(of_many.split()[1:]) == 0
    assert "bottleneck" in capsys.readouterr().out
    assert cli.main(command.split()[1:]) == 0
    (shown,) = blocks("text")
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    # The predicted time is measured on the machine.
    expected = [line for line in shown.splitlines() if not line.startswith("predicted time")]
    assert [line for line in printed if not line.startswith(("---", "predicted time"))] == expected


def test_links():
    """What the README points at in the repository is there."""
    places = re.findall(r"\]\((?!https?://|#)([^)]+)\)", README.read_text())
    assert places
    for place in places:
        assert (README.parent / place).exists(), place
