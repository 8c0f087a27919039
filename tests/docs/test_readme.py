"""What the README shows works: its Python runs, its commands succeed, its plan is the plan."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from gip_gpu import cli
from tests.support.paths import ROOT

README = ROOT / "README.md"


def blocks(language):
    """The code blocks in that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("error")
def test_python_and_commands_in_order_in_one_folder(tmp_path, monkeypatch, capsys):
    """From an empty folder on, each with what those before left, and without a warning."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    namespace, commands = {}, 0
    for language, block in re.findall(r"^```(python|bash)\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(block, str(README), "exec"), namespace)
            continue
        for line in block.splitlines():
            if line.startswith("gip-gpu select"):
                assert cli.main(shlex.split(line, comments=True)[1:]) == 0, capsys.readouterr().err
                commands += 1
    assert commands == 5
    lines = Path("chosen.jsonl").read_text()
    assert lines.count("\n") == 250
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
