"""A float32 graph with fewer bits. Its inputs and outputs stay float32, so that whoever runs it need not know."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

# The least cosine between what a graph gives and what its float32 module gives.
LEAST_COSINE = {"float16": 0.9995, "int8": 0.98}
PRECISIONS = ("float32", *LEAST_COSINE)

# Variances and lengths: their squares overflow float16, and an epsilon of 1e-12 vanishes in it.
IN_FLOAT32 = ["LayerNormalization", "ReduceL2", "Softmax", "LogSoftmax"]
# In place of larger constants, which only masks have. It leaves room for the scores that it is added to.
LARGEST_HALF = 30_000.0
LARGEST_FILE = 2_000_000_000  # bytes of weights in a graph's own file; a little more and there can be no such file


def convert(path: Path, precision: str) -> None:
    """The float32 graph at `path`, in place. `precision` is one of the others."""
    if precision == "float16":
        block = [*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32]
        save(convert_float_to_float16(str(path), max_finite_val=LARGEST_HALF, keep_io_types=True, op_block_list=block), path)
        return
    graph = onnx.load(path)
    _without_copies(graph.graph)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        small = Path(scratch) / path.name
        add_pre_process_metadata(graph)  # that is all there is to prepare; without this mark a warning says otherwise
        # Weights per channel, once and for all; what they are multiplied with as it comes, by the range that it then has.
        # Weights of 7 bits: with 8, sums overflow on processors without VNNI, whose vectors would be others.
        quantize_dynamic(
            graph, small, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
            use_external_data_format=_is_large(graph), extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        save(onnx.load(small), path)


def save(graph: onnx.ModelProto, path: Path) -> None:
    """In one file, or with the weights beside it where they are too many."""
    weights_beside(path).unlink(missing_ok=True)  # it would be written to the end
    # The weights may lie in another file so far; from here on they are where this one says.
    onnx.save(graph, path, save_as_external_data=_is_large(graph), location=weights_beside(path).name, size_threshold=1024)


def weights_beside(path: Path) -> Path:
    """Where the weights of the graph at `path` are, if not in its own file."""
    return path.with_name(f"{path.name}_data")


def _is_large(graph: onnx.ModelProto) -> bool:
    return sum(len(tensor.raw_data) for tensor in graph.graph.initializer) > LARGEST_FILE


def _without_copies(graph: onnx.GraphProto) -> None:
    """The exporter lets whoever uses a weight again have it through an Identity node, which hides it from the quantiser."""
    weights = {tensor.name for tensor in graph.initializer}
    copies = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in weights]
    originals = {node.output[0]: node.input[0] for node in copies}
    for node in copies:
        graph.node.remove(node)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = originals.get(name, name)
