"""README and documentation: code blocks run, their outputs are those shown, links have targets.

Each page runs in an empty folder of its own, block after block in one namespace:

- `python` is executed; with `title="name.py"` it is written to that file, which a later shell block runs.
- `bash` is run line by line: `gip-gpu` in this process, `torchrun` as processes.
- `text` is the output of the block before it; `...` stands for anything, and rules of tables are left out. A line such
  as "ValueError: ..." is the error that the block raises; its lines may be broken anywhere.

A comment in the line above a block excuses it, for one of the reasons below:

- `<!-- not run: needs a GPU -->`
- `<!-- output varies: with the BLAS -->`: as many lines are printed as shown.
"""

import contextlib
import doctest
import glob
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import gip_gpu
from bench.suites import SUITES
from gip_gpu import cli, metrics, reference, selectors, signals
from gip_gpu.backends import devices
from tests.docs.support import BLOCK, DOCS, blocks
from tests.support.paths import ROOT

README, MKDOCS = ROOT / "README.md", ROOT / "mkdocs.yml"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

LARGEST_README = 9_000
# Reasons, and the pages that may give them.
NOT_RUN = {
    "needs a GPU": {"docs/gpus.md"},
    "installs packages": {"README.md", "docs/index.md"},
    "takes minutes": {"docs/benchmarks.md"},
    "loads a model": {"docs/data-sets.md"},
    "needs a model": {"docs/scoring.md"},
}
VARIES = {
    "with the Python version": {"docs/tutorial.md"},
    "with the BLAS": {"docs/exactness.md"},
}
SLOW = {"docs/distributed.md", "docs/tutorial.md"}
# Modules that pages need beyond the extra `test`.
NEEDS = {
    "docs/distributed.md": ("torch.distributed", "many processes need torch"),
    "docs/scoring.md": ("openai", "a judge needs openai"),
    "docs/scikit-learn.md": ("sklearn", "GIPSelector needs scikit-learn"),
}

