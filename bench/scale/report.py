"""The report in Markdown: a section for each question, with the machine of its own run."""

from collections.abc import Mapping, Sequence

from bench import machine
from bench.paper.section import Section

TITLE = """\
# What large pools take

`python -m bench.scale` measures all sections, `--only NAME` one of them, which then stands beside the others' earlier
figures; so each names the machine and the day of its own run. Ratios are of one session.
"""
BREAK = "\n\n## "


def report(found: Mapping[str, Section], quick: bool) -> str:
    """All sections, by name."""
    return TITLE + "".join(f"\n## {name}: {_text(section, quick)}" for name, section in found.items())


def merged(before: str, now: str, names: Sequence[str]) -> str:
    """A report in which sections of an earlier one stand where there is no new one, in the order of their names."""
    parts: dict[str, str] = {}
    for text in (before, now):
        for part in text.rstrip("\n").split(BREAK)[1:]:
            parts[part.partition(":")[0]] = part
    return "".join([TITLE.rstrip("\n"), *(BREAK + parts[name] for name in names if name in parts)]) + "\n"


def _text(section: Section, quick: bool) -> str:
    sizes = "Quick sizes: the figures say nothing about real ones." if quick else ""
    parts = [
        section.title,
        section.verdict,
        " ".join(part for part in (f"Machine: {machine.line()}.", section.basis, sizes) if part),
        *(f"**Failed: {failure}**" for failure in section.failures),
        *section.body,
        *(f"![{section.title}]({name})" for name in section.plots),
    ]
    return "\n\n".join(parts) + "\n"
