"""A float32 graph with fewer bits. Its inputs and outputs stay float32, so that whoever runs it need not know."""

from __future__ import annotations

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


def convert(path: Path, precision: str) -> None:
    """The float32 graph at `path`, in place. `precision` is one of the others."""
    graph = onnx.load(path)
    if precision == "float16":
        block = [*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32]
        onnx.save(convert_float_to_float16(graph, max_finite_val=LARGEST_HALF, keep_io_types=True, op_block_list=block), path)
    else:
        _without_copies(graph.graph)
        add_pre_process_metadata(graph)  # that is all there is to prepare; without this mark a warning says otherwise
        # Weights per channel, once and for all; what they are multiplied with as it comes, by the range that it then has.
        # Weights of 7 bits: with 8, sums overflow on processors without VNNI, whose vectors would be others.
        quantize_dynamic(
            graph, path, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


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