FAILURE = re.compile(r"^\w+(Error|Warning): ", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def lines_of(text):
    """Returns a text without blanks at the ends of lines and without the rules of tables, whose width varies."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines() if not re.fullmatch(r"-{3,}[- ]*", line))


def same(shown, printed):
    """Returns whether a page shows the printed output."""
    if FAILURE.search(shown):
        shown, printed = " ".join(shown.split()), " ".join(printed.split())
    return doctest.OutputChecker().check_output(lines_of(shown) + "\n", lines_of(printed) + "\n", doctest.ELLIPSIS)


def same_count(shown, printed):
    """Returns whether a page shows as many lines as were printed."""
    return len(lines_of(shown).splitlines()) == len(lines_of(printed).splitlines()) > 0


class Runner:
    """Runner of the blocks of a page in the working folder, which compares their output with the page."""

    def __init__(self, capsys):
        self.capsys, self.namespace = capsys, {"__name__": "page"}
        # Output of the last block, None if no block has run since the last output.
        self.printed: str | None = None
        self.titles: set[str] = set()

    def run(self, text):
        made = blocks(text)
        for block, after in pairwise([*made, None]):
            if block.not_run is not None:
                assert block.language in ("python", "bash"), block
                self.printed = None
            elif block.language == "text":
                self.compare(block)
            elif block.language == "diff":
                # tests/docs/test_recipes.py applies and tests each.
                self.printed = None
            else:
                assert block.varies is None, f"only text varies: {block}"
                fails = after is not None and after.language == "text" and bool(FAILURE.search(after.text))
                self.printed = {"python": self.python, "bash": self.shell}[block.language](block, fails)
        assert not self.titles, f"{self.titles} are written and not run"

    def compare(self, block):
        assert self.printed is not None, f"no block printed this: {block.text}"
        printed, self.printed = self.printed, None
        alike = same if block.varies is None else same_count
        assert alike(block.text, printed), f"{block.text}\nis shown, and this printed:\n{printed}"

    def python(self, block, fails):
        if block.title:
            Path(block.title).write_text(block.text)
            self.titles.add(block.title)
            return None
        error = None
        try:
            exec(compile(block.text, "block", "exec"), self.namespace)
        except Exception as raised:
            if not fails:
                raise
            error = f"{type(raised).__name__}: {raised}\n"
        assert bool(error) == fails, f"an error is shown, and none was raised by\n{block.text}"
        return self.capsys.readouterr().out + (error or "")

    def shell(self, block, fails):
        assert not fails, "errors of commands are not compared"
        printed = ""
        for line in block.text.replace("\\\n", "").splitlines():
            # As a shell does, a pattern becomes the files that it fits.
            words = [part for word in shlex.split(line, comments=True) for part in sorted(glob.glob(word)) or [word]]
            if not words:
                continue
            self.titles.difference_update(words)
            if words[0] == "gip-gpu":
                code = cli.main(words[1:])
                captured = self.capsys.readouterr()
                assert code == 0, captured.err
                printed += captured.out
            elif words[0] == "torchrun":
                printed += torchrun(words[1:])
            else:
                raise AssertionError(f"nothing here runs {line!r}; say why it is not run")
        return printed


def torchrun(arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *arguments]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_files_of_the_command_line():
    """Checks that Python wrote the same rows as the command, for 5 % of 5,000."""
    lines = Path("chosen.jsonl").read_text()
    assert lines.count("\n") == len(np.load("chosen.npy")) == 250
    assert lines == Path("chosen_too.jsonl").read_text()


AFTER = {"docs/command-line.md": check_files_of_the_command_line}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
)
def test_page(name, tmp_path, monkeypatch, capsys):
    """The blocks of a page run in order, in a folder that starts empty, on the CPU and without a warning."""
    if name in NEEDS:
        module, reason = NEEDS[name]
        pytest.importorskip(module, reason=reason)

    def no_driver():
        raise OSError

    monkeypatch.setattr(devices, "_driver_devices", no_driver)
    monkeypatch.chdir(tmp_path)
    Runner(capsys).run((ROOT / name).read_text())
    AFTER.get(name, lambda: None)()


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("```python\nassert 1 == 2\n```\n", AssertionError),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", AssertionError),
        ("```python\nprint(1)\n```\n\n```text\n1\n```\n\n```text\n1\n```\n", AssertionError),
        ("```python\nprint(1)\n```\n\n```text\nValueError: no\n```\n", AssertionError),
        ("```python\nint('x')\n```\n\n```text\nValueError: no\n```\n", AssertionError),
        ("```python\nint('x')\n```\n", ValueError),
        ("```python\nprint(1)\n```\n<!-- output varies: with the BLAS -->\n```text\n1\n1\n```\n", AssertionError),
        ('```python title="x.py"\n1\n```\n', AssertionError),
        ("```bash\nls\n```\n", AssertionError),
        ("```bash\ngip-gpu plan --rows 0 --dim 1 -k 1\n```\n", AssertionError),
        ("```\nls\n```\n", KeyError),
        ("```py\nprint(1)\n```\n", KeyError),
        ("<!-- needs a GPU -->\n```python\n1\n```\n", AssertionError),
        ("- x\n\n    ```python\n    print(1)\n    ```\n", AssertionError),
        ("~~~python\nprint(1)\n~~~\n", AssertionError),
        ("```python hl_lines=1\nprint(1)\n```\n", AssertionError),
    ],
)
def test_what_does_not_run_is_noticed(page, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        Runner(capsys).run(page)


def test_what_runs_passes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (
        "```python\nprint(1, 'a b')\n```\n\n```text\n1 a ...\n```\n\n"
        "<!-- not run: needs a GPU -->\n```bash\nls\n```\n\n"
        "```python\nint('x')\n```\n\n```text\nValueError: invalid literal for int()\nwith base 10: 'x'\n```\n"
    )
    Runner(capsys).run(page)


@pytest.mark.parametrize("name", NAMES)
def test_reasons(name):
    """Only the reasons listed here excuse a block, each on its pages."""
    for block in blocks((ROOT / name).read_text()):
        for reason, reasons in ((block.not_run, NOT_RUN), (block.varies, VARIES)):
            assert reason is None or name in reasons.get(reason, ()), f"{reason!r} in {name}"


def test_each_reason_is_needed():
    given = {(name, block.not_run or block.varies) for name in NAMES for block in blocks((ROOT / name).read_text())}
    allowed = {(name, reason) for reasons in (NOT_RUN, VARIES) for reason, pages in reasons.items() for name in pages}
    assert allowed <= given


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= LARGEST_README


@pytest.mark.skipif((ROOT / "PKG-INFO").exists(), reason="an sdist has no .ci")
def test_the_set_up_of_the_readme_is_that_of_ci():
    """Each command of the README's set-up is one of `.ci/run`, apart from shell built-ins and --quiet."""
    ci = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    (set_up,) = (block.text for block in blocks(README.read_text()) if "pytest" in block.text)
    commands = [each for line in set_up.splitlines() for each in line.split(" && ") if each.startswith("python ")]
    assert len(commands) == 3
    for command in commands:
        assert f"\n{command}\n" in ci, command


def anchors(page):
    """Returns the anchors of a page's headings, as GitHub and MkDocs derive them from plain headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(BLOCK, "", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links(name):
    """Links within the repository lead to an existing file and heading; files that are named exist."""
    page = ROOT / name
    text = page.read_text()
    for place, anchor in LINK.findall(text):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), place
        # Anchors of the API exist only in the built site; the build checks them.
        if anchor and "api" not in target.parts:
            assert anchor in anchors(target), f"{place}#{anchor}"
    for place in re.findall(r"`((?:bench|docs|tests|kernels|gip_gpu)/[\w./]+)`", text):
        assert (ROOT / place).exists(), place
    for command in re.findall(r"python -m (bench[^\n`]*)", text):
        program, suite, *_ = [*command.split(), "--help"]
        assert program == "bench", command
        assert suite.startswith("-") or suite in SUITES, command


def test_pages_stay_in_docs():
    """Pages of the site link only to pages of the site; other files are not part of it."""
    for page in PAGES[1:]:
        for place, _ in LINK.findall(page.read_text()):
            assert (page.parent / place).resolve().is_relative_to(DOCS), f"{page}: {place}"


def test_navigation():
    """The navigation of the site has every page once."""
    _, _, navigation = MKDOCS.read_text().partition("\nnav:\n")
    places = re.findall(r"^ +- [^#]*?: (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(places) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES[1:])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        found = None
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.util.find_spec(module)
        if found is None:
            pytest.skip(f'the site needs {module}: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it drops warnings before --strict counts them.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_site_has_every_public_name(site):
    """The API reference has an entry for each public name, with its examples as code."""
    text = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    ids = set(re.findall(r'id="([\w.]+)"', text))
    modules = ("exceptions", "metrics", "reference", "signals")
    public = {f"gip_gpu.{name}" for name in set(gip_gpu.__all__) - {*modules}}
    public |= {f"gip_gpu.metrics.{name}" for name in metrics.__all__}
    public |= {f"gip_gpu.exceptions.{name}" for name in gip_gpu.exceptions.__all__}
    own = (name for name, value in vars(reference).items() if getattr(value, "__module__", "") == reference.__name__)
    public |= {f"gip_gpu.reference.{name}" for name in own if not name.startswith("_")}
    public |= {"gip_gpu.sources.open_matrix", "gip_gpu.sources.Source", "gip_gpu.sources.Part"}
    public |= {
        "gip_gpu.report.write",
        "gip_gpu.distributed.select",
        "gip_gpu.backends.register",
        "gip_gpu.backends.base.Backend",
        "gip_gpu.sklearn.GIPSelector",
    }
    assert public <= ids, public - ids
    headings = "".join(re.findall(r"<h\d[^>]*>.*?</h\d>", text, re.DOTALL))
    for name in signals.__all__:
        assert f"gip_gpu.signals.{name}" in headings
    for name in selectors.__all__:
        assert f"gip_gpu.selectors.{name}" in headings
    assert "<blockquote>" not in text


def test_site_works_offline(site):
    """No page loads a script, a style, a font or a picture from another host."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\">\s]+)", page.read_text())
        loaded += re.findall(r"<link[^>]* rel=\"?stylesheet[^>]*href=\"?(https?:[^\">\s]+)", page.read_text())
        assert not loaded, f"{page.name} loads {loaded}"
        assert "mermaid" not in page.read_text(), f"{page.name}: Mermaid is loaded from another host"
    assert not re.search(r"url\(\"?https?:", "".join(sheet.read_text() for sheet in site.rglob("*.css")))
    assert not [*site.rglob("*.py"), *site.rglob("*.pyc")]
    assert json.loads((site / "search" / "search_index.json").read_text())["docs"]
