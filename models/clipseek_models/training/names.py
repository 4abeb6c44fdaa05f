"""CLIP's weights under OpenAI's names, which CLIP4Clip and CLIP2Video keep, and under Hugging Face's, which CLIP-ViP keeps.

The same numbers: Hugging Face has q, k and v apart and its projections the other way round (§3.6, §5.4 of
shared/reference/models.md).
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ..systems.load import under_published_names

State = dict[str, Tensor]

# OpenAI's beginning, Hugging Face's. Longer beginnings first: "transformer." is a part of "visual.transformer." too.
_PLACES = (
    ("clip.visual.transformer.resblocks.", "clipmodel.vision_model.encoder.layers."),
    ("clip.visual.conv1.", "clipmodel.vision_model.embeddings.patch_embedding."),
    ("clip.visual.class_embedding", "clipmodel.vision_model.embeddings.class_embedding"),
    ("clip.visual.positional_embedding", "clipmodel.vision_model.embeddings.position_embedding.weight"),
    ("clip.visual.ln_pre.", "clipmodel.vision_model.pre_layrnorm."),
    ("clip.visual.ln_post.", "clipmodel.vision_model.post_layernorm."),
    ("clip.visual.proj", "clipmodel.visual_projection.weight"),
    ("clip.transformer.resblocks.", "clipmodel.text_model.encoder.layers."),
    ("clip.token_embedding.", "clipmodel.text_model.embeddings.token_embedding."),
    ("clip.positional_embedding", "clipmodel.text_model.embeddings.position_embedding.weight"),
    ("clip.ln_final.", "clipmodel.text_model.final_layer_norm."),
    ("clip.text_projection", "clipmodel.text_projection.weight"),
    ("clip.logit_scale", "clipmodel.logit_scale"),
)
_IN_BLOCK = (
    (".ln_1.", ".layer_norm1."), (".ln_2.", ".layer_norm2."), (".attn.out_proj.", ".self_attn.out_proj."),
    (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."),
)
_TRANSPOSED = ("clip.visual.proj", "clip.text_projection")
_PACKED = re.compile(r"(.+)\.attn\.in_proj_(weight|bias)")
_APART = re.compile(r"(.+)\.self_attn\.q_proj\.(weight|bias)")


def _renamed(key: str, to_hugging_face: bool) -> str:
    old, new = (0, 1) if to_hugging_face else (1, 0)
    for pair in _PLACES:
        if key.startswith(pair[old]):
            key = pair[new] + key[len(pair[old]) :]
            break
    for pair in _IN_BLOCK:
        key = key.replace(pair[old], pair[new])
    return key


def is_hugging_face(state: State) -> bool:
    return any(key.removeprefix("clipmodel.").startswith("text_model.") for key in state)


def openai(state: State) -> State:
    """CLIP under either names, or a checkpoint with OpenAI's → keys beginning with `clip.`; whatever else it holds stays."""
    if not is_hugging_face(state):
        return under_published_names(state)
    state = {f"clipmodel.{key.removeprefix('clipmodel.')}": value for key, value in state.items() if not key.endswith("position_ids")}
    named: State = {}
    for key, value in state.items():
        q = _APART.fullmatch(key)
        if q:
            place, kind = _renamed(q[1] + ".", False)[:-1], q[2]
            parts = [state[f"{q[1]}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{place}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif not re.search(r"\.self_attn\.[kv]_proj\.", key):
            name = _renamed(key, False)
            named[name] = value.T.contiguous() if name in _TRANSPOSED else value
    return named


def hugging_face(state: State) -> State:
    """CLIP under either names, or a checkpoint of CLIP-ViP → keys beginning with `clipmodel.`; whatever else it holds stays."""
    if is_hugging_face(state):
        return {f"clipmodel.{key.removeprefix('clipmodel.')}": value for key, value in state.items() if not key.endswith("position_ids")}
    named: State = {}
    for key, value in under_published_names(state).items():
        packed = _PACKED.fullmatch(key)
        if packed and key.startswith("clip."):
            place = _renamed(packed[1] + ".", True)[:-1]
            for part, piece in zip("qkv", value.chunk(3)):
                named[f"{place}.self_attn.{part}_proj.{packed[2]}"] = piece.clone()
        else:
            named[_renamed(key, True)] = value.T.contiguous() if key in _TRANSPOSED else value
    return named
