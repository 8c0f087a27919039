"""torchrun also parses the options of the program it starts: which of ours it takes for its own, and the remedy."""

import importlib

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Selection
from gip_gpu.cli import commands
from tests.support.rank_jobs import torchrun

# Spellings that torchrun finds ambiguous; `--` before gip_gpu, or the other spelling of the option, avoids that.
TAKEN = {"--sign"}


def parsed(*arguments):
    """Returns the arguments that torchrun passes on, None if it refuses them."""
    parser = importlib.import_module("torch.distributed.run").get_args_parser()
    try:
        return parser.parse_args(["--nproc-per-node", "2", "-m", *arguments]).training_script_args
    except SystemExit:
        return None


def test_every_option_has_a_spelling_that_torchrun_leaves():
    taken = set()
    options = [option for option in commands.commands["select"].params if option.opts[0].startswith("-")]
    assert len(options) > 20
    for option in options:
        spellings = [*option.opts, *option.secondary_opts, *(f"{name}=x" for name in option.opts if name[1] == "-")]
        for spelling in spellings:
            line = ["select", "pool.npy", spelling, "x"]
            assert parsed("--", "gip_gpu", *line) == line
            if parsed("gip_gpu", *line) != line:
                taken.add(spelling.removesuffix("=x"))
        assert set(option.opts) - taken, option.name
    assert taken == TAKEN


@pytest.mark.slow
@pytest.mark.parametrize(("dashes", "option"), [((), "--score-sign"), (("--",), "--sign")])
def test_torchrun_with_a_sign(dashes, option, folder):
    line = ("pool.npy", "--scores", "scores.npy", "-k", "0.02", "-o", "many.npz", "--quiet", option, "positive")
    done = torchrun(folder, 2, *line, dashes=dashes)
    assert done.returncode == 0, done.stderr
    F, G = (np.load(folder / name) for name in ("pool.npy", "scores.npy"))
    expected = gip_gpu.select(F, G, 0.02, sign="positive", device="cpu")
    assert Selection.load(folder / "many.npz").indices.tolist() == expected.indices.tolist()
