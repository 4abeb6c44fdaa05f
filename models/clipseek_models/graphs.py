"""A bundle's graphs: exported, compared with their modules before anything relies on them, and entered in the manifest."""

from __future__ import annotations

import tempfile
import warnings
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

OPSET = 17
TOLERANCE = 1e-4  # of float32


class GraphError(Exception):
    """A graph does not do what its module does."""


@dataclass(frozen=True)
class Agreement:
    """Of a graph with its module, on random input."""

    error: float  # the largest, as a share of the largest magnitude of the module's output
    cosine: float  # the least of a row

    def __str__(self) -> str:
        return f"largest error {self.error:.1e}, least cosine {self.cosine:.6f}"


def export_graph(
    module: nn.Module, inputs: dict[str, Tensor], output: str, axes: dict[str, dict[int, str]], path: Path, trial: dict[str, Tensor],
    precision: str = "float32",
) -> Agreement:
    """`inputs` fix the shapes that are not in `axes`; `trial` has other sizes along those, to prove them dynamic."""
    module.eval()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, warnings.catch_warnings(), Nodes():
        warnings.simplefilter("ignore")  # of what might be wrong with the graph: that is found out below
        exported = Path(scratch) / path.name
        torch.onnx.export(
            module, tuple(inputs.values()), str(exported), input_names=list(inputs), output_names=[output],
            dynamic_axes=axes | {output: {0: "batch"}}, opset_version=OPSET, dynamo=False,
        )
        save(onnx.load(exported), path)  # weights that are too many for a file have one each so far
    examples = [{name: value.numpy() for name, value in example.items()} for example in (inputs, trial)]
    with torch.no_grad(), Calls() as attention:
        expected = [module(*example.values()).numpy() for example in (inputs, trial)]
    attentions = attention.count // len(expected)
    # The other precisions are made of the float32 graph, which must be right to begin with.
    agreement = compare(path, output, examples, expected)
    good = agreement.error < TOLERANCE
    if good and precision != "float32":
        convert(path, precision)
        agreement = compare(path, output, examples, expected)
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


def compare(path: Path, output: str, examples: list[dict[str, np.ndarray]], expected: list[np.ndarray]) -> Agreement:
    """The graph at `path` with the module that made `expected` of the examples, [B, D] each."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run([output], example)[0] for example in examples])
    wanted = np.concatenate(expected)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    return Agreement(float(error), float(cosines.min()))


def manifest_entries(folder: Path, ports: dict[str, tuple[str, str | None, str]]) -> list[str]:
    """Of the graphs that are in the folder, and of the tokenizer. `ports`: names of input, mask if any, output."""
    entries = []
    for name, (input_name, mask, output) in ports.items():
        path = folder / f"{name}.onnx"
        if path.exists():
            mask_line = f'mask = "{mask}"\n' if mask else ""
            beside = weights_beside(path)
            weights = f'weights = {{ file = "{beside.name}", sha256 = "{sha256(beside)}" }}\n' if beside.exists() else ""
            entries.append(
                f'[graphs.{name}]\nfile = "{path.name}"\nsha256 = "{sha256(path)}"\n'
                f'input = "{input_name}"\n{mask_line}output = "{output}"\n{weights}'
            )
    return [*entries, f'[tokenizer]\nfile = "tokenizer.json"\nsha256 = "{sha256(folder / "tokenizer.json")}"\n']
