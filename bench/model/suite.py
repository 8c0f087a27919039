"""`python -m bench model`: the GPU cost model's predictions, checked in as model_a100.md and model_h200.md."""

from pathlib import Path

from bench.model import a100, h200
from bench.runner.command import Request, suite
from bench.runner.report import Report, write

TEXTS = {"a100": a100.text, "h200": h200.text}


@suite("model", ".", names=list(TEXTS), quick=None)
def main(request: Request) -> Report:
    """Print the predictions for an A100, and those for an H200 beside measured times; --output is a folder."""
    texts = {name: TEXTS[name]() for name in request.names}

    def save(folder: Path) -> None:
        for name, text in texts.items():
            write(folder / f"model_{name}.md", text)

    return Report("\n".join(texts.values()), save=save)
