from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt

__version__: str

class _Bar(Protocol):
    def update(self, n: int, /) -> object: ...

_Progress = Callable[[int], object] | _Bar
_Pool = Literal["mean", "bos", "cls", "max"]

class EsmEmbedError(RuntimeError): ...

class Embedder:
    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        device: str = "auto",
        dtype: Literal["f32", "f16", "bf16", "tf32"] | str | None = None,
        *,
        threads: int | None = None,
        revision: str | None = None,
        adapter: str | PathLike[str] | None = None,
        long: str | None = None,
        unknown: Literal["unk", "error"] = "unk",
        gaps: Literal["keep", "drop"] = "keep",
        progress: _Progress | None = None,
    ) -> None: ...
    @overload
    def embed(
        self,
        sequences: Iterable[str | bytes],
        layer: int = -1,
        pool: _Pool = "mean",
        *,
        progress: _Progress | None = None,
    ) -> npt.NDArray[np.float32]: ...
    @overload
    def embed(
        self,
        sequences: Iterable[str | bytes],
        layer: int = -1,
        *,
        pool: None,
        progress: _Progress | None = None,
    ) -> list[npt.NDArray[np.float32]]: ...
    @overload
    def embed(
        self,
        sequences: Iterable[str | bytes],
        layer: int,
        pool: None,
        *,
        progress: _Progress | None = None,
    ) -> list[npt.NDArray[np.float32]]: ...
    def stream(
        self,
        fasta: str | PathLike[str] | Iterable[str | PathLike[str]],
        layer: int = -1,
        pool: _Pool | None = "mean",
        *,
        residues: bool = False,
        on_invalid: Literal["fail", "skip"] = "fail",
    ) -> Stream: ...
    def logits(self, sequence: str | bytes) -> npt.NDArray[np.float32]: ...
    def contacts(self, sequence: str | bytes) -> npt.NDArray[np.float32]: ...
    def score(
        self,
        sequence: str | bytes,
        variants: Iterable[str],
        *,
        method: Literal["masked-marginals", "wt-marginals", "pll", "pll-unmasked"] = "masked-marginals",
        window: Literal["none", "optimal", "overlapping"] | None = None,
        offset: int = 1,
        progress: _Progress | None = None,
    ) -> npt.NDArray[np.float64]: ...
    @property
    def model(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def letters(self) -> list[str]: ...

class Record:
    @property
    def id(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def length(self) -> int: ...
    @property
    def mean(self) -> npt.NDArray[np.float32]: ...
    @property
    def bos(self) -> npt.NDArray[np.float32]: ...
    @property
    def max(self) -> npt.NDArray[np.float32]: ...
    @property
    def residues(self) -> npt.NDArray[np.float32]: ...

class Stream(Iterator[Record]):
    def __next__(self) -> Record: ...
    def close(self) -> None: ...
    def __enter__(self) -> Stream: ...
    def __exit__(self, *args: object) -> None: ...

class EmbeddingFolder(Mapping[str, npt.NDArray[Any]]):
    path: Path
    def __init__(self, path: str | PathLike[str]) -> None: ...
    @property
    def model(self) -> str: ...
    @property
    def arrays(self) -> list[str]: ...
    def array(self, name: str) -> npt.NDArray[Any]: ...
    @property
    def means(self) -> npt.NDArray[Any]: ...
    @property
    def ids(self) -> npt.NDArray[Any]: ...
    def row(self, id: str) -> int: ...
    def of(self, id: str, name: str | None = None) -> npt.NDArray[Any]: ...
    def residues(self, id: str, layer: int | None = None) -> npt.NDArray[Any]: ...
    def __getitem__(self, id: str) -> npt.NDArray[Any]: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def to_pandas(self, name: str | None = None) -> Any: ...

def open_folder(path: str | PathLike[str]) -> EmbeddingFolder: ...
