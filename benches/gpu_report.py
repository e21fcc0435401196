"""The table of gpu_check.py."""


def table(found):
    lines = [
        f"{found['card']}; {found['date']}; {found['versions']}; storage {found['storage']}", "",
        "| ESM-2 | dtype | relative L2 | limit | lowest cosine |", "|---|---|---|---|---|",
    ]
    for n in found["numbers"]:
        lines.append(f"| {n['size']} | {n['dtype']} | {n['relative_l2']:.1e} | {n['limit']:.0e} | "
                     f"{n['lowest_cosine']:.6f} |")
    lines += ["", "| ESM-2 | sequences | orders and budgets | alone | with other bits |",
              "|---|---|---|---|---|"]
    for b in found["bits"]:
        lines.append(f"| {b['size']} | {b['sequences']} | {b['orders_and_budgets']} | {b['alone']} | "
                     f"{b['different']} |")
    lines += ["", "| ESM-2 | dtype | tool | residues/s | esm-embed is × as fast |",
              "|---|---|---|---|---|"]
    for s in found["speed"]:
        kind = f"| {s['size']} | {s['dtype']} |"
        ours = s["residues_per_second"]["esm-embed"]
        for name, rate in s["residues_per_second"].items():
            ratio = "" if name == "esm-embed" else f"{ours / rate:.2f}"
            lines.append(f"{kind} {name} | {rate:,.0f} | {ratio} |")
        lines.append(f"{kind} esm-embed less {s['start_seconds']:.1f} s for start and loading | "
                     f"{s['without_start']:,.0f} | |")
        for name, why in s["not_run"].items():
            lines.append(f"{kind} {name} | not run: {why[:80]} | |")
    lines += ["", "Peers have their sequences in memory, write nothing, and also average padding."]
    for failed in found["failed"]:
        lines += ["", f"FAILED: {failed['step']}: {failed['error'][:300]}"]
    if found["left_out"]:
        lines += ["", "Left out for want of time: " + "; ".join(found["left_out"]) + "."]
    return "\n".join(lines) + "\n"
