"""`Embedder` and its streams: the bits of the command, and what is refused."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

from esm_embed import Embedder, EsmEmbedError, __version__

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODEL = FIXTURES / "esm2_hd16"
DEMO = FIXTURES / "demo.fasta"
COMMAND = [sys.executable, "-m", "esm_embed"]


def command(*words, **how):
    """Runs the command of the package."""
    words = [str(word) for word in words]
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, **how)


def records():
    """The ids and sequences of the demo; `<mask>` holds a `>` too."""
    blocks = ("\n" + DEMO.read_text()).split("\n>")[1:]
    pairs = (block.partition("\n") for block in blocks)
    return [(header.split()[0], sequence) for header, _, sequence in pairs]


class SameBits(unittest.TestCase):
    """Every number is that of a file that the command writes."""

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.home.cleanup)
        cls.emb = Path(cls.home.name) / "emb"
        ran = command(
            "run", DEMO, "--model", MODEL, "--out", cls.emb, "--layer", "1,last", "--pool", "mean,bos,max",
            "--include", "logits,contacts", "--device", "cpu",
        )
        assert ran.returncode == 0, ran.stderr
        cls.model = Embedder(MODEL, device="cpu", threads=3)
        cls.ids, cls.sequences = zip(*records())
        cls.lengths = [int(line.split("\t")[2]) for line in (cls.emb / "index.tsv").read_text().splitlines()[1:]]

    def array(self, name):
        return np.load(self.emb / f"{name}.npy")

    def rows(self, name):
        ends = np.cumsum(self.lengths)
        return np.split(self.array(name), ends[:-1])

    def test_embed(self):
        for layer, index in ((-1, 2), (2, 2), (1, 1)):
            for pool in ("mean", "bos", "max"):
                found = self.model.embed(self.sequences, layer, pool)
                self.assertEqual(found.dtype, np.float32)
                np.testing.assert_array_equal(found, self.array(f"{pool}.layer{index}"), strict=True)
        np.testing.assert_array_equal(
            self.model.embed(self.sequences, pool="cls"), self.array("bos.layer2")
        )
        one_by_one = np.vstack([self.model.embed([sequence]) for sequence in self.sequences])
        np.testing.assert_array_equal(one_by_one, self.array("mean.layer2"))

    def test_residues(self):
        found = self.model.embed(iter(self.sequences), pool=None)
        for rows, expected in zip(found, self.rows("residues.layer2"), strict=True):
            np.testing.assert_array_equal(rows, expected, strict=True)

    def test_stream(self):
        found = list(self.model.stream(str(DEMO), residues=True))
        self.assertEqual([one.id for one in found], list(self.ids))
        self.assertEqual([one.length for one in found], self.lengths)
        self.assertEqual(found[2].description, "a slash in the identifier")
        np.testing.assert_array_equal(np.stack([one.mean for one in found]), self.array("mean.layer2"))
        rows = np.concatenate([one.residues for one in found])
        np.testing.assert_array_equal(rows, self.array("residues.layer2"), strict=True)
        twice = [one.id for one in self.model.stream([DEMO, DEMO], pool="max")]
        self.assertEqual(twice, [*self.ids, *self.ids])
        rows = [one.residues for one in self.model.stream(DEMO, 1, None, residues=True)]
        np.testing.assert_array_equal(np.concatenate(rows), self.array("residues.layer1"))

    def test_logits_and_contacts(self):
        for sequence, expected, id in zip(self.sequences, self.rows("logits"), self.ids):
            np.testing.assert_array_equal(self.model.logits(sequence), expected, strict=True)
        found = self.model.contacts(self.sequences[3])
        expected = np.load(self.emb / "contacts" / "000000" / f"{self.ids[3]}.npy")
        np.testing.assert_array_equal(found, expected, strict=True)
        self.assertEqual(len(self.model.letters), 33)

    def test_score(self):
        folder = Path(self.home.name)
        sequence = self.sequences[3].strip()
        self.assertTrue(sequence.startswith("LKKND"))
        variants = ["L1A", "K2G:D5E", "N4W"]
        (folder / "p.fasta").write_text(f">p\n{sequence}\n")
        (folder / "v.csv").write_text("mutant\n" + "\n".join(variants) + "\n")
        for method in ("masked-marginals", "wt-marginals", "pll", "pll-unmasked"):
            out = folder / f"{method}.csv"
            ran = command(
                "score", folder / "p.fasta", "--variants", folder / "v.csv", "--out", out, "--model", MODEL,
                "--method", method, "--device", "cpu",
            )
            self.assertEqual(ran.returncode, 0, ran.stderr)
            expected = [line.split(",")[1] for line in out.read_text().splitlines()[1:]]
            found = self.model.score(sequence, variants, method=method)
            self.assertEqual(found.dtype, np.float64)
            self.assertEqual([f"{score:.6f}" for score in found], expected)
        shifted = self.model.score(sequence, ["L24A"], offset=24)
        np.testing.assert_array_equal(shifted, self.model.score(sequence, ["L1A"]))

    def test_threads_may_share_a_model(self):
        expected, found = self.model.embed(self.sequences), [None] * 4

        def work(at):
            found[at] = self.model.embed(self.sequences)

        threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in found:
            np.testing.assert_array_equal(one, expected)
        # A stream does not keep others from computing.
        for record in self.model.stream(DEMO):
            np.testing.assert_array_equal(self.model.embed([self.sequences[0]])[0], expected[0])


class Adapters(unittest.TestCase):
    """LoRA: on a given base, on the base that it names, as the model, and from the cache of the Hub."""

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.home.cleanup)
        home = Path(cls.home.name)
        cls.adapter = cls.copy(home / "adapter", MODEL)
        # The cache of the Hub, as a download leaves it.
        cls.repository("base", lambda folder: shutil.copytree(MODEL, folder))
        cls.repository("adapter", lambda folder: cls.copy(folder, "lab/base"))
        cls.sequence = "MKTVRQERLKSIVRILERSKEPVSGAQLA"
        (home / "a.fasta").write_text(f">a\n{cls.sequence}\n")
        (home / "v.csv").write_text("mutant\nK2A\n")
        for out, words in {"adapted": ["--adapter", cls.adapter], "plain": []}.items():
            ran = command(
                "run", "a.fasta", "--model", MODEL, *words, "--out", out, "--include", "logits,contacts",
                "--residues", "packed", "--device", "cpu", cwd=home,
            )
            assert ran.returncode == 0, ran.stderr
        ran = command(
            "score", "a.fasta", "--variants", "v.csv", "--out", "s.csv", "--model", MODEL,
            "--adapter", cls.adapter, "--device", "cpu", cwd=home,
        )
        assert ran.returncode == 0, ran.stderr
        cls.score = (home / "s.csv").read_text().splitlines()[1].split(",")[1]

    @classmethod
    def copy(cls, folder, base):
        """The adapter of a fixture with another name of its base."""
        shutil.copytree(FIXTURES / "adapters" / "one_layer", folder)
        config = folder / "adapter_config.json"
        named = json.loads(config.read_text()) | {"base_model_name_or_path": str(base)}
        config.write_text(json.dumps(named))
        return folder

    @classmethod
    def repository(cls, name, write):
        commit = "c" * 40
        folder = Path(cls.home.name) / "hf" / "hub" / f"models--lab--{name}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        (folder / "snapshots").mkdir()
        write(folder / "snapshots" / commit)

    def array(self, name, out="adapted"):
        return np.load(Path(self.home.name) / out / f"{name}.npy")

    def cache(self):
        settings = {"HF_HOME": str(Path(self.home.name) / "hf"), "HF_HUB_OFFLINE": "1"}
        return mock.patch.dict(os.environ, settings)

    def check(self, *words, **settings):
        model = Embedder(*words, device="cpu", **settings)
        found = model.embed([self.sequence])
        np.testing.assert_array_equal(found, self.array("mean.layer2"))
        self.assertGreater(np.abs(found - self.array("mean.layer2", "plain")).max(), 0.01)
        [rows] = model.embed([self.sequence], pool=None)
        np.testing.assert_array_equal(rows, self.array("residues.layer2"))
        np.testing.assert_array_equal(model.logits(self.sequence), self.array("logits"))
        np.testing.assert_array_equal(model.contacts(self.sequence), self.array("contacts/000000/a"))
        [record] = model.stream(Path(self.home.name) / "a.fasta")
        np.testing.assert_array_equal(record.mean, found[0])
        [score] = model.score(self.sequence, ["K2A"])
        self.assertEqual(f"{score:.6f}", self.score)
        return model

    def test_on_a_given_base(self):
        for adapter in (self.adapter, str(self.adapter), self.adapter / "adapter_model.safetensors"):
            model = self.check(MODEL, adapter=adapter)
            self.assertEqual(model.model, str(MODEL))
            self.assertIn(f'Embedder("{MODEL}", adapter="{adapter}", device="cpu"', repr(model))
            with self.assertRaises(TypeError) as caught:
                pickle.dumps(model)
            self.assertIn(f'with Embedder("{MODEL}", adapter="{adapter}")', str(caught.exception))

    def test_on_the_base_that_it_names_and_as_the_model(self):
        self.assertEqual(self.check(adapter=self.adapter).model, str(MODEL))
        self.assertEqual(self.check(self.adapter).model, str(self.adapter))

    def test_of_the_hub(self):
        with self.cache():
            self.assertEqual(self.check(adapter="lab/adapter").model, "lab/base")
            self.assertEqual(self.check("lab/adapter").model, "lab/adapter")
            self.check("lab/base", adapter="lab/adapter")
            self.check("lab/base", adapter=self.copy(Path(self.home.name) / "copy", "lab/base"))

    def test_another_base_is_a_warning(self):
        other = self.copy(Path(self.home.name) / "other", "lab/else")
        with self.assertWarnsRegex(UserWarning, f"{other}: this adapter was trained on lab/else, not on "):
            self.check(MODEL, adapter=other)

    def refused(self, text, *words, **settings):
        with self.assertRaises((EsmEmbedError, ValueError)) as caught:
            Embedder(*words, device="cpu", **settings)
        self.assertIn(text, str(caught.exception))

    def test_refusals(self):
        self.refused("its use_dora makes it DoRA", MODEL, adapter=FIXTURES / "adapters" / "dora")
        self.refused("is not an adapter: it has no adapter_config.json", MODEL, adapter=MODEL)
        self.refused("adaptre: no such file or folder", MODEL, adapter="adaptre")
        self.refused("the adapter does not fit the model", FIXTURES / "esm2_hd24", adapter=self.adapter)
        with self.cache():
            self.refused("if lab/adaptre is meant as a path, check it: no such path exists", MODEL,
                         adapter="lab/adaptre")
            self.refused("use its path as `adapter`", MODEL, adapter="lab/adaptre")
        nameless = self.copy(Path(self.home.name) / "nameless", "")
        self.refused("the adapter does not name its base model", adapter=nameless)
        self.check(MODEL, adapter=nameless)


class Arrays(unittest.TestCase):
    def test_shapes_at_the_edges(self):
        model = Embedder(MODEL, device="cpu")
        self.assertEqual(model.embed([]).shape, (0, 32))
        self.assertEqual(model.embed([], pool=None), [])
        self.assertEqual(model.embed(["M"], pool=None)[0].shape, (1, 32))
        self.assertEqual(model.logits("M").shape, (1, 33))
        self.assertEqual(model.contacts("M").shape, (1, 1))
        self.assertEqual(model.score("MK", []).shape, (0,))
        spaced = model.embed(["MK\nTV RQ\t", b"MKTVRQ"])
        np.testing.assert_array_equal(spaced[0], spaced[1])
        found = model.embed(["MKTV"])
        self.assertTrue(found.flags.writeable and found.flags.c_contiguous)

    def test_iterables_are_taken_as_lists(self):
        model = Embedder(MODEL, device="cpu")
        sequences = ["MKTV", "ag"]
        expected = model.embed(sequences)
        for given in (tuple(sequences), np.array(sequences), (one for one in sequences), [b"MKTV", np.str_("ag")]):
            np.testing.assert_array_equal(model.embed(given, np.int64(-1)), expected)
        expected = model.score("MKTV", ["M1A", "K2G"])
        for given in (("M1A", "K2G"), np.array(["M1A", "K2G"]), iter(["M1A", "K2G"])):
            np.testing.assert_array_equal(model.score("MKTV", given), expected)
        ids = [one.id for one in model.stream(path for path in [DEMO, str(DEMO)])]
        self.assertEqual(len(ids), 16)

    def test_properties(self):
        model = Embedder(str(MODEL), "cpu", "f16")
        self.assertEqual((model.layers, model.dim, model.device, model.dtype), (2, 32, "cpu", "f16"))
        self.assertEqual(repr(model), f'Embedder("{MODEL}", device="cpu", dtype="f16")')
        half, single = model.embed(["MKTVRQ"]), Embedder(MODEL, "cpu").embed(["MKTVRQ"])
        self.assertFalse(np.array_equal(half, single))
        np.testing.assert_allclose(half, single, atol=5e-3)

    def test_progress(self):
        model = Embedder(MODEL, device="cpu")
        steps = []
        model.embed(["MKTV"] * 5, progress=steps.append)
        self.assertEqual(sum(steps), 5)

        class Bar:
            n = 0

            def update(self, n):
                self.n += n

        bar = Bar()
        model.embed(["MKTV"] * 7, progress=bar)
        self.assertEqual(bar.n, 7)
        steps.clear()
        model.score("MKTV", ["M1A", "K2A"], progress=steps.append)
        self.assertGreaterEqual(sum(steps), 2)

        def refuse(_):
            raise LookupError("no more")

        with self.assertRaisesRegex(LookupError, "no more"):
            model.embed(["MKTV"], progress=refuse)


class Refusals(unittest.TestCase):
    def setUp(self):
        self.model = Embedder(MODEL, device="cpu")

    def says(self, kind, text, call, *words, **settings):
        with self.assertRaises(kind) as caught:
            call(*words, **settings)
        self.assertEqual(str(caught.exception).splitlines()[0], text)

    def test_settings_are_named_as_arguments(self):
        says = lambda text, *words, **how: self.says(ValueError, text, Embedder, *words, **how)
        says("`device=tpu`: expected auto, cpu, cuda, cuda:0, cuda:0,1 or all", MODEL, "tpu")
        says("`dtype=f64`: expected f32, f16, bf16 or tf32", MODEL, "cpu", "f64")
        says("`gaps=x`: expected keep or drop", MODEL, gaps="x")
        for threads in (0, -2):
            says(f"`threads={threads}`: expected a number from 1", MODEL, threads=threads)
        says("no model is called `none-of-them`, and no such path exists", "none-of-them")
        layers = "`layer=3`: this model has layers 0 to 2 (or -3 to -1, counted from the end)"
        self.says(ValueError, layers, self.model.embed, ["MK"], 3)
        self.says(ValueError, layers, self.model.stream, DEMO, 3)
        self.says(ValueError, "`pool=none`: expected mean, bos or max", self.model.embed, ["MK"], pool="none")
        self.says(
            EsmEmbedError,
            "`dtype=tf32` is a number format of GPUs, and the CPU would compute",
            Embedder, MODEL, "cpu", "tf32",
        )

    def test_sequences_are_named(self):
        says = lambda text, *words: self.says(ValueError, text, self.model.embed, *words)
        says("sequences[1]: the sequence is empty", ["MK", " ", ""])
        long = Embedder(MODEL, device="cpu", long="error").embed
        self.says(ValueError, "sequences[1]: the sequence has 1,023 residues, more than the limit of 1,022",
                  long, ["M", "M" * 1023])
        strict = Embedder(MODEL, device="cpu", unknown="error").embed
        with self.assertRaisesRegex(ValueError, r"^sequences\[0\]: "):
            strict(["MKJ"])
        self.says(TypeError, 'sequences is a single text: give a list of sequences, such as ["MKTVRQERLK"]',
                  self.model.embed, "MKTV")
        self.says(TypeError, "sequences[1]: expected a str, found int", self.model.embed, ["MK", 3])
        self.says(TypeError, "sequences[2]: expected a str, found float", self.model.embed,
                  ["MK", "AG", float("nan")])
        with self.assertRaisesRegex(ValueError, r"^sequences\[0\]: not valid Unicode: "):
            self.model.embed(["\ud800"])
        self.says(TypeError, "sequence: expected a str, found list", self.model.logits, ["MK"])
        self.says(TypeError, "variants[1]: expected a str, found int", self.model.score, "MK", ["M1A", 2])
        self.says(TypeError, "sequences is a dict: give its values, such as list(sequences.values())",
                  self.model.embed, {"a": "MK"})
        self.says(ValueError, "variants[1]: expected K at position 2, which is what the sequence has there, "
                  "found A in A2G", self.model.score, "MK", ["M1A", "A2G"])
        self.says(TypeError, 'variants is a str: give a list of them, such as ["A42G"]',
                  self.model.score, "MK", "M1A")
        with self.assertWarnsRegex(UserWarning, r"1 sequence looks like .*sequences\[1\]"):
            self.model.embed(["MKTV", "ACGT" * 30])
        with self.assertWarnsRegex(UserWarning, r"^2 characters are not in the alphabet .*sequences\[1\]$"):
            self.model.embed(["MKTV", "MK1", "M?"])

    def test_streams(self):
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / "a.fasta"
            path.write_text(">a\nMK\n>b\n\n>c\nMKT\n")
            place = f"{path}, line 3, record 2 (b): the sequence is empty"
            self.says(ValueError, place, lambda: list(self.model.stream(path)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                ids = [one.id for one in self.model.stream(path, on_invalid="skip")]
            self.assertEqual(ids, ["a", "c"])
            self.assertEqual([str(one.message) for one in caught], [f"{place}; the record is left out"])
            missing = Path(home) / "missing.fasta"
            self.says(ValueError, f"{missing}: cannot be opened: No such file or directory (os error 2)",
                      lambda: list(self.model.stream(missing)))
        self.says(TypeError, "fasta: expected a path or a list of paths, found int", self.model.stream, 3)
        self.says(TypeError, "fasta: expected a path or a list of paths, found bytes", self.model.stream, b"x")
        self.says(ValueError, "fasta is an empty list of paths", self.model.stream, [])
        record = next(self.model.stream(DEMO))
        with self.assertRaisesRegex(AttributeError, "use `residues=True`"):
            record.residues
        with self.assertRaisesRegex(AttributeError, "use `pool=bos`"):
            record.bos
        with self.model.stream(DEMO) as stream:
            next(stream)
        self.assertEqual(list(stream), [])

    def test_many_records_are_left_out(self):
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / "a.fasta"
            path.write_text(">x\n\n" * 100_000 + ">a\nMK\n")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ids = [one.id for one in self.model.stream(path, on_invalid="skip")]
            self.assertEqual(ids, ["a"])
            # A warning that is made an exception ends nothing.
            path.write_text(">x\n\n>a\nMK\n")
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                stream = self.model.stream(path, on_invalid="skip")
                with self.assertRaisesRegex(UserWarning, "the sequence is empty"):
                    next(stream)
                self.assertEqual([one.id for one in stream], ["a"])

    def test_a_stream_in_two_threads(self):
        with tempfile.TemporaryDirectory() as home:
            # Nothing comes until the other end is opened.
            path = Path(home) / "pipe"
            os.mkfifo(path)
            stream = self.model.stream(path)
            found, errors = [], []

            def take():
                try:
                    found.extend(one.id for one in stream)
                except ValueError as error:
                    errors.append(str(error))

            threads = [threading.Thread(target=take) for _ in range(2)]
            for thread in threads:
                thread.start()
            while all(thread.is_alive() for thread in threads):
                time.sleep(0.01)
            path.write_text(">a\nMK\n>b\nAG\n")
            for thread in threads:
                thread.join()
            self.assertEqual(found, ["a", "b"])
            self.assertEqual(len(errors), 1)
            self.assertRegex(errors[0], "^another thread is waiting for the next record of this stream")
            # Closing it ends the wait.
            stream = self.model.stream(path)
            ended = []
            thread = threading.Thread(target=lambda: ended.append(list(stream)), daemon=True)
            thread.start()
            time.sleep(0.2)
            stream.close()
            thread.join(60)
            self.assertEqual(ended, [[]])

    def test_what_a_checkpoint_lacks(self):
        headless = Embedder(FIXTURES / "esm2_hd16_noprefix", device="cpu")
        with self.assertRaisesRegex(EsmEmbedError, "head"):
            headless.logits("MK")
        with self.assertRaisesRegex(EsmEmbedError, "contact") as raised:
            Embedder(FIXTURES / "fair_esm" / "esm2_hd24.pt", device="cpu").contacts("MK")
        # What only the command has is not offered.
        self.assertNotIn("include", str(raised.exception))

    def test_pairs_of_saprot(self):
        model = Embedder(FIXTURES / "saprot_hd16", device="cpu")
        self.assertEqual(model.embed(["M#EvVp", "##"]).shape, (2, 32))
        self.assertEqual(model.logits("M#Ev").shape, (2, 446))
        self.says(ValueError, "sequences[1]: it has amino acids only, but this model reads a structure letter "
                  "behind each", model.embed, ["M#", "MKTV"])
        with self.assertRaisesRegex(EsmEmbedError, "variants of structure-aware sequences are not scored"):
            model.score("M#Ev", ["M1A"])

    def test_esm_c(self):
        model = Embedder(FIXTURES / "esmc_1x64_sdk", device="cpu")
        self.assertEqual((model.layers, model.dim, len(model.letters), model.letters[31]), (3, 64, 64, "|"))
        self.assertEqual(model.logits("MKT|A_").shape, (6, 64))
        masks = model.embed(["MK_", "MK<mask>"])
        np.testing.assert_array_equal(masks[0], masks[1])
        with self.assertRaisesRegex(EsmEmbedError, "ESM C has no contact head"):
            model.contacts("MKT")

    def test_pickling_is_refused_with_a_sentence(self):
        self.says(TypeError, "an Embedder holds a loaded model and cannot be pickled: make one in each "
                  f'process with Embedder("{MODEL}")', pickle.dumps, self.model)

    def test_a_fork_is_refused(self):
        code = f"""
