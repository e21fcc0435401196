"""Sums the kernel times that ncu measured: timeline.py NCU.csv

Prints for each kernel and grid the number of launches, the time, the share of the total time, and the
memory traffic in GB/s. Matrix products of all shapes have the same name.
"""

import csv
import sys
from collections import defaultdict


def main():
    with open(sys.argv[1], newline="") as file:
        # Output of the program itself comes before that of ncu.
        rows = [row for row in csv.reader(file) if len(row) > 10]
    names, values = rows[0], rows[2:]
    at = {what: names.index(what) for what in
          ("Kernel Name", "Grid Size", "gpu__time_duration.sum", "dram__bytes.sum")}
    found = defaultdict(lambda: [0, 0.0, 0.0])
    for row in values:
        number = lambda what: float(row[at[what]].replace(",", ""))
        entry = found[row[at["Kernel Name"]], row[at["Grid Size"]]]
        entry[0] += 1
        entry[1] += number("gpu__time_duration.sum")
        entry[2] += number("dram__bytes.sum")
    all_time = sum(entry[1] for entry in found.values())
    print("| kernel | grid | launches | ms | share | GB/s of memory |")
    print("|---|---|---|---|---|---|")
    for (kernel, grid), (count, ns, moved) in sorted(found.items(), key=lambda f: -f[1][1]):
        print(f"| {kernel[:60]} | {grid} | {count:,} | {ns / 1e6:.2f} | {ns / all_time:.1%} | "
              f"{moved / ns:,.0f} |")
    print(f"\ntotal: {all_time / 1e6:.1f} ms")


if __name__ == "__main__":
    main()
