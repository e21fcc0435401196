"""`open_folder`: arrays by name and id, without reading them."""

import importlib.util
import pickle
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

from esm_embed import EsmEmbedError, open_folder

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
COMMAND = [sys.executable, "-m", "esm_embed", "run"]


def run(folder, fasta, *options):
    """A folder that the command writes."""
    out = Path(folder) / "emb"
    if "--out" not in options:
        options = ("--out", out, *options)
    words = [*COMMAND, fasta, "--model", FIXTURES / "esm2_hd16", "--device", "cpu", *options]
    ran = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return out


class Folders(unittest.TestCase):
    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.home = Path(home.name)

    def fasta(self, text):
        path = self.home / "a.fasta"
        path.write_bytes(text)
        return path

    def test_the_demo(self):
        out = run(self.home, FIXTURES / "demo.fasta", "--layer", "1,2", "--pool", "mean,max")
        emb = open_folder(out)
        means = np.load(out / "mean.layer2.npy")
        self.assertIsInstance(emb.means, np.memmap)
        np.testing.assert_array_equal(emb.means, means, strict=True)
        np.testing.assert_array_equal(emb["peptide_4"], means[3], strict=True)
        np.testing.assert_array_equal(emb["sample/3"], means[2])
        np.testing.assert_array_equal(emb.of("peptide_4", "max.layer1"), np.load(out / "max.layer1.npy")[3])
        self.assertEqual((len(emb), emb.row("masked_8")), (8, 7))
        self.assertEqual(list(emb), list(np.load(out / "ids.npy")))
        self.assertTrue("peptide_4" in emb and "peptide" not in emb and 3 not in emb)
        with self.assertRaises(KeyError):
            emb["peptide"]
        self.assertEqual(
            emb.arrays,
            ["mean.layer1", "max.layer1", "residues.layer1", "mean.layer2", "max.layer2", "residues.layer2"],
        )
        rows = emb.residues("peptide_4")
        self.assertEqual((rows.shape, type(rows)), ((12, 32), np.memmap))
        np.testing.assert_allclose(rows.mean(axis=0), means[3], atol=1e-5)
        self.assertFalse(np.array_equal(emb.residues("peptide_4", 1), rows))
        copy = pickle.loads(pickle.dumps(emb))
        np.testing.assert_array_equal(copy["peptide_4"], means[3])
        self.assertEqual(dict(emb.items()).keys(), set(emb.ids))
        for found, expected in zip(emb.values(), means, strict=True):
            np.testing.assert_array_equal(found, expected)
        with self.assertRaisesRegex(KeyError, "holds no array logits"):
            emb.array("logits")
        with self.assertRaises(ValueError):
            emb.means[0, 0] = 1
        self.assertEqual(repr(emb).split(": ")[1], "8 records of esm2_hd16, " + ", ".join(emb.arrays))

    def test_pandas(self):
        try:
            import pandas
        except ImportError:
            self.skipTest("pandas is not installed")
        emb = open_folder(run(self.home, FIXTURES / "demo.fasta"))
        frame = emb.to_pandas()
        self.assertIsInstance(frame, pandas.DataFrame)
        self.assertEqual((frame.shape, frame.index.name), ((8, 32), "id"))
        np.testing.assert_array_equal(frame.loc["peptide_4"], emb["peptide_4"])
        with self.assertRaisesRegex(ValueError, "more than one row for a record"):
            emb.to_pandas("residues.layer2")

    def test_of_stacked_layers_the_highest_is_used(self):
        options = ("--layer", "0,1,2", "--stack-layers", "--residues", "none")
        emb = open_folder(run(self.home, FIXTURES / "demo.fasta", *options))
        self.assertEqual(emb.arrays, ["mean.layers"])
        stack = np.load(emb.path / "mean.layers.npy")
        self.assertEqual(stack.shape, (8, 3, 32))
        np.testing.assert_array_equal(emb.means, stack[:, 2], strict=True)
        self.assertIsInstance(emb.means, np.memmap)
        np.testing.assert_array_equal(emb["peptide_4"], stack[3, 2], strict=True)
        np.testing.assert_array_equal(emb.of("peptide_4", "mean.layers"), stack[3], strict=True)
        np.testing.assert_array_equal(np.stack(list(emb.values())), stack[:, 2])
        if importlib.util.find_spec("pandas"):
            np.testing.assert_array_equal(emb.to_pandas(), stack[:, 2])

    def test_an_id_that_no_record_has(self):
        path = self.fasta(b">sp|P12345|AATM_RABIT Aspartate\nMKT\n>Q8WZ42\nMKTV\n")
        emb = open_folder(run(self.home, path))
        for id, hint in [
            ("P12345", "there is a record 'sp|P12345|AATM_RABIT'"),
            ("q8wz41", "there is a record 'Q8WZ42'"),
            ("something else", "`ids` has all ids"),
        ]:
            with self.assertRaises(KeyError) as caught:
                emb[id]
            self.assertEqual(str(caught.exception), f"{emb.path} has no record {id!r}; {hint}")
            self.assertEqual(caught.exception.args, (id,))
            self.assertEqual(repr(pickle.loads(pickle.dumps(caught.exception))), f"KeyError({id!r})")
        self.assertEqual((emb.get("P12345"), emb.get("P12345", 3)), (None, 3))
        with self.assertRaisesRegex(TypeError, "^ids are texts, found int: use means"):
            emb[0]
        with self.assertRaises(KeyError) as caught:
            emb.residues("Q8WZ42", 7)
        expected = f"{emb.path} holds no array residues.layer7; it holds mean.layer2, residues.layer2"
        self.assertEqual(str(caught.exception), expected)

    def test_pandas_is_asked_for(self):
        emb = open_folder(run(self.home, self.fasta(b">a\nMK\n")))
        with mock.patch.dict(sys.modules, pandas=None):
            with self.assertRaisesRegex(ImportError, "^to_pandas needs pandas: pip install pandas$"):
                emb.to_pandas()

    def test_files_and_maps(self):
        out = run(self.home, FIXTURES / "demo.fasta", "--residues", "files", "--pool", "none", "--include",
                  "contacts", "--out-dtype", "f16")
        emb = open_folder(out)
        self.assertEqual((emb["sample/3"].shape, emb["sample/3"].dtype), ((58, 32), np.float16))
        self.assertEqual(emb.of("peptide_4", "contacts").shape, (12, 12))
        self.assertEqual([len(rows) for rows in emb.values()], [76, 142, 58, 12, 76, 200, 46, 32])
        with self.assertRaisesRegex(KeyError, "holds no means"):
            emb.means
        with self.assertRaisesRegex(ValueError, "has one file for each record"):
            emb.array("contacts")

    def test_odd_ids(self):
        path = self.fasta(">dup\nMKT\n>dup\nMKTV\n>same\nAG\n>same\nAG\n>\xe9 x\nMK\n>\nMM\n".encode("latin-1"))
        emb = open_folder(run(self.home, path))
        with self.assertRaisesRegex(ValueError, "dup is the id of different sequences, in rows 0, 1"):
            emb["dup"]
        np.testing.assert_array_equal(emb["same"], emb.means[2])
        np.testing.assert_array_equal(emb["\\xe9"], emb.means[4])
        np.testing.assert_array_equal(emb[""], emb.means[5])
        self.assertEqual(len(list(emb.items())), 6)

    def test_ids_without_ids_npy(self):
        out = run(self.home, self.fasta(b">a\nMK\n>" + b"x" * 1025 + b"\nMKT\n"))
        self.assertFalse((out / "ids.npy").exists())
        emb = open_folder(out)
        self.assertEqual(list(emb), ["a", "x" * 1025])
        np.testing.assert_array_equal(emb["x" * 1025], emb.means[1])

    def test_a_linked_folder(self):
        for residues in ("packed", "files"):
            home = self.home / residues
            home.mkdir()
            fasta = self.fasta(b">a\nMKT\n>b\nAG\n>c\nMKTAYIAK\n>a\nMKT\n>d\nW\n>e\nGSHMLE\n")
            options = ("--residues", residues, "--layer", "1,2")
            whole = run(home, fasta, *options)
            for number in (1, 2, 3):
                run(home, fasta, "--shard", f"{number}/3", "--out", home / f"s{number}", *options)
            linked = home / "linked"
            words = [sys.executable, "-m", "esm_embed", "merge", "--link", "--out", linked, "-q"]
            subprocess.run([*words, *(home / f"s{number}" for number in (3, 1, 2))], check=True)
            emb, expected = open_folder(linked), open_folder(whole)
            np.testing.assert_array_equal(emb.means, expected.means, strict=True)
            self.assertEqual((list(emb), emb.arrays), (list(expected), expected.arrays))
            for id in "abcde":
                self.assertEqual(emb.row(id), expected.row(id))
                np.testing.assert_array_equal(emb[id], expected[id], strict=True)
                self.assertIsInstance(emb[id], np.memmap)
                np.testing.assert_array_equal(emb.residues(id, 1), expected.residues(id, 1), strict=True)
            if residues == "packed":
                found = emb.array("residues.layer2")
                np.testing.assert_array_equal(found, expected.array("residues.layer2"), strict=True)
            for found, value in zip(emb.values(), expected.values(), strict=True):
                np.testing.assert_array_equal(found, value)
            self.assertIn("records of esm2_hd16 (shard 2/3), mean", repr(open_folder(home / "s2")))
            (home / "s2").rename(home / "moved")
            with self.assertRaisesRegex(EsmEmbedError, "is not there: the folder was moved or removed"):
                open_folder(linked)

    def test_other_folders_are_refused(self):
        with self.assertRaisesRegex(EsmEmbedError, f"^{re.escape(__file__)} is not a folder\n"):
            open_folder(__file__)
        with self.assertRaisesRegex(EsmEmbedError, "/none does not exist\nhint: give the folder that a run wrote"):
            open_folder(self.home / "none")
        with self.assertRaisesRegex(EsmEmbedError, "has no run.json: it is not an output folder"):
            open_folder(self.home)


if __name__ == "__main__":
    unittest.main()
