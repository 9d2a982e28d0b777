"""Reads what weight files say of themselves: headers, shapes, an index; never a whole tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
WEIGHTS = (".safetensors", ".bin", ".gguf")
_UNREAD = (".pth", ".pt", ".h5", ".msgpack", ".onnx")
"""Weights in formats that nothing here loads."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""The bound that the safetensors format itself sets."""
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_PROBED_TENSORS, _PROBED_NUMBERS = 64, 512
_EXPONENTS = {
    "F32": (4, 0x7F80_0000),
    "BF16": (2, 0x7F80),
    "F16": (2, 0x7C00),
    "F64": (8, 0x7FF0_0000_0000_0000),
}
"""Bytes of a number, and the bits that are all set in what is no finite one."""


class UnsoundWeights(ValueError):
    """What is wrong with a weight file."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the header of its file describes it; it begins at byte ``start``."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def choose_files(names: Iterable[str]) -> list[str]:
    """Return the files of a model that are loaded: of weights in several formats only the best."""
    read = [name for name in names if not name.endswith(_UNREAD)]
    if any(name.endswith(".safetensors") for name in read):
        return [name for name in read if not name.endswith((".bin", ".gguf"))]
    return read


def is_pointer(path: Path) -> bool:
    """Tell whether a file is a Git LFS pointer and not what it points to."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def list_weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files a model is loaded from: those of its index, else all.

    Raises :class:`UnsoundWeights` for a broken index, or one that names files that are not there.
    """
    index = folder / INDEX
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    names = sorted(set(read_index(index).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnsoundWeights(f"{INDEX} names {missing[0]}{more}, which is not there")
    return [folder / name for name in names]


def read_index(path: Path) -> dict[str, str]:
    """Return the file of every tensor by an index."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsoundWeights(f"{path.name} is no index of weights: {error}") from error


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; :class:`UnsoundWeights` if it is none, or cut."""
    size = path.stat().st_size
    if is_pointer(path):
        raise UnsoundWeights(f"{path.name} is a Git LFS pointer, not the weights it points to")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 0 < length <= _MOST_HEADER_BYTES:
            raise UnsoundWeights(f"{path.name} is no safetensors file")
        if _LENGTH_BYTES + length > size:
            raise UnsoundWeights(f"{path.name} is cut short within its header")
        text = file.read(length)
    try:
        told: dict[str, Any] = json.loads(text)
        start = _LENGTH_BYTES + length
        tensors = {
            name: _read_tensor(item, start) for name, item in told.items() if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsoundWeights(f"{path.name} has no readable header: {error}") from error
    end = max((item.start + item.size for item in tensors.values()), default=0)
    if end > size:
        raise UnsoundWeights(f"{path.name} is cut short: {size:,} of {end:,} bytes")
    return tensors


def _read_tensor(item: Mapping[str, Any], start: int) -> Tensor:
    first, last = item["data_offsets"]
    shape = tuple(int(length) for length in item["shape"])
    return Tensor(str(item["dtype"]), shape, start + int(first), int(last) - int(first))


def find_pickles(folder: Path) -> list[str]:
    """Return the names of pickled weights, which run code when they are read."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in _PICKLED
        and path.name.startswith(("pytorch_model", "consolidated", "model"))
    )


def find_unfinite(path: Path, tensors: Mapping[str, Tensor]) -> str | None:
    """Return a tensor that holds NaN or infinity where it was looked at: its first numbers."""
    names = sorted(
        name
        for name, item in tensors.items()
        if item.dtype in _EXPONENTS and name.endswith(".weight")  # masks may hold infinities
    )
    step = max(1, len(names) // _PROBED_TENSORS)
    with path.open("rb") as file:
        for name in names[::step]:
            item = tensors[name]
            width, bits = _EXPONENTS[item.dtype]
            count = min(_PROBED_NUMBERS, math.prod(item.shape), item.size // width)
            file.seek(item.start)
            data = file.read(count * width)
            if any(number & bits == bits for number in _split_numbers(data, width)):
                return name
    return None


def _split_numbers(data: bytes, width: int) -> Iterator[int]:
    for start in range(0, len(data) - width + 1, width):
        yield int.from_bytes(data[start : start + width], "little")
