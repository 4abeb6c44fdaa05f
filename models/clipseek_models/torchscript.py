"""Reads the weights of a TorchScript archive, the format of OpenAI's CLIP weights, and runs none of its code.

Such a file is a zip of `data.pkl`, a pickle of nested modules, of a file of raw numbers for each storage, and of source
code. Opening it with PyTorch would bring the code to life; here every class of the pickle becomes a bag of attributes,
and of the source only the lines are read that say which attributes are weights.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from io import BytesIO

import torch
from torch import Tensor

DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
WEIGHTS = r"class {}\(Module\):\s+__parameters__ = \[(.*?)\]\s+__buffers__ = \[(.*?)\]"


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """Dotted names and tensors of the module and the modules inside of it."""
    root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
    return dict(_tensors(_Unpickler(archive, root).load()))


class _Module:
    """Stands for a class of the pickle: its attributes and which of them are weights, no behaviour."""

    weights: set[str]
    attributes: dict

    def __setstate__(self, attributes: dict) -> None:
        self.attributes = attributes


def _tensors(module: _Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
        elif name in module.weights:
            yield prefix + name, value


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(BytesIO(archive.read(f"{root}data.pkl")))
        self.archive, self.root = archive, root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> type | Callable | str:
        """Only what describes tensors and modules; everything else a pickle may ask for is refused."""
        if module.startswith("__torch__"):
            return type(name, (_Module,), {"weights": self._weights(module, name)})
        if module == "torch" and name in DTYPES:
            return name
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _type: value,
            ("collections", "OrderedDict"): OrderedDict,
        }
        lists = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
        known |= {("torch.jit._pickle", builder): list for builder in lists}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"unsupported: GLOBAL {module}.{name}")
        return known[module, name]

    def _weights(self, module: str, name: str) -> set[str]:
        """The class's parameters and buffers. Other attributes may be tensors too: masks, for one."""
        source = self.archive.read(f"{self.root}code/{module.replace('.', '/')}.py").decode()
        lists = re.search(WEIGHTS.format(re.escape(name)), source, re.DOTALL)
        return set(re.findall(r'"([^"]+)"', lists[1] + lists[2])) if lists else set()

    def persistent_load(self, described: tuple) -> Tensor:
        """A storage, as a flat tensor."""
        _, kind, key, _device, count = described
        if key not in self.storages:
            raw = bytearray(self.archive.read(f"{self.root}data/{key}"))
            numbers = torch.frombuffer(raw, dtype=DTYPES[kind]) if raw else torch.empty(0, dtype=DTYPES[kind])
            if len(numbers) != count:
                raise pickle.UnpicklingError(f"storage {key} holds {len(numbers)} numbers, not {count}")
            self.storages[key] = numbers
        return self.storages[key]


def _rebuild(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    # Refused by torch where it would reach beyond the storage.
    return storage.as_strided(size, stride, offset).clone()
