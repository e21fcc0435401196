#!/usr/bin/env python3
"""Compares the maps of `plot map` with umap-learn's, and its principal components with NumPy's.

    pip install umap-learn scikit-learn pandas
    benches/map_quality.py DIR [DIR ...]        # DIR: an output folder; DIR-map: its map

For each folder: the part of the variance in the first three components, with the largest relative
difference to NumPy's SVD; and the trustworthiness (k = 15) of both 2-D maps of the same 50 components,
with their ratio. The time grows with the square of the number of records.
"""
import json
import pathlib
import sys

import numpy as np
import pandas
import umap
from sklearn.manifold import trustworthiness


def main():
    for folder in map(pathlib.Path, sys.argv[1:]):
        folder = folder.resolve()
        page = (folder.with_name(folder.name + "-map") / "map.html").read_text()
        data = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
        table = pandas.read_csv(folder.with_name(folder.name + "-map") / "map.tsv", sep="\t", quoting=3)
        rows = np.load(folder / f"{data['array']}.npy").astype("f8")
        centred = rows - rows.mean(0)
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        expected = values[:3] ** 2 / (values**2).sum()
        difference = np.max(np.abs(np.array(data["explained"]) / expected - 1))
        components = (left * values)[:, :50]
        theirs = umap.UMAP(n_neighbors=data["neighbours"], random_state=0).fit_transform(components)
        ours = table[["umap2_1", "umap2_2"]].to_numpy()
        a, b = (trustworthiness(rows, found, n_neighbors=15) for found in (ours, theirs))
        print(f"{folder.name}: {len(rows):,} records; explained variance {expected.round(4)}, "
              f"relative difference {difference:.1e}; trustworthiness {a:.4f}, umap-learn {b:.4f}, "
              f"ratio {a / b:.4f}")


if __name__ == "__main__":
    main()
