"""Writes the fixtures that this package made itself, of systems whose published ones are too large to keep here.

They hold what the package computed at a time when it agreed with all of shared/fixtures/parity: a guard against change,
not a proof. Run in `models/` with PyTorch: `python tests/make_fixtures.py`
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from clipseek_models.parity.systems import heads, outputs
from clipseek_models.systems import build

FIXTURES = Path(__file__).resolve().parent / "fixtures"
WIDTH, HEADS, PATCH, GRID, VOCABULARY, CONTEXT, FRAMES, WORDS = 16, 2, 8, 2, 64, 16, 5, 9
START, END = VOCABULARY - 2, VOCABULARY - 1
CONFIG = {"vision_heads": HEADS, "text_heads": HEADS, "cross_heads": HEADS}


def blocks(prefix: str, layers: int) -> dict[str, tuple]:
    shapes = {}
    for i in range(layers):
        block = f"{prefix}.resblocks.{i}"
        shapes |= {f"{block}.{norm}.{part}": (WIDTH,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
        layers_of = {"attn.in_proj_": (3 * WIDTH, WIDTH), "attn.out_proj.": (WIDTH, WIDTH)}
        layers_of |= {"mlp.c_fc.": (4 * WIDTH, WIDTH), "mlp.c_proj.": (WIDTH, 4 * WIDTH)}
        for name, shape in layers_of.items():
            shapes |= {f"{block}.{name}weight": shape, f"{block}.{name}bias": shape[:1]}
    return shapes


def norm(name: str) -> dict[str, tuple]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


CLIP = {
    "clip.visual.conv1.weight": (WIDTH, 3, PATCH, PATCH), "clip.visual.class_embedding": (WIDTH,),
    "clip.visual.positional_embedding": (1 + GRID**2, WIDTH), "clip.visual.proj": (WIDTH, WIDTH),
    "clip.token_embedding.weight": (VOCABULARY, WIDTH), "clip.positional_embedding": (CONTEXT, WIDTH),
    "clip.text_projection": (WIDTH, WIDTH), "clip.logit_scale": (),
    **norm("clip.visual.ln_pre"), **norm("clip.visual.ln_post"), **norm("clip.ln_final"),
    **blocks("clip.visual.transformer", 1), **blocks("clip.transformer", 1),
}
SEQ_TRANSF = CLIP | {"frame_position_embeddings.weight": (CONTEXT, WIDTH)} | blocks("transformerClip", 1)
TIGHT_TRANSF = CLIP | {
    "cross.embeddings.position_embeddings.weight": (CONTEXT, WIDTH), **blocks("cross.transformer", 2), **norm("cross.pooler.ln_pool"),
    "cross.pooler.dense.weight": (WIDTH, WIDTH), "cross.pooler.dense.bias": (WIDTH,),
    "similarity_dense.weight": (1, WIDTH), "similarity_dense.bias": (1,),
}
CLIP2VIDEO = SEQ_TRANSF | {
    "type_position_embeddings.weight": (2, WIDTH), "weight_center": (3, WIDTH), "emb_center": (3, WIDTH),
    **norm("trans_layernorm"), **blocks("frame2t_attention", 1), **blocks("actionClip", 1),
}


def caption_decoder(vocabulary: int, seed: int, scale: float = 1.5) -> dict[str, torch.Tensor]:
    """A random caption decoder, of another width than CLIP's here, for the checkpoint of a loose CLIP4Clip."""
    width, hidden, positions, layers = 24, 32, 12, 2
    shapes = {
        "caption_projection.weight": (width, WIDTH), "decoder.embeddings.word_embeddings.weight": (vocabulary, width),
        "decoder.embeddings.position_embeddings.weight": (positions, width),
    }
    sizes = {f"{part}.att.{name}": (width, width) for part in ("slf_attn", "enc_attn") for name in ("query", "key", "value")}
    sizes |= {f"{part}.output.dense": (width, width) for part in ("slf_attn", "enc_attn")}
    sizes |= {"intermediate.dense": (hidden, width), "output.dense": (width, hidden)}
    shapes |= {f"decoder.decoder.layer.{i}.{name}.weight": size for i in range(layers) for name, size in sizes.items()}
    shapes["decoder.classifier.cls.predictions.transform.dense.weight"] = (width, width)
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    state = {name: scale * shape[-1] ** -0.5 * drawn(*shape) for name, shape in shapes.items()}
    state |= {name.replace("weight", "bias"): 0.3 * drawn(len(value)) for name, value in state.items() if "embeddings" not in name}
    norms = ["decoder.embeddings", "decoder.classifier.cls.predictions.transform"]
    norms += [f"decoder.decoder.layer.{i}.{part}output" for i in range(layers) for part in ("slf_attn.", "enc_attn.", "")]
    state |= {f"{name}.LayerNorm.weight": 1 + 0.3 * drawn(width) for name in norms}
    state |= {f"{name}.LayerNorm.bias": 0.3 * drawn(width) for name in norms}
    state["decoder.classifier.cls.predictions.decoder.weight"] = state["decoder.embeddings.word_embeddings.weight"].clone()
    state["decoder.classifier.cls.predictions.bias"] = 0.5 * drawn(vocabulary)
    return state


