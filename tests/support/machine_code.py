"""Reads the machine code of a kernel, and finds faults of its barriers over all blocks.

PTX is not enough: the assembler has deleted a polling loop that PTX still had. Names are those of SASS: BAR is
__syncthreads, RED and ATOM an atomic operation, MEMBAR the fence that a release adds before it, LDG.STRONG a load that
bypasses the first-level cache, CCTL.IVALL the invalidation that an acquire adds after its load.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass

LINE = re.compile(r"^\s+/\*([0-9a-f]+)\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?);")
FUNCTION = re.compile(r"Function : (\S+)")
STRONG_LOAD = re.compile(r"LDG\.\S*STRONG\.(GPU|SYS)")
TARGET = re.compile(r"\b0x([0-9a-f]+)\b")


@dataclass(frozen=True)
class Instruction:
    """One instruction: its address, its name with modifiers, and its operands."""

    address: int
    name: str
    operands: str

    def begins(self, *names: str) -> bool:
        return self.name.split(".")[0] in names

    @property
    def strong_load(self) -> bool:
        return bool(STRONG_LOAD.match(self.name))

    @property
    def target(self) -> int | None:
        """Target address of a branch."""
        found = TARGET.search(self.operands) if self.begins("BRA") else None
        return int(found[1], 16) if found else None


def instructions(cubin: bytes, kernel: str, cuobjdump: str) -> list[Instruction]:
    """Returns the instructions of a kernel, in the order of their addresses."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run([cuobjdump, "--dump-sass", file.name], check=True, capture_output=True, text=True).stdout
    name, found = "", []
    for line in told.splitlines():
        if function := FUNCTION.search(line):
            name = function[1]
        elif name == kernel and (code := LINE.match(line)):
            found.append(Instruction(int(code[1], 16), code[3], code[4]))
    return found


def barriers(code: list[Instruction]) -> list[tuple[int, list[str]]]:
    """Returns address and faults of each barrier over all blocks: each RED, and each ATOM that a MEMBAR precedes."""
    found = []
    for place, instruction in enumerate(code):
        last = max((p for p in range(place) if code[p].begins("BAR")), default=0)
        before = code[last + 1 : place]
        released = any(other.begins("MEMBAR") and "GPU" in other.name for other in before)
        if instruction.begins("RED", "REDG") or (instruction.begins("ATOM", "ATOMG") and released):
            found.append((instruction.address, _faults(code, place, before, released)))
    return found


def _faults(code: list[Instruction], place: int, before: list[Instruction], released: bool) -> list[str]:
    end = next((p for p in range(place, len(code)) if code[p].begins("BAR")), len(code))
    between = code[place + 1 : end]
    faults = []
    if not released:
        faults.append("the arrival is no release: no MEMBAR of gpu scope before it")
    if any(other.begins("STG", "ST", "RED", "REDG") for other in before):
        faults.append("no BAR between what the block writes and its arrival")
    if any(other.begins("CALL") for other in before):
        faults.append("a CALL on the way to the arrival")
    if end == len(code):
        faults.append("no BAR after the arrival")
    loads = [other for other in between if other.strong_load]
    polling = [(load, back) for load in loads for back in between if _spans(back, load, code[place].address)]
    if not polling:
        return [*faults, "no strong load in a loop between the arrival and the next BAR"]
    load, back = polling[0]
    waits = [other for other in between if load.address <= other.address]
    if not any(other.name == "CCTL.IVALL" for other in waits if other.address <= back.address):
        faults.append("the polling load is no acquire: no CCTL.IVALL in its loop")
    if len(loads) > 1:
        faults.append("a load of what other blocks wrote stands before the end of the barrier")
    if any(other.begins("CALL") for other in waits):
        faults.append("a CALL while the block waits")
    return faults


def _spans(branch: Instruction, load: Instruction, arrival: int) -> bool:
    """Returns whether a branch closes a loop around a load, and that loop begins after the arrival."""
    target = branch.target
    return target is not None and arrival < target <= load.address < branch.address
