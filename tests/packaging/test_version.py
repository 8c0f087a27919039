"""The version: stated twice, the same in both places."""

import re

import gip_gpu
from tests.support.paths import ROOT


def test_the_package_and_the_project_state_the_same_version() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    stated = re.search(r'^version = "(.+)"$', project, flags=re.MULTILINE)
    assert stated is not None
    assert stated[1] == gip_gpu.__version__
