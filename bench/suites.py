"""Registry of the suites, and the command that runs one: `python -m bench SUITE`; without SUITE, the suite "cpu"."""

import importlib

import click

# Modules with the suite's command, `main`; imported on request only, as some need optional packages.
SUITES = {
    "cpu": ("bench.cpu.suite", "gip_gpu.select against plain NumPy (the default; takes minutes, --quick seconds)"),
    "plain": ("bench.plain.suite", "each objective against the plainest float64 code for it"),
    "family": ("bench.family.suite", "a pick of each objective against one matrix-vector product"),
    "scale": ("bench.scale.suite", "files larger than memory, growth, several processes, checkpoints"),
    "plans": ("bench.plans.suite", "planned seconds against measured ones"),
    "schedule": ("bench.schedule.suite", "many ranks: constants measured here, a simulation, the model"),
    "ratings": ("bench.ratings.suite", "quality and diversity of selections from rated pools"),
    "paper": ("bench.paper.suite", "the paper's claims beside measurements"),
    "gpu": ("bench.gpu.suite", "ceilings, times and a sample of the equivalence on a GPU"),
    "gpu-right": ("bench.gpu.right", "computes the right indices that the suite gpu compares with"),
    "model": ("bench.model.suite", "the GPU cost model: predictions for an A100, beside one H200"),
    "resources": ("bench.resources.suite", "registers, shared memory, spills and occupancy of the kernels"),
}


class Suites(click.Group):
    """The suites as subcommands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUITES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(SUITES[name][0]).main if name in SUITES else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] == "--help" or not args[0].startswith("-"))
        return super().parse_args(ctx, args if named else ["cpu", *args])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Help from the registry: click would import every suite to get it.
        with formatter.section("Suites"):
            formatter.write_dl([(name, line) for name, (_, line) in SUITES.items()])


@click.command("bench", cls=Suites)
def main() -> None:
    """Run one suite of benchmarks; SUITE --help lists its options."""
