"""Graphs in every precision: what ONNX Runtime fuses in them, what stays float32, what is refused. Needs PyTorch."""

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from clipseek_models import bench, precision  # noqa: E402
from clipseek_models.graphs import GraphError, attention_nodes, export_graph  # noqa: E402
from clipseek_models.precision import PRECISIONS  # noqa: E402
from clipseek_models.systems import Heads, build  # noqa: E402
from clipseek_models.systems.attention import separate_operators  # noqa: E402
from clipseek_models.systems.graph_modules import Head, PaddedHead, write_graphs  # noqa: E402

FIXTURES = Path(__file__).resolve().parent / "fixtures"
MODELS = {  # attentions and blocks of each graph; CLIP-ViP's proxies and patches have an attention each
    "clip4clip/seqTransf": (Heads(2, 2, 2), {"frame": (1, 1), "head": (1, 1), "text": (1, 1)}),
    "clip2video/full": (Heads(2, 2, 2), {"frame": (1, 1), "head": (4, 4), "text": (1, 1)}),
    "clip_vip/M1": (Heads(4, 3), {"video": (4, 2), "text": (2, 2)}),
}
FRAMES = 5


def model(variant: str) -> torch.nn.Module:
    state = load_file(FIXTURES / variant / "model.safetensors")
    return build({key: value.float() for key, value in state.items()}, MODELS[variant][0])


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The folder of a model's graphs in a precision. Writing them compares them with their modules."""

    @cache
    def written(variant: str, bits: str) -> Path:
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("graphs")
        write_graphs(model(variant), FRAMES, folder, bits)
        return folder

    return written


in_every_precision = pytest.mark.parametrize("bits", PRECISIONS)
of_every_system = pytest.mark.parametrize("variant", MODELS)


def as_run(path: Path, scratch: Path) -> Counter:
    """How many of each kind of node are left once ONNX Runtime has optimised a graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(scratch / "optimised.onnx")
    options.log_severity_level = 3  # the file is for this kind of processor, it says
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(scratch / "optimised.onnx").graph.node)


@of_every_system
@pytest.mark.parametrize("bits", ["float32", "float16"])
def test_separate_attention_needs_only_what_onnx_itself_has(variant, bits, tmp_path):
    with separate_operators():
        write_graphs(model(variant), FRAMES, tmp_path, bits)
    for path in tmp_path.glob("*.onnx"):
        nodes = onnx.load(path).graph.node
        assert {node.domain for node in nodes} <= {"", "ai.onnx"}, path.name
        assert any(node.op_type == "Softmax" for node in nodes), path.name


@of_every_system
@in_every_precision
def test_attention_is_one_node_and_so_are_its_neighbours(variant, bits, graphs, tmp_path):
    for name, (attentions, blocks) in MODELS[variant][1].items():
        nodes = as_run(graphs(variant, bits) / f"{name}.onnx", tmp_path)
        assert nodes["MultiHeadAttention"] == attentions, name
        assert nodes["LayerNormalization"] + nodes["SkipLayerNormalization"] >= 2 * blocks, name
        if bits != "float16":  # of which processors have no such node
            assert nodes["QuickGelu"] == blocks, name
        if bits == "int8":
            assert nodes["DynamicQuantizeMatMul"] + nodes["MatMulIntegerToFloat"] >= 4 * blocks and not nodes["MatMulInteger"], name


@of_every_system
@in_every_precision
def test_attention_is_one_node_in_the_file_already(variant, bits, graphs):
    for name, (attentions, _) in MODELS[variant][1].items():
        assert attention_nodes(graphs(variant, bits) / f"{name}.onnx") == attentions, name


class Padded(torch.nn.Module):
    """Attention with a mask per text, for which there is no node."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, key_padding_mask=x[..., 0] > 9)[0][:, 0]


def test_a_graph_with_attention_in_many_nodes_is_refused(tmp_path):
    one, more = ({"x": torch.randn(count, 3, 8)} for count in (2, 4))
    with pytest.raises(GraphError, match="slow.onnx holds attention as one node 0 times, its module computes it 1 times"):
        export_graph(Padded(), one, "y", {"x": {0: "batch"}}, tmp_path / "slow.onnx", more)
    assert not list(tmp_path.iterdir())


@of_every_system
@in_every_precision
def test_whoever_runs_a_graph_need_not_know(variant, bits, graphs):
    for path in graphs(variant, bits).iterdir():
        graph = onnx.load(path).graph
        kinds = {port.name: port.type.tensor_type.elem_type for port in [*graph.input, *graph.output]}
        integers = {"input_ids", "attention_mask"}
        assert all(kind == (onnx.TensorProto.INT64 if name in integers else onnx.TensorProto.FLOAT) for name, kind in kinds.items())


@of_every_system
def test_float16_keeps_norms_in_float32_and_masks_finite(variant, graphs):
    for path in graphs(variant, "float16").iterdir():
        graph = onnx.load(path).graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
        assert all(weights[node.input[1]].data_type == onnx.TensorProto.FLOAT for node in norms)
        matrices = [weights[node.input[1]] for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
        assert matrices and all(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in matrices)
        if path.stem == "head":
            epsilons = [attribute.f for node in norms for attribute in node.attribute if attribute.name == "epsilon"]
            assert min(epsilons) == np.float32(1e-12)
            constants = [attribute.t for node in graph.node if node.op_type == "Constant" for attribute in node.attribute]
            values = [onnx.numpy_helper.to_array(tensor) for tensor in [*weights.values(), *constants]]
            assert all(np.isfinite(value).all() for value in values)
            assert min(value.min(initial=0) for value in values if value.dtype == np.float16) == -precision.LARGEST_HALF


@in_every_precision
@pytest.mark.parametrize("variant, head", [("clip4clip/seqTransf", Head), ("clip2video/full", PaddedHead)])
def test_windows_may_be_short_in_every_precision(variant, head, bits, graphs):
    session = onnxruntime.InferenceSession(graphs(variant, bits) / "head.onnx", providers=["CPUExecutionProvider"])
    frames = torch.randn(FRAMES, FRAMES, 16)
    mask = torch.ones(FRAMES, FRAMES).tril()
    with torch.no_grad():
        expected = head(model(variant))(frames, mask).numpy()
    found = session.run(None, {"frames": frames.numpy(), "mask": mask.numpy()})[0]
    assert (found * expected).sum(1).min() > 0.99


@pytest.mark.parametrize("bits", precision.LEAST_COSINE)
def test_a_graph_that_is_too_far_off_is_refused(bits, tmp_path, monkeypatch):
    monkeypatch.setitem(precision.LEAST_COSINE, bits, 1.1)
    with pytest.raises(GraphError, match="frame.onnx differs from its module: largest error .*, least cosine"):
        write_graphs(model("clip4clip/seqTransf"), FRAMES, tmp_path, bits)
    assert not list(tmp_path.iterdir())


def test_the_table_of_sizes_and_rates(monkeypatch, capsys):
    for name, value in {"SIDE": 32, "WIDTH": 64, "LAYERS": 1, "PATCHES": (16,), "SECONDS": 0.01}.items():
        monkeypatch.setattr(bench, name, value)
    assert bench.bench(threads=1) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == list(PRECISIONS)
