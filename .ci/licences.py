#!/usr/bin/env python3
"""Prints the licences of everything that is compiled in, with their texts: `.ci/licences.py TARGET [PACKAGE]`.

PACKAGE is one of this workspace (esm-embed). Reads what cargo has downloaded. Texts that several packages share are printed once.
"""

import json
import subprocess
import sys
from pathlib import Path

NAMES = ("license", "licence", "copying", "notice", "unlicense")


def cargo(*words):
    return subprocess.run(["cargo", *words], check=True, capture_output=True, text=True).stdout


def texts(folder):
    """The licence files of a package."""
    files = (file for file in sorted(folder.iterdir()) if file.name.lower().startswith(NAMES))
    found = (file.read_text(errors="replace").strip() for file in files if file.is_file())
    return tuple(text for text in found if text)


def main():
    target, package = (*sys.argv[1:], "esm-embed")[:2]
    tree = cargo(
        "tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}",
        "--target", target,
    )
    compiled = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    shared = {}
    for package in metadata["packages"]:
        named = (package["name"], f"v{package['version']}")
        if package["source"] is None or named not in compiled:
            continue
        folder = Path(package["manifest_path"]).parent
        title = f"{package['name']} {package['version']}: {package['license'] or 'see its licence file'}"
        shared.setdefault(texts(folder), []).append(title)
    if not shared:
        sys.exit("no packages were found")
    for licence, titles in sorted(shared.items(), key=lambda pair: pair[1][0]):
        print("=" * 80, *sorted(titles), sep="\n", end="\n\n")
        print(*(licence or ("(no licence file; the text of its licence is at https://spdx.org/licenses)",)), sep="\n\n")
        print()


if __name__ == "__main__":
    main()
