"""A bundle's graphs: exported, compared with their modules before anything relies on them, and entered in the manifest."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from .attention_nodes import Calls, Nodes
from .bundle import sha256
from .precision import LEAST_COSINE, convert, save, weights_beside
from .systems.attention import is_separate

OPSET = 17
TOLERANCE = 1e-4  # of float32


class GraphError(Exception):
    """A graph does not do what its module does."""


@dataclass(frozen=True)
class Agreement:
    """Of a graph with its module, on random input."""

    error: float  # the largest, as a share of the largest magnitude of the module's output
    cosine: float  # the least of a row, which is all of an output that belongs to one of the batch

    def __str__(self) -> str:
        return f"largest error {self.error:.1e}, least cosine {self.cosine:.6f}"


@dataclass(frozen=True)
class Writer:
    """Where graphs go, in which precision, and who hears how well each agrees with its module."""

    folder: Path
    precision: str = "float32"
    tell: Callable[[str], None] = lambda line: None

    def write(
        self, name: str, module: nn.Module, outputs: str | tuple[str, ...], axes: dict[str, dict[int, str]],
        inputs: dict[str, Tensor], trial: dict[str, Tensor], compared: Collection[str] = (),
    ) -> Path:
        """As `export_graph`, which see."""
        path = self.folder / f"{name}.onnx"
        agreement = export_graph(module, inputs, outputs, axes, path, trial, self.precision, compared)
        self.tell(f"{path.name}, {self.precision}: {agreement}")
        return path


def export_graph(
    module: nn.Module, inputs: dict[str, Tensor], outputs: str | tuple[str, ...], axes: dict[str, dict[int, str]], path: Path,
    trial: dict[str, Tensor], precision: str = "float32", compared: Collection[str] = (),
) -> Agreement:
    """`inputs` fix the shapes that are not in `axes`; `trial` has other sizes along those, to prove them dynamic.

    The first axis of `outputs`, one or several, is the batch; `axes` says which others are dynamic. `compared` are those
    whose numbers mean something beside each other only, such as scores: their mean does not count for the cosine.
    """
    names = (outputs,) if isinstance(outputs, str) else outputs
    module.eval()
    nodes = nullcontext() if is_separate() else Nodes()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, warnings.catch_warnings(), nodes:
        warnings.simplefilter("ignore")  # of what might be wrong with the graph: that is found out below
        exported = Path(scratch) / path.name
        torch.onnx.export(
            module, tuple(inputs.values()), str(exported), input_names=list(inputs), output_names=list(names),
            dynamic_axes={name: {0: "batch"} for name in names} | axes, opset_version=OPSET, dynamo=False,
        )
        save(onnx.load(exported), path)  # weights that are too many for a file have one each so far
    examples = [{name: value.numpy() for name, value in example.items()} for example in (inputs, trial)]
    with torch.no_grad(), Calls() as attention:
        found = [module(*example.values()) for example in (inputs, trial)]
    expected = [dict(zip(names, (values,) if isinstance(values, Tensor) else values, strict=True)) for values in found]
    attentions = 0 if is_separate() else attention.count // len(expected)
    # The other precisions are made of the float32 graph, which must be right to begin with.
    agreement = compare(path, examples, expected, compared)
    good = agreement.error < TOLERANCE
    if good and precision != "float32":
        convert(path, precision)
        agreement = compare(path, examples, expected, compared)
        good = agreement.cosine > LEAST_COSINE[precision]
    problem = None if good else f"differs from its module: {agreement}"
    fused = attention_nodes(path)
    if fused != attentions:
        problem = f"holds attention as one node {fused} times, its module computes it {attentions} times: it would be slow"
    if problem:
        path.unlink()
        weights_beside(path).unlink(missing_ok=True)
        raise GraphError(f"{path.name} {problem}")
    return agreement


def attention_nodes(path: Path) -> int:
    """How many attentions of a graph are one node."""
    return sum(node.op_type == "MultiHeadAttention" for node in onnx.load(path, load_external_data=False).graph.node)


def compare(
    path: Path, examples: list[dict[str, np.ndarray]], expected: list[dict[str, Tensor]], compared: Collection[str],
) -> Agreement:
    """The graph at `path` with the module that made `expected` of the examples, each output [B, …]."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    error, cosine = 0.0, 1.0
    for example, outputs in zip(examples, expected, strict=True):
        found = session.run(list(outputs), example)
        for (name, wanted), value in zip(outputs.items(), found, strict=True):
            wanted = wanted.numpy()
            error = max(error, float(np.abs(value - wanted).max() / np.abs(wanted).max()))
            one, other = _rows(value, name in compared), _rows(wanted, name in compared)
            cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
            cosine = min(cosine, float(cosines.min()))
    return Agreement(error, cosine)


def _rows(x: np.ndarray, centred: bool) -> np.ndarray:
    """[B, …] → [B, n]; single numbers have no direction, all those of a batch together have one."""
    rows = x.reshape(len(x), -1)
    rows = rows.T if rows.shape[1] == 1 else rows
    return rows - rows.mean(axis=1, keepdims=True) if centred else rows


def manifest_entries(folder: Path, ports: dict[str, tuple[str, str | None, str]]) -> list[str]:
    """Of the graphs that are in the folder, and of the tokenizer. `ports`: names of input, mask if any, output."""
    entries = []
    for name, (input_name, mask, output) in ports.items():
        path = folder / f"{name}.onnx"
        if path.exists():
            masks = {"mask": mask} if mask else {}
            entries.append(manifest_entry(f"graphs.{name}", path, {"input": input_name} | masks | {"output": output}))
    return [*entries, manifest_entry("tokenizer", folder / "tokenizer.json", {})]


def manifest_entry(table: str, path: Path, names: dict[str, str]) -> str:
    """Of one file. `names`: what the graph calls its inputs and outputs."""
    lines = [f"[{table}]", f'file = "{path.name}"', f'sha256 = "{sha256(path)}"', *(f'{key} = "{name}"' for key, name in names.items())]
    beside = weights_beside(path)
    if beside.exists():
        lines.append(f'weights = {{ file = "{beside.name}", sha256 = "{sha256(beside)}" }}')
    return "\n".join(lines) + "\n"
