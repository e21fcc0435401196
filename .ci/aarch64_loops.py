"""Counts the instructions in the inner loops of the kernels of an aarch64 program.

    aarch64-linux-gnu-objdump -d -C --no-show-raw-insn PROGRAM | python3 .ci/aarch64_loops.py

Prints every innermost loop with multiply-adds in the functions of `esm_embed::ops`: vector
multiply-adds (FMLA of four lanes), scalar ones (FMADD), loads of 128-bit and of 32-bit registers, and
uses of the stack. Exit status 1 if one of them has a scalar multiply-add, or if there is no loop of a
full tile: 24 FMLA in a step, without the stack.
"""

import re
import sys

HEADING = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^ +([0-9a-f]+):\s+(\S+)\s*(.*)$")
BRANCH = re.compile(r"^(?:b\.\w+|cbn?z|tbn?z|b)$")


def functions(lines):
    """Name and instructions (address, operation, operands) of each function."""
    name, body = None, []
    for text in lines:
        if heading := HEADING.match(text):
            yield name, body
            name, body = heading[1], []
        elif instruction := INSTRUCTION.match(text):
            body.append((int(instruction[1], 16), instruction[2], instruction[3]))
    yield name, body


def innermost(body):
    """The instructions of each loop that contains no other loop."""
    at = {address: i for i, (address, _, _) in enumerate(body)}
    loops = []
    for i, (_, operation, operands) in enumerate(body):
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if BRANCH.match(operation) and target:
            start = at.get(int(target[1], 16), i + 1)
            if start <= i:
                loops.append((start, i))
    for start, end in loops:
        if not any((a, b) != (start, end) and start <= a and b <= end for a, b in loops):
            yield body[start : end + 1]


def count(loop):
    """Instructions of each kind in the loop."""
    kinds = dict.fromkeys(("all", "fmla", "fmadd", "vector loads", "scalar loads", "stack"), 0)
    for _, operation, operands in loop:
        kinds["all"] += 1
        kinds["fmla"] += operation == "fmla" and ".4s" in operands
        kinds["fmadd"] += operation == "fmadd"
        if operation in ("ldr", "ldur", "ldp"):
            registers = 2 if operation == "ldp" else 1
            kinds["vector loads"] += registers * operands.startswith("q")
            kinds["scalar loads"] += registers * operands.startswith("s")
        kinds["scalar loads"] += operation == "ld1r"
        kinds["stack"] += "[sp" in operands or "[x29" in operands
    return kinds


def main():
    found = {}
    for name, body in functions(sys.stdin):
        if name is None or "esm_embed::ops::" not in name:
            continue
        for loop in innermost(body):
            kinds = count(loop)
            if kinds["fmla"] + kinds["fmadd"]:
                key = tuple(kinds.values())
                found[key] = found.get(key, 0) + 1
    print("instructions  fmla  fmadd  vector loads  scalar loads  stack  such loops")
    for (total, *others), times in sorted(found.items(), reverse=True):
        print("{:12}  {:4}  {:5}  {:12}  {:12}  {:5}  {:10}".format(total, *others, times))
    if any(fmadd for _, _, fmadd, *_ in found):
        sys.exit("the inner loop of a kernel is scalar")
    if not any(fmla == 24 and stack == 0 for _, fmla, _, _, _, stack in found):
        sys.exit("no inner loop keeps the sums of a full tile in registers")


if __name__ == "__main__":
    main()
