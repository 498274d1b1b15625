"""Read what a GGUF file says of itself: its metadata and where its tensors are, not their contents.

A file is checked before any library reads it: those believe the counts and sizes that a damaged file states. GGUF
versions 2 and 3, little-endian: magic, version, counts, metadata as key, type and value, then for each tensor its name,
dimensions (fastest first), type and offset, then the aligned data.
"""

import importlib.util
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from acdc.artefacts.quantisation import Quantisation
from acdc.errors import InputError
from acdc.files import open_file

MAGIC, SUFFIX = b"GGUF", ".gguf"
VERSIONS = (2, 3)
EXTRA = 'pip install "acdc[gguf]"'  # what installs the library
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_WHOLE = ("I8", "I16", "I32", "I64")
_MOST_DIMENSIONS = 4
_SHOWN = 60  # characters of a name in a message


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file: its name, its shape as torch has it, the name of its type, and which bytes it takes."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    length: int

    @property
    def size(self) -> int:
        """Numbers in it."""
        return prod(self.shape)


@dataclass(frozen=True)
class Array:
    """Stands in for an array in the metadata: its length."""

    length: int


@dataclass(frozen=True)
class GgufFile:
    """A file's metadata, with arrays as their length, and its tensors."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]

    @property
    def architecture(self) -> str:
        """What the file calls its architecture, empty where it does not."""
        named = self.metadata.get("general.architecture")
        return named if isinstance(named, str) else ""

    @property
    def quantisation(self) -> Quantisation:
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.type] += tensor.size
        counts = Counter(tensor.type for tensor in self.tensors.values())
        return Quantisation(max(sizes, key=lambda name: (sizes[name], name)), dict(sorted(counts.items())))

    @property
    def has_tokenizer(self) -> bool:
        return isinstance(self.metadata.get("tokenizer.ggml.tokens"), Array)


def quoted(name: object) -> str:
    """What a file calls something, fit for a message: nothing that a terminal acts on, and not too long."""
    text = str(name)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def has_library() -> bool:
    """Whether the library gguf is installed."""
    return importlib.util.find_spec("gguf") is not None


def is_gguf(path: Path) -> bool:
    """Whether a file says by its name or its first bytes that it is a GGUF file."""
    if not path.is_file():
        return False
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def find_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder, None where it holds none. Raises InputError for several."""
    found = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    if len(found) > 1:
        names = ", ".join(repr(path.name) for path in found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(f"model folder {folder} holds {len(found)} GGUF files ({names}): name one of them")
    return found[0] if found else None


def read_gguf(path: Path) -> GgufFile:
    """Read and check a file's header.

    Raises InputError for a file that is damaged, cut short or one part of several, and where the library gguf, which
    knows the types of tensors, is missing.
    """
    if not has_library():
        raise InputError(f"model {path.name!r} needs the library gguf: {EXTRA}")
    try:
        with open_file(path) as file:
            return _Header(path, file).read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


class _Header:
    """Reads a header from its start to its end, never past the end of the file."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path, self._file, self._size = path, file, path.stat().st_size

    def read(self) -> GgufFile:
        if self._file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{self._path} is not a GGUF file: it does not begin with {MAGIC.decode()}")
        version = self._number("I")
        if version not in VERSIONS:
            byte_order = ", or big-endian" if version & 0xFFFF == 0 else ""
            raise InputError(f"{self._path} is GGUF of version {version}{byte_order}: versions 2 and 3 are read")
        tensors, keys = self._number("Q"), self._number("Q")
        metadata = dict(self._unique(self._metadata(keys), "key"))
        if (parts := metadata.get("split.count", 0)) not in (0, 1):
            raise InputError(
                f"{self._path} is one of {quoted(parts)} parts of a model: merge them into one file, as "
                "llama-gguf-split --merge does"
            )
        stored = [self._tensor() for _ in range(self._bounded(tensors, least=24))]
        placed = self._placed(stored, metadata.get("general.alignment", 32))
        return GgufFile(self._path, metadata, dict(self._unique(placed, "tensor")))

    def _metadata(self, count: int) -> Iterator[tuple[str, Any]]:
        for _ in range(self._bounded(count, least=13)):
            yield self._text(), self._value(self._number("I"))

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            self._damaged(f"a value of type {kind} in its metadata")
        inner, length = self._number("I"), self._number("Q")
        if inner in _NUMBERS:
            self._skip(length * struct.calcsize(_NUMBERS[inner]))
        elif inner == _STRING:
            for _ in range(self._bounded(length, least=8)):
                self._skip(self._number("Q"))
        else:
            self._damaged(f"an array of type {inner} in its metadata")
        return Array(length)

    def _tensor(self) -> StoredTensor:
        """A tensor whose start is counted from that of the data."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, dimensions = self._text(), self._number("I")
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            self._damaged(f"a tensor of {dimensions} dimensions")
        shape = tuple(reversed([self._number("Q") for _ in range(dimensions)]))
        kind, offset = self._number("I"), self._number("Q")
        try:
            known = GGMLQuantizationType(kind)
        except ValueError:
            raise InputError(
                f"{self._path}: tensor {quoted(name)} is of type {kind}, which acdc does not know"
            ) from None
        if known.name in _WHOLE:
            raise InputError(f"{self._path}: tensor {quoted(name)} holds whole numbers ({known.name}), and no weights")
        block, width = GGML_QUANT_SIZES[known]
        if shape[-1] % block or not prod(shape):
            self._damaged(f"tensor {quoted(name)} of shape {list(shape)}, which {known.name} does not store")
        return StoredTensor(name, shape, known.name, offset, prod(shape) // block * width)

    def _placed(self, stored: Sequence[StoredTensor], alignment: Any) -> Iterator[tuple[str, StoredTensor]]:
        """Tensors by name, their starts counted from that of the file. Raises InputError for one that ends after it."""
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            self._damaged(f"an alignment of {quoted(alignment)}")
        if not stored:
            raise InputError(f"{self._path} holds no tensors")
        data = -(-self._file.tell() // alignment) * alignment
        for tensor in stored:
            placed = replace(tensor, start=data + tensor.start)
            if (end := placed.start + placed.length) > self._size:
                raise InputError(
                    f"{self._path} is cut short: tensor {quoted(tensor.name)} ends at byte {end:,}, "
                    f"the file at {self._size:,}"
                )
            yield placed.name, placed

    def _unique(self, items: Iterator[tuple[str, Any]], what: str) -> Iterator[tuple[str, Any]]:
        seen = set()
        for name, value in items:
            if name in seen:
                self._damaged(f"{what} {quoted(name)} twice")
            seen.add(name)
            yield name, value

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(code)))[0]

    def _text(self) -> str:
        try:
            return self._take(self._number("Q")).decode("utf-8")
        except UnicodeDecodeError:
            self._damaged("text that is not UTF-8 in its header")

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise InputError(f"{self._path} is cut short or damaged: its header goes on past the end of the file")
        return self._file.read(count)

    def _skip(self, count: int) -> None:
        if count > self._left:
            self._take(count)
        self._file.seek(count, 1)

    def _bounded(self, count: int, least: int) -> int:
        """A count of things that take at least so many bytes each: no more than there is room for."""
        if count * least > self._left:
            self._take(count * least)
        return count

    @property
    def _left(self) -> int:
        return self._size - self._file.tell()

    def _damaged(self, what: str) -> NoReturn:
        raise InputError(f"{self._path} is damaged: it holds {what}")