def write(system: str, variant: str, shapes: dict[str, tuple], seed: int) -> None:
    folder = FIXTURES / system / variant
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)

    def drawn(name: str, shape: tuple) -> torch.Tensor:
        centre = 1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "layernorm.weight")) else 0.0
        scale = 0.5 if len(shape) < 2 else shape[-1] ** -0.5
        value = torch.from_numpy(np.asarray(centre + scale * rng.standard_normal(shape), np.float32))
        # As published: what multiplies is in half precision.
        halved = name.startswith("clip.") and not any(part in name for part in (".ln_", "embedding", "logit_scale"))
        return value.half() if halved else value

    state = {name: drawn(name, shape) for name, shape in shapes.items()} | {"clip.logit_scale": torch.tensor(2.9)}
    lengths = FRAMES, FRAMES - 2, FRAMES - 1
    mask = np.array([[i < length for i in range(FRAMES)] for length in lengths], np.int64)
    frames = rng.standard_normal((3, FRAMES, 3, PATCH * GRID, PATCH * GRID)).astype(np.float32)
    ids, words = np.zeros((2, 2, WORDS), np.int64)
    for row, length in enumerate((WORDS, WORDS - 4)):
        ids[row, :length], words[row, :length] = [START, *rng.integers(1, START, length - 2), END], 1
    inputs = {"frames": np.where(mask[..., None, None, None] == 1, frames, np.float32(0)), "frame_mask": mask, "token_ids": ids, "token_mask": words}

    with torch.inference_mode():
        model = build({name: value.float() for name, value in state.items()}, heads(CONFIG))
        found = outputs(model, {name: torch.from_numpy(value) for name, value in inputs.items()}, CONFIG)
        expected = {name: value.numpy() for name, value in found}
    save_file(state, folder / "model.safetensors")
    np.savez_compressed(folder / "inputs.npz", **inputs)
    np.savez_compressed(folder / "expected.npz", **expected)
    # The tolerance of the published fixtures.
    tolerance = {name: round(2e-4 * float(np.abs(value).max()), 8) for name, value in expected.items()}
    meta = {"system": system, "variant": variant, "source": "made by tests/make_fixtures.py", "config": CONFIG}
    (folder / "meta.json").write_text(json.dumps(meta | {"tolerance_abs": tolerance}, indent=1) + "\n")


if __name__ == "__main__":
    write("clip4clip", "seqTransf", SEQ_TRANSF, seed=1)
    write("clip2video", "full", CLIP2VIDEO, seed=2)
    write("clip4clip", "tightTransf", TIGHT_TRANSF, seed=3)
