"""Output folders of `esm-embed run`, opened with NumPy and without reading them."""

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ._native import Folder


def open_folder(path) -> "EmbeddingFolder":
    """Opens the folder that a finished run wrote. Arrays are memory-mapped when they are first used.

    Of a folder of `esm-embed merge --link`, records are memory-mapped in the folders of their shards, or
    copied if there are more shards than files may be open; an array as a whole is copied into memory.
    """
    return EmbeddingFolder(path)


class Missing(KeyError):
    """A KeyError whose text is a sentence: Python would quote it."""

    def __str__(self):
        return self.args[0]


class MissingRecord(KeyError):
    """An id that no record has."""

    def __init__(self, path, native, id):
        super().__init__(id)
        self._path, self._native = path, native

    def __str__(self):
        # Only here: the search reads every id, and most callers never see the text.
        (id,) = self.args
        similar = self._native.similar(id)
        hint = "`ids` has all ids" if similar is None else f"there is a record {similar!r}"
        return f"{self._path} has no record {id!r}; {hint}"

    def __reduce__(self):
        return KeyError, self.args


class EmbeddingFolder(Mapping):
    """A mapping from ids to embeddings, over memory-mapped arrays.

    `emb["P12345"]` is the row of the record in the default array: the mean of the highest layer, else
    another pooled array; its residue rows [n, D] if the run wrote nothing pooled. Of stacked layers, it is
    the highest, and `of` has all of them. Nothing is read before it is needed; the first look-up of an id
    reads index.tsv once and keeps 8 bytes for each record.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._folder = Folder(self.path)
        self._arrays = {name: (at, packed, extent) for name, at, packed, extent in self._folder.arrays}
        self._open = {}
        # The least recently used comes first.
        self._mapped_shards = {}
        self._copies = len(self._folder.shards) > _most_open() // 4

    @property
    def model(self) -> str:
        """The model: its repository, or its name as it was given."""
        return self._folder.model

    @property
    def arrays(self) -> list:
        """Names of the arrays: "mean.layer33", "residues.layer33", "logits" …"""
        return list(self._arrays)

    def array(self, name: str) -> np.ndarray:
        """An array that is one file, memory-mapped: a row for each record or residue.

        Of a linked folder, it is put together from those of the shards, in memory.
        """
        where, packed, extent = self._where(name)
        if not packed:
            raise ValueError(f"{name} has one file for each record: use of(id, {name!r})")
        if name not in self._open:
            shards = self._folder.shards
            self._open[name] = self._joined(shards, where, extent) if shards else _load(self.path / where)
        return self._open[name]

    @property
    def means(self) -> np.ndarray:
        """The mean of the highest layer, [records, D], memory-mapped."""
        name = self._folder.pooled
        if name is None or not name.startswith("mean."):
            raise Missing(f"{self.path} holds no means; its arrays are {', '.join(self._arrays)}")
        return _highest(name, self.array(name))

    @property
    def ids(self) -> np.ndarray:
        """The ids, row by row: ids.npy, memory-mapped; read from index.tsv where the run wrote none."""
        if "ids" not in self._open:
            file = self.path / "ids.npy"
            if file.is_file():
                self._open["ids"] = np.load(file, mmap_mode="r")
            else:
                self._open["ids"] = np.array(self._folder.ids(), dtype=object)
        return self._open["ids"]

    def row(self, id: str) -> int:
        """The row of the record with this id.

        Raises KeyError if there is none, and ValueError if there are several with different embeddings.
        """
        return self._place(id)[0]

    def of(self, id: str, name: "str | None" = None) -> np.ndarray:
        """What an array holds of a record: its row, its residue rows, or its file."""
        return self._values(self._place(id, name), self._default(name))

    def residues(self, id: str, layer: "int | None" = None) -> np.ndarray:
        """The residue rows of a record, [n, D], of the highest layer if none is given."""
        return self.of(id, self._residues(layer))

    def __getitem__(self, id: str) -> np.ndarray:
        if not isinstance(id, str):
            kind = type(id).__name__
            raise TypeError(f"ids are texts, found {kind}: use means[…] or array(…)[…] for rows by number")
        name = self._default()
        return _highest(name, self.of(id, name))

    def __contains__(self, id) -> bool:
        return isinstance(id, str) and bool(self._folder.find(id))

    def __iter__(self) -> Iterator:
        return (str(id) for id in self.ids)

    def __len__(self) -> int:
        return self._folder.records

    def items(self):
        """Pairs of id and embedding, in the order of the rows."""
        return _Items(self)

    def values(self):
        """Embeddings in the order of the rows."""
        return _Values(self)

    def to_pandas(self, name: "str | None" = None):
        """A pandas DataFrame [records, D], indexed by id. It does not copy the array.

        name: an array with one row for each record; None means the one that emb[id] uses. Of stacked layers
        ("mean.layers"), the highest.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("to_pandas needs pandas: pip install pandas", name="pandas") from error

        name = self._default(name)
        if self._where(name)[2] != "record":
            raise ValueError(f"{name} has more than one row for a record")
        index = pandas.Index(np.asarray(self.ids, dtype=object), name="id")
        return pandas.DataFrame(_highest(name, self.array(name)), index=index, copy=False)

    def __repr__(self) -> str:
        shard = "" if self._folder.shard is None else " (shard {}/{})".format(*self._folder.shard)
        names = ", ".join(self._arrays)
        return f"open_folder({str(self.path)!r}): {len(self):,} records of {self.model}{shard}, {names}"

    def __reduce__(self):
        # A process that gets a copy opens the folder itself.
        return open_folder, (self.path.absolute(),)

    def _where(self, name):
        try:
            return self._arrays[name]
        except KeyError:
            known = ", ".join(self._arrays)
            raise Missing(f"{self.path} holds no array {name}; it holds {known}") from None

    def _default(self, name=None):
        if name is not None:
            return name
        return self._folder.pooled or self._residues(None)

    def _residues(self, layer):
        names = [name for name in self._arrays if name.startswith("residues.layer")]
        if layer is not None:
            return f"residues.layer{layer}"
        if not names:
            raise Missing(f"{self.path} holds no residue rows; it holds {', '.join(self._arrays)}")
        return max(names, key=lambda name: int(name.removeprefix("residues.layer")))

    def _place(self, id, name=None):
        places = self._folder.find(id)
        if not places:
            raise MissingRecord(self.path, self._folder, id)
        if len(places) > 1:
            name = self._default(name)
            first = self._values(places[0], name)
            if any(not np.array_equal(first, self._values(place, name)) for place in places[1:]):
                rows = ", ".join(str(place[0]) for place in places)
                raise ValueError(f"{id} is the id of different sequences, in rows {rows}: use array(…)[row]")
        return places[0]

    def _values(self, place, name):
        _, folder, row, offset, length, file = place
        where, packed, extent = self._where(name)
        if not packed:
            found = _load(Path(folder) / where / file)
        else:
            array = self._mapped(Path(folder) / where)
            found = array[row] if extent == "record" else array[offset : offset + length]
        # A view keeps its file open.
        return np.array(found) if self._copies else found

    def _mapped(self, file):
        array = self._mapped_shards.pop(file, None)
        if array is None:
            array = _load(file)
            if self._copies and len(self._mapped_shards) >= _MAPPED:
                del self._mapped_shards[next(iter(self._mapped_shards))]
        self._mapped_shards[file] = array
        return array

    def _joined(self, shards, where, extent):
        # The rows of each shard are in the order of the whole.
        numbers = np.load(self.path / "links.npy", mmap_mode="r")[:, 0]
        order = np.argsort(numbers, kind="stable")
        lengths = np.frombuffer(self._folder.lengths(), dtype="<u8").astype(np.int64)
        if extent == "record":
            lengths = np.ones_like(lengths)
        starts = np.cumsum(lengths) - lengths
        joined, first = None, 0
        for number, folder in enumerate(shards, 1):
            part = _load(Path(folder) / where)
            if joined is None:
                joined = np.empty((int(lengths.sum()), *part.shape[1:]), part.dtype)
            last = np.searchsorted(numbers, number, side="right", sorter=order)
            rows, first = order[first:last], last
            many = lengths[rows]
            joined[np.repeat(starts[rows] - (np.cumsum(many) - many), many) + np.arange(len(part))] = part
        return joined


class _Rows:
    """Views of a folder that go by row: ids need not be unique."""

    def __init__(self, folder):
        self._emb = folder

    def __len__(self):
        return len(self._emb)

    def _all(self):
        emb = self._emb
        name = emb._default()
        if emb._where(name)[2] == "record":
            yield from _highest(name, emb.array(name))
            return
        for row in range(len(emb)):
            yield emb._values(emb._folder.record(row)[2], name)


class _Values(_Rows):
    def __iter__(self):
        return self._all()


class _Items(_Rows):
    def __iter__(self):
        return zip(self._emb, self._all())


# Shards that stay memory-mapped where records are copied.
_MAPPED = 64


def _most_open():
    """How many files this process may open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if most != resource.RLIM_INFINITY else 1 << 62


def _highest(name, values):
    # Stacked layers are [records, layers, D], and those of a record [layers, D].
    return values[..., -1, :] if name.endswith(".layers") else values


def _load(file):
    # An array without elements cannot be mapped.
    try:
        return np.load(file, mmap_mode="r")
    except ValueError:
        return np.load(file)
