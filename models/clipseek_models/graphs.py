"""A bundle's graphs: exported, compared with their modules before anything relies on them, and entered in the manifest."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from .bundle import sha256

OPSET = 17
TOLERANCE = 1e-4  # of the largest magnitude of the module's output


def export_graph(
    module: nn.Module, inputs: dict[str, Tensor], output: str, axes: dict[str, dict[int, str]], path: Path, trial: dict[str, Tensor],
) -> None:
    """`inputs` fix the shapes that are not in `axes`; `trial` has other sizes along those, to prove them dynamic."""
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what might be wrong with the graph: that is found out below
        torch.onnx.export(
            module, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=[output],
            dynamic_axes=axes | {output: {0: "batch"}}, opset_version=OPSET, dynamo=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for example in (inputs, trial):
        with torch.no_grad():
            expected = module(*example.values()).numpy()
        actual = session.run([output], {name: value.numpy() for name, value in example.items()})[0]
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        if not error < TOLERANCE:
            path.unlink()
            raise RuntimeError(f"{path.name} differs from its module by {error:.2e}")


def manifest_entries(folder: Path, ports: dict[str, tuple[str, str | None, str]]) -> list[str]:
    """Of the graphs that are in the folder, and of the tokenizer. `ports`: names of input, mask if any, output."""
    entries = []
    for name, (input_name, mask, output) in ports.items():
        path = folder / f"{name}.onnx"
        if path.exists():
            mask_line = f'mask = "{mask}"\n' if mask else ""
            entries.append(
                f'[graphs.{name}]\nfile = "{path.name}"\nsha256 = "{sha256(path)}"\n'
                f'input = "{input_name}"\n{mask_line}output = "{output}"\n'
            )
    return [*entries, f'[tokenizer]\nfile = "tokenizer.json"\nsha256 = "{sha256(folder / "tokenizer.json")}"\n']