import os
from esm_embed import Embedder
model = Embedder({str(MODEL)!r}, device="cpu")
stream = model.stream({str(DEMO)!r})
if os.fork() == 0:
    for call in (lambda: model.embed(["MK"]), lambda: next(stream)):
        try:
            call()
        except Exception as error:
            print(str(error).splitlines()[0], flush=True)
    os._exit(0)
os.wait()
"""
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        what = [f"this {what} belongs to the parent of this process" for what in ("Embedder", "stream")]
        self.assertEqual(ran.stdout.splitlines(), what, ran)


class Interrupts(unittest.TestCase):
    """Ctrl-C ends a computation that would take minutes, and the model can be used again."""

    def interrupted(self, call):
        code = f"""
import os, signal, threading
from esm_embed import Embedder
# In the background, a shell ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
model = Embedder({str(FIXTURES / "esm2_hd128")!r}, device="cpu")
expected = model.embed(["MKTV"])
threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", (model.embed(["MKTV"]) == expected).all())
"""
        begin = time.monotonic()
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        self.assertEqual(ran.stdout, "interrupted True\n", ran.stderr)
        return time.monotonic() - begin

    def test_of_a_list(self):
        self.interrupted('model.embed(["MKTVRQERLK" * 100] * 200_000)')

    def test_of_scores(self):
        self.interrupted('model.score("MKTVRQERLK" * 400, ["M1A"], method="pll")')


class CommandLine(unittest.TestCase):
    """The command runs in the process of Python, with the program's exit codes and signals."""

    def test_exit_codes_and_streams(self):
        version = command("--version")
        self.assertEqual((version.returncode, version.stdout), (0, f"esm-embed {__version__}\n"))
        wrong = command("run")
        self.assertEqual((wrong.returncode, wrong.stdout), (2, ""))
        self.assertIn("error:", wrong.stderr)
        failed = command("inspect", "/nowhere")
        self.assertEqual(failed.returncode, 1)
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "a.fasta").write_text(">a\nMK\n>b\n\n")
            skipped = command("run", "a.fasta", "--model", MODEL, "--out", "emb", "--on-invalid", "skip",
                              "--device", "cpu", cwd=home)
            self.assertEqual(skipped.returncode, 3, skipped.stderr)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with tempfile.TemporaryDirectory() as home:
                words = ["run", "-", "--model", str(MODEL), "--out", f"{home}/emb", "--device", "cpu",
                         "--progress", "none"]
                ran = subprocess.Popen([*COMMAND, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
                ran.stdin.write(b">a\nMKTV\n")
                ran.stdin.flush()
                partial = Path(home) / "emb" / ".partial"
                for _ in range(600):
                    if partial.exists():
                        break
                    time.sleep(0.1)
                time.sleep(0.5)
                ran.send_signal(number)
                _, said = ran.communicate(timeout=60)
                self.assertEqual(ran.returncode, 128 + number, said)

    def test_the_command_does_not_import_numpy(self):
        code = "import sys, esm_embed.__main__; print('numpy' in sys.modules)"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(ran.stdout, "False\n", ran.stderr)


if __name__ == "__main__":
    unittest.main()
