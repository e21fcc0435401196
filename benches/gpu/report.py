"""The results of check.py: gpu_check.json, its table, and results of earlier commands."""

import json
import os

# Target on an H100: residues/s, and the ratio to the best peer where that is a target.
TARGETS = {"650M": (300e3, "1.0"), "3B": (88e3, "1.2"), "150M": (950e3, ""), "8M": (4e6, "")}
STAGES = ("checks", "numbers", "bits", "speed")
# Results are kept together only if all of these are equal.
SAME = ("card", "versions", "binary_sha256")
NAME = "gpu_check.json"


class Report:
    """The results of this command and of earlier ones with the same GPU and program."""

    def __init__(self, out, about):
        self.out = out
        empty = {stage: [] for stage in STAGES} | {"left_out": [], "failed": []}
        empty |= {"warnings": {}, "seconds": {}}
        self.found = {**about, **empty, **before(out / NAME, about), "date": about["date"]}

    def begin(self, step):
        """Removes earlier results of a step."""
        for stage in (*STAGES, "failed"):
            self.found[stage] = [entry for entry in self.found[stage] if entry["step"] != step]
        self.found["left_out"] = [left for left in self.found["left_out"] if left != step]

    def leave_out(self, step):
        """Records that a step was skipped, unless an earlier command ran it."""
        entries = (entry for stage in STAGES for entry in self.found[stage])
        if all(entry["step"] != step for entry in entries):
            self.cut(step)

    def cut(self, step):
        """Records that there was no time for the rest of a step."""
        if step not in self.found["left_out"]:
            self.found["left_out"].append(step)
        print(f"skipped, not enough time left: {step}", flush=True)

    def fail(self, step, error):
        said = f"{type(error).__name__}: {error}"
        self.found["failed"].append({"step": step, "error": said})
        print(f"{step} FAILED: {said}", flush=True)

    def warn(self, step, said):
        """Records the standard error of a successful run, each text once."""
        if said.strip():
            steps = self.found["warnings"].setdefault(said.strip(), [])
            steps += [step] if step not in steps else []

    def is_good(self):
        entries = [entry for stage in STAGES for entry in self.found[stage]]
        return not self.found["failed"] and all(entry["good"] is not False for entry in entries)

    def write(self):
        """Writes JSON and table of the results so far."""
        for name, text in ((NAME, json.dumps(self.found, indent=2) + "\n"),
                           ("gpu_check.md", table(self.found))):
            new = self.out / f".{name}"
            new.write_text(text)
            os.replace(new, self.out / name)


def before(path, about):
    """The results of earlier commands; those of another GPU or program are renamed."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        found = {}
    if all(found.get(key) == about[key] for key in SAME):
        return found
    os.replace(path, path.with_suffix(".before.json"))
    return {}


def table(found):
    lines = [f"{found['card']}; {found['date']}; {found['versions']}", ""]
    for part in (checks, numbers, bits, speed):
        rows = part(found)
        lines += [*rows, ""] if len(rows) > 2 else []
    for failed in found["failed"]:
        lines += [f"FAILED: {failed['step']}: {failed['error'][:300]}", ""]
    if found["left_out"]:
        lines += ["Skipped or cut for lack of time: " + "; ".join(found["left_out"]) + ".", ""]
    return "\n".join(lines)


def mark(good):
    return "yes" if good else "**no**"


def checks(found):
    lines = ["| check | as expected |", "|---|---|"]
    judged = [check for check in found["checks"] if check["good"] is not None]
    return lines + [f"| {check['what']} | {mark(check['good'])} |" for check in judged]


def numbers(found):
    lines = ["| ESM-2 | dtype | relative L2 | limit | lowest cosine | limit | in bf16 | ok |",
             "|---|---|---|---|---|---|---|---|"]
    for n in found["numbers"]:
        lines.append(
            f"| {n['size']} | {n['dtype']} | {n['relative_l2']:.1e} | {n['limit']:.1e} | "
            f"{n['lowest_cosine']:.6f} | {n['least_cosine']} | {n['in_bf16']} | {mark(n['good'])} |"
        )
    return lines


def bits(found):
    lines = ["| ESM-2 | dtype | sequences | orders and budgets | also alone | "
             "different | shared passes | ok |", "|---|---|---|---|---|---|---|---|"]
    for b in found["bits"]:
        lines.append(
            f"| {b['size']} | {b['dtype']} | {b['sequences']:,} | {b['orders_and_budgets']} | "
            f"{b['alone']:,} | {b['different']} | {mark(b['same_bits_in_any_batch'])} | "
            f"{mark(b['good'])} |"
        )
    halves = [b for b in found["bits"] if b.get("half_different") is not None]
    if halves:
        said = (f"{b['half_different']} of {b['sequences']:,} ({b['size']})" for b in halves)
        lines += ["", "Records whose rows with `--out-dtype f16` are not the rounded f32 rows: "
                  + ", ".join(said) + "."]
    return lines


def speed(found):
    lines = ["| ESM-2 | dtype | tool | rounds | residues/s | target | esm-embed is × as fast | "
             "target |", "|---|---|---|---|---|---|---|---|"]
    for s in found["speed"]:
        kind, rates = f"| {s['size']} | {s['dtype']} |", s["residues_per_second"]
        ours = rates.get("esm-embed")
        rate, ratio = TARGETS[s["size"]]
        for name, found_rate in rates.items():
            row = f"{kind} {name} | {len(s['rounds'][name])} | {found_rate:,.0f} |"
            if name == "esm-embed":
                best = f"{s['ratio']:.2f}, best peer" if s["ratio"] else ""
                lines.append(f"{row} {rate:,.0f} | {best} | {ratio} |")
            else:
                lines.append(f"{row} | {f'{ours / found_rate:.2f}' if ours else ''} | |")
        if s["without_start"]:
            less = f"esm-embed without {s['start_seconds']:.1f} s of start and loading"
            lines.append(f"{kind} {less} | | {s['without_start']:,.0f} | | | |")
        if s["in_bf16"] or not s["same_bits_in_any_batch"]:
            shared = mark(s["same_bits_in_any_batch"])
            lines.append(f"{kind} esm-embed: records in bf16 {s['in_bf16']:,}, shared passes "
                         f"{shared} | | | | | |")
        for name, why in s["not_run"].items():
            said = " ".join(why.split()).replace("|", "/")[:80]
            lines.append(f"{kind} {name} | not run: {said} | | | | |")
    storages = ", ".join(sorted({s["storage"] for s in found["speed"]}))
    lines += ["", f"esm-embed: whole processes that write to {storages}. Peers have model and "
              "sequences in memory, write nothing, and average over padding too."]
    return lines if found["speed"] else []
