"""One selection in a process of its own: `python -m bench.family.child NAME`, JSON on standard output."""

import json
import time

import click

import gip_gpu
from bench.family.entries import ENTRIES, find
from gip_gpu.system import memory


@click.command()
@click.argument("name", type=click.Choice([entry.name for entry in ENTRIES]))
@click.option("--quick", is_flag=True)
def main(name: str, quick: bool) -> None:
    """Prints indices, seconds, peak bytes, the plan's bytes and the certificate of one selection on the CPU."""
    entry = find(name, quick)
    F, G = entry.load()
    began = time.perf_counter()
    selection = gip_gpu.select(F, G, entry.case.k, device="cpu", **entry.options)
    seconds = time.perf_counter() - began
    proof, plan = selection.certificate, selection.plan
    told = {
        "seconds": seconds,
        "peak": memory.peak(),
        "indices": selection.indices.tolist(),
        "timings": selection.timings,
        "memory": plan.memory,
        "margins": proof.margins.tolist(),
        "ties": proof.ties.tolist(),
        "candidates": proof.candidates.tolist(),
        "refreshes": proof.refreshes,
        "rounds": list(proof.rounds),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
