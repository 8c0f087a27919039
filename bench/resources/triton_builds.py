"""Builds of every Triton kernel, compiled ahead of time with each tuning value, type and range of signals."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.resources.kernels import GIVEN, SCORES, SIGNALS, STORED, Build
from gip_gpu.backends.gpu.layout import LARGEST_BATCH
from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.batch import batch_triton
from gip_gpu.kernels.batch import tuning as batch_tuning
from gip_gpu.kernels.batch.tuning import TritonBatch
from gip_gpu.kernels.exact_triton import FUSED
from gip_gpu.kernels.family import family_triton
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.kernels.family.tuning import TritonFamily
from gip_gpu.kernels.gram import gram_triton
from gip_gpu.kernels.gram import tuning as gram_tuning
from gip_gpu.kernels.pick import pick_triton
from gip_gpu.kernels.pick import tuning as pick_tuning
from gip_gpu.kernels.pick.tuning import TritonPick
from gip_gpu.kernels.refresh import refresh_triton
from gip_gpu.kernels.refresh import tuning as refresh_tuning
from gip_gpu.kernels.step import step_triton
from gip_gpu.kernels.step import tuning as step_tuning

POINTERS = {"fp16": "*fp16", "bf16": "*bf16", "fp32": "*fp32", "fp64": "*fp64", "tf32": "*fp32"}
# Types of arguments by name; types that differ by kernel or variant are passed to `build`.
DOUBLES = ("norms", "inverses", "scores", "A", "candidate_value", "header_f64", "record", "energy", "largest",
           "picks_f64", "phi", "g", "g_squares", "row_squares")  # fmt: skip
COMMON = {
    **dict.fromkeys(("W", "weight", "score", "best", "inverse", "left_inverse"), "*fp32"),
    **dict.fromkeys((*DOUBLES, "parts", "scales", "S", "partial"), "*fp64"),
    **dict.fromkeys(("h", "weights", "metric", "distance", "upper"), "*fp32"),
    **dict.fromkeys(("dr", "dd", "a", "b", "shrink", "floor"), "fp32"),
    **dict.fromkeys(
        ("header_i64", "candidate_index", "arrived", "piece_keys", "nominees", "chosen", "picks_i64"), "*i64"
    ),
    **dict.fromkeys(("m", "stride", "first"), "i64"),
    **dict.fromkeys(("d", "blocks", "count", "moves", "pieces", "wanted", "room", "span", "each"), "i32"),
    **dict.fromkeys(("slots", "held"), "*i32"),
}
# Kernels whose count is an array.
LISTS = ("candidates", "distances", "gated_candidates", "gated_distances", "decide")


def build(
    fn: Any, variant: str, types: dict[str, str], constants: dict[str, Any], warps: int, *, aligned: bool = True,
    tiny: bool = False, **options: int,
) -> Build:  # fmt: skip
    """Returns the build of a kernel with those of these types and constants that it has arguments for.

    Args:
        variant: the kernel's compile-time values in words.
        types: types of arguments, in addition to `COMMON`.
        constants: values of constexpr arguments.
        aligned: whether d is a multiple of 16.
        tiny: whether all sizes are 1.
        options: options of Triton's compiler.
    """
    types = {**COMMON, **({"count": "*i64"} if fn.__name__ in LISTS else {}), **types}
    # Triton specialises an integer argument of 1 as a constant.
    ones = {name: 1 for name in fn.arg_names if tiny and types.get(name) in ("i32", "i64")}
    constants = {name: value for name, value in {**constants, **ones}.items() if name in fn.arg_names}
    signature = {name: "constexpr" if name in ones else types.get(name, "constexpr") for name in fn.arg_names}
    # Triton detects these at a launch: arrays start at multiples of 16 bytes, and whether d is a multiple of 16.
    attributes = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(fn.arg_names)
        if signature[name].startswith("*") or (aligned and name == "d")
    }

    @cache
    def compiled(chip: int) -> Any:
        source = ASTSource(fn, signature, constants, attributes)
        options_ = {"num_warps": warps, **options, **FUSED}
        return triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options_)

    def make(chip: int, form: str) -> Any:
        found = compiled(chip)
        return (found.asm[form], found.metadata.shared) if form == "cubin" else found.asm[form]

    return Build(fn.__name__, variant, 32 * warps, make)


def builds(chip: int) -> Iterator[Build]:
    """Yields every kernel with a chip's tuning values, not with each pair of types."""
    gram, steps, refresh = (tuned(each.TRITON, chip) for each in (gram_tuning, step_tuning, refresh_tuning))
    for kind in gram.tiles:
        for length in (768, 767):
            tile, aligned = gram.tile(kind, length), length % 16 == 0
            fixed = {"DEPTH": tile.depth, "PRECISION": "tf32" if kind == "tf32" else "ieee", "WIDEN": False}
            for stored in STORED:
                types = {"rows": POINTERS[kind], "left": POINTERS[kind]}
                types.update(dict.fromkeys(("out", "columns"), POINTERS[stored]))
                batch = tile.batch_tile, tile.tile
                shapes = (
                    (gram_triton.gram, tile.tile, tile.wide),
                    (gram_triton.products, *batch),
                    (gram_triton.listed, *batch),
                )
                for fn, high, wide in shapes:
                    what = f"{kind} to {stored}{_ragged(aligned)}"
                    constants = {**fixed, "TILE": high, "WIDE": wide}
                    yield build(fn, what, types, constants, tile.warps, aligned=aligned, num_stages=tile.stages)
    for signals in SIGNALS:
        for stored in STORED:
            what, fixed = f"{signals} signals, columns in {stored}", {"SIGNALS": signals, "BLOCK": steps.block}
            yield build(step_triton.update, what, {"columns": POINTERS[stored]}, fixed, steps.warps)
        for given in GIVEN:
            what, types, wide = f"{signals} signals, rows in {given}", {"rows": POINTERS[given]}, _power(signals)
            fixed = {"SIGNALS": signals, "WIDE": wide, "BLOCK": steps.block, "DEPTH": steps.rescore_depth(wide),
                     "PARTS": 102, "PARTS_BLOCK": 128, "CHUNK": steps.choose_chunk(wide)}  # fmt: skip
            yield build(step_triton.pick, what, types, fixed, steps.warps)
            fixed = {"SIGNALS": signals, "ITEMS": refresh.items, "DEPTH": refresh.depth}
            yield build(refresh_triton.refresh, what, types, fixed, refresh.warps)
    yield from _batch(tuned(batch_tuning.TRITON, chip))
    yield from _projecting(tuned(family_tuning.TRITON, chip))
    yield from _picking(tuned(pick_tuning.TRITON, chip))
    yield from _of_size_one(chip)


