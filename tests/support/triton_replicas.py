"""Finds elements that several warps of a Triton program hold, where one warp writes memory that others still read.

Triton's intermediate code (TTGIR) gives each tensor a layout, which maps elements to threads. If a tile has fewer
elements than the program has threads, warps hold copies. All of them load an element and one of them stores it; only a
barrier keeps a late warp from loading the stored value, in which case its copy is updated twice. Triton's interpreter
has no warps and cannot show it.
"""

import re
from dataclasses import dataclass

BLOCKED = re.compile(r"^(#\w+) = #ttg\.blocked<\{sizePerThread = \[([\d, ]+)\], threadsPerWarp = \[([\d, ]+)\], "
                     r"warpsPerCTA = \[([\d, ]+)\]")  # fmt: skip
ARGUMENT = re.compile(r"(%\w+): !tt\.ptr<")
CARRIED = re.compile(r"(%\w+) = (%\w+)")
# Operations whose result points into the array that their first operand points into.
DERIVED = re.compile(r"= (?:tt\.splat|tt\.addptr|tt\.broadcast|tt\.expand_dims|ttg\.convert_layout) (%\w+)")
ACCESS = re.compile(r"\btt\.(load|store) (%\w+)(?:, (%\w+))?.*?: tensor<([\dx]+)x!tt\.ptr<\w+>, (#.*?)>?(?: loc\(.*)?$")
BARRIER = re.compile(r"\b(?:gpu\.barrier|ttg\.barrier|ttg\.local_barrier)\b")
SLICE = re.compile(r"#ttg\.slice<\{dim = (\d+), parent = (.*)\}>?$")
NAME = re.compile(r"%\w+")


@dataclass(frozen=True)
class Access:
    """Load or store of a tensor; `result` is the variable loaded, `value` the variable stored."""

    kind: str
    array: str
    shape: tuple[int, ...]
    layout: str
    result: str
    value: str
    line: str


def unordered(ttgir):
    """Returns pairs of accesses, by line, at least one of them a store, between which a warp may overtake another.

    The search follows the order of the text: it does not connect the end of a loop to its beginning, and a barrier on
    one branch counts for all. The loops of our kernels go from tile to tile, and their barriers are on every path.
    """
    layouts, array, sources = _layouts(ttgir), {}, {}
    recent, found = [], []
    for line in map(str.strip, ttgir.splitlines()):
        if "tt.func" in line:
            array.update((name, name) for name in ARGUMENT.findall(line))
        elif "iter_args(" in line:
            carried = CARRIED.findall(line.partition("iter_args(")[2].partition(")")[0])
            array.update((inner, array[outer]) for inner, outer in carried if outer in array)
        result, _, operation = line.partition(" = ")
        names = NAME.findall(operation)
        sources[result] = {result}.union(*(sources.get(name, ()) for name in names))
        if derived := DERIVED.search(line):
            array[result] = array.get(derived[1], derived[1])
        if BARRIER.search(line):
            recent = []
        elif access := ACCESS.search(line):
            kind, pointer, value, shape, layout = access.groups()
            this = Access(kind, array.get(pointer, pointer), tuple(map(int, shape.split("x"))), layout, result,
                          value if kind == "store" else "", line)  # fmt: skip
            conflicts = [each for each in recent if each.array == this.array and "store" in (this.kind, each.kind)]
            found += [(each.line, line) for each in conflicts if not _ordered(each, this, sources, layouts)]
            recent.append(this)
    return found


def loose_tickets(ttgir):
    """Returns accesses that no barrier separates from the last atomic operation, which determines the last program.

    That program reads what the others wrote: each thread's writes must come before its program's ticket, and its reads
    after it.
    """
    lines = [line.strip() for line in ttgir.splitlines()]
    ticket = max(place for place, line in enumerate(lines) if "tt.atomic_rmw" in line)
    found = []
    for side, stores_only in ((reversed(lines[:ticket]), True), (iter(lines[ticket + 1 :]), False)):
        for line in side:
            if BARRIER.search(line):
                break
            if "tt.store" in line or "tt.atomic_rmw" in line or (not stores_only and "tt.load" in line):
                found.append(line)
    return found


def _ordered(before, after, sources, layouts):
    """Returns whether no warp can make the second access before another has made the first, even without a barrier."""
    if _replicated(before.layout, before.shape, layouts) or _replicated(after.layout, after.shape, layouts):
        return False
    # The thread that stores an element has loaded it, or received it from the thread that did.
    handed_over = after.kind == "store" and before.result in sources.get(after.value, ())
    return before.layout == after.layout or handed_over


def _layouts(ttgir):
    """Returns elements per thread, threads per warp and warps along each dimension, by name of a layout."""
    found = filter(None, map(BLOCKED.match, ttgir.splitlines()))
    return {match[1]: tuple([int(x) for x in match[place].split(",")] for place in (2, 3, 4)) for match in found}


def _replicated(layout, shape, layouts):
    """Returns whether several warps hold the same element of a tensor; True for an unknown layout."""
    if sliced := SLICE.match(layout):
        place, parent = int(sliced[1]), sliced[2]
        if parent not in layouts:
            return True
        # The parent's warps along the removed dimension all hold the same elements.
        whole = (*shape[:place], 1, *shape[place:])
        return layouts[parent][2][place] > 1 or _replicated(parent, whole, layouts)
    if layout not in layouts:
        return True
    each = zip(*layouts[layout], shape, strict=True)
    return any(warps > 1 and own * threads * warps > size for own, threads, warps, size in each)