def _batch(batch: TritonBatch) -> Iterator[Build]:
    """Yields the kernels that list a batch: short pieces and long ones, small batches and large ones."""
    for piece in (1, 64, 2 * batch.block):
        fixed = {"PIECE": piece, "BLOCK": batch.block, "CHUNK": batch.chunk}
        yield build(batch_triton.nominate, f"pieces of {piece}", {}, fixed, batch.warps)
    for size in (16, 64, LARGEST_BATCH):
        fixed = {"BLOCK": batch.block, "CHUNK": batch.chunk, "COMPARED": batch.compared, "SIZE": size}
        yield build(batch_triton.choose, f"batches of {size}", {}, fixed, batch.warps)


def _projecting(family: TritonFamily) -> Iterator[Build]:
    """Yields the kernels of projecting steps: each type, each score and each range of signals."""
    kinds = ("fp16", "bf16", "fp32")
    for turn, signals in enumerate(SIGNALS):
        built = [score for score, (*_, used) in SCORES.items() if signals in used]
        steps = [(score, kinds[(turn + other) % 3], 768) for other, score in enumerate(built)]
        if signals == 3:
            steps += [(score, kind, 767) for score, kind, _ in steps]
            # float64 stands for input rows that the step does not read.
            steps.append(("ratio", "fp64", 768))
        for score, kind, length in steps:
            measure, positive, metric, _ = SCORES[score]
            depth, wide = family.depth(length, int(kind[2:]) // 8), family.wide(signals)
            fixed = {"SIGNALS": signals, "MEASURE": measure, "POSITIVE": positive, "METRIC": metric,
                     "ITEMS": family.items, "DEPTH": depth, "WIDE": wide}  # fmt: skip
            aligned = length % 16 == 0
            what = f"{score}, {signals} signals, rows in {kind}{_ragged(aligned)}"
            types = {"rows": POINTERS[kind]}
            yield build(family_triton.step, what, types, fixed, family.warps, aligned=aligned)
            if not metric:
                yield build(family_triton.gated_step, what, types, fixed, family.warps, aligned=aligned)
        for given in (("fp16", "fp64"), ("bf16", "fp32"))[turn % 2]:
            wide, depth = family.window_tile(signals)
            fixed = {"SIGNALS": signals, "WIDE": wide, "BLOCK": family.window_block, "DEPTH": depth}
            what, types = f"{signals} signals, rows in {given}", {"rows": POINTERS[given]}
            yield build(family_triton.candidates, what, types, fixed, family.warps)
            gated = {**fixed, "MEASURE": "distance" if signals == 1 else "ratio", **_parts(family.most_programs)}
            yield build(family_triton.gated_candidates, what, types, gated, family.warps)
    for given in GIVEN:
        what, types, fixed = f"rows in {given}", {"rows": POINTERS[given]}, {"SIGNALS": 3, **_distance_tile(family)}
        for fn in (family_triton.distances, family_triton.gated_distances):
            yield build(fn, what, types, fixed, family.warps)


def _picking(pick: TritonPick) -> Iterator[Build]:
    """Yields the kernels of a pick by the device: each type, each score and each range of signals."""
    for signals in SIGNALS:
        for score, (measure, positive, metric, used) in SCORES.items():
            # Matching pursuit projects nothing out of the rows.
            if metric or signals not in used:
                continue
            fixed = {"SIGNALS": signals, "WIDE": _power(signals), "MEASURE": measure, "POSITIVE": positive,
                     "PROJECTS": score != "norm, positive", "CHUNK": pick.chunk, **_parts(648)}  # fmt: skip
            what = f"{score}, {signals} signals"
            yield build(pick_triton.decide, what, {}, fixed, pick.warps, maxnreg=pick.registers)
    for given in GIVEN:
        for projects in (True, False):
            what, types = f"rows in {given}{'' if projects else ', not projected'}", {"rows": POINTERS[given]}
            tile = {"SIGNALS": 3, "PROJECTS": projects, "ROWS": pick.rows, "COLUMNS": pick.columns,
                    **_parts(pick.parts(768))}  # fmt: skip
            yield build(pick_triton.project, what, types, tile, pick.warps)
        tile = {"WIDE": pick.wide, "DEPTH": pick.depth}
        yield build(pick_triton.remaining, f"rows in {given}", {"rows": POINTERS[given]}, tile, pick.warps)
    yield build(pick_triton.lifted, "any sizes", {}, {"WIDE": pick.wide, "DEPTH": pick.depth}, pick.warps)


def _parts(count: int) -> dict[str, int]:
    return {"PARTS": count, "PARTS_BLOCK": _power(count)}


def _of_size_one(chip: int) -> Iterator[Build]:
    """Yields every kernel with all sizes 1: one item of length 1 in one block of one batch."""
    steps, refresh, family = (tuned(each.TRITON, chip) for each in (step_tuning, refresh_tuning, family_tuning))
    one = {"SIGNALS": 1, "WIDE": 1, "BLOCK": steps.block, "DEPTH": steps.rescore_depth(1), "PARTS": 1,
           "PARTS_BLOCK": 1, "CHUNK": steps.choose_chunk(1)}  # fmt: skip
    tile = tuned(gram_tuning.TRITON, chip).ragged
    tiled = {"TILE": tile.tile, "WIDE": tile.wide, "DEPTH": tile.depth, "PRECISION": "ieee", "WIDEN": False}
    score = {"MEASURE": "ratio", "POSITIVE": False, "METRIC": True}
    projecting = {**one, **score, "ITEMS": family.items, "DEPTH": family.ragged}
    listing = {**one, "BLOCK": family.window_block, "DEPTH": family.window_values}
    types = dict.fromkeys(("rows", "columns", "left", "out"), "*fp32")
    batch, pick = tuned(batch_tuning.TRITON, chip), tuned(pick_tuning.TRITON, chip)
    tall = {"WIDE": pick.wide, "DEPTH": pick.depth}
    listed = {"PIECE": 1, "BLOCK": batch.block, "CHUNK": batch.chunk, "COMPARED": batch.compared, "SIZE": 1}
    for fn, constants, warps in (
        (gram_triton.gram, tiled, tile.warps),
        (gram_triton.products, tiled, tile.warps),
        (gram_triton.listed, tiled, tile.warps),
        (batch_triton.nominate, listed, batch.warps),
        (batch_triton.choose, listed, batch.warps),
        (step_triton.update, one, steps.warps),
        (step_triton.pick, one, steps.warps),
        (refresh_triton.refresh, {**one, "ITEMS": refresh.items}, refresh.warps),
        (family_triton.step, projecting, family.warps),
        (family_triton.candidates, listing, family.warps),
        (family_triton.distances, {**one, **_distance_tile(family)}, family.warps),
        (family_triton.gated_step, projecting, family.warps),
        (family_triton.gated_candidates, {**listing, **score}, family.warps),
        (family_triton.gated_distances, {**one, **_distance_tile(family)}, family.warps),
        (pick_triton.decide, {**one, **score, "PROJECTS": True, "CHUNK": pick.chunk}, pick.warps),
        (pick_triton.remaining, tall, pick.warps),
        (pick_triton.lifted, tall, pick.warps),
        (
            pick_triton.project,
            {**one, **tall, "PROJECTS": True, "ROWS": pick.rows, "COLUMNS": pick.columns},
            pick.warps,
        ),
    ):
        options = {"maxnreg": pick.registers} if fn is pick_triton.decide else {}
        yield build(fn, "all sizes 1", types, constants, warps, aligned=False, tiny=True, **options)


def _distance_tile(family: TritonFamily) -> dict[str, int]:
    places, shares = family.distance_tile
    return {"PARTIAL": family.distance_partial, "WIDE": family.distance_wide, "DEPTH": family.distance_depth,
            "PLACES": places, "SHARES": shares}  # fmt: skip


def _power(signals: int) -> int:
    """Returns the smallest power of two that is at least `signals`."""
    return 1 << (signals - 1).bit_length()


def _ragged(aligned: bool) -> str:
    return "" if aligned else ", ragged"
