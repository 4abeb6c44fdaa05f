"""What a system starts from: CLIP's weights, or an earlier checkpoint, and initial values for all that it adds (§1.3, §3.6).

The temporal blocks begin as copies of CLIP's first text blocks and the frames' positions as the text's, as the public
code of CLIP4Clip and CLIP2Video has it. CLIP-ViP begins with random proxies and no sense of time (§5.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..systems.blocks import Attention
from ..systems.load import build
from . import names
from .captioner import decoder_state, tie
from .choices import Plan
from .names import State

LOGIT_SCALE_OF_VIP = 4.60


class StartError(Exception):
    """Why a system cannot start from a checkpoint."""


def start(state: State, plan: Plan, seed: int = 0) -> nn.Module:
    """A model ready for training. Keys that the plan has no place for are an error of `build`'s, which names them."""
    model = build(begun(state, plan, seed))
    # Until here all is what the checkpoint's tensors are; training must not write into them, nor share any.
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.clone().contiguous()
        parameter.requires_grad_(True)
    if getattr(model, "decoder", None) is not None:
        tie(model.decoder)
    return model


def halve(model: nn.Module) -> None:
    """CLIP's matrices in float16, as the published training of CLIP4Clip keeps them, with no float32 masters beside them
    (section 1.7 of shared/reference/models.md). Norms, tables and all that was added to CLIP stay in float32.
    """
    clip = model.clip
    parameters = [clip.text_projection, clip.visual.proj]
    for module in clip.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear, Attention)):
            parameters += module.parameters(recurse=False)
    for parameter in parameters:
        parameter.data = parameter.data.half()


def begun(state: State, plan: Plan, seed: int = 0) -> State:
    """`state` under the system's names, with whatever it lacks."""
    drawn = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> Tensor:
        return std * torch.randn(*shape, generator=drawn)

    if plan.system == "clip_vip":
        state = names.hugging_face(state)
        new = _clip_vip(state, plan, normal)
    else:
        state = names.openai(state)
        if "clip.visual.conv1.weight" not in state or "clip.text_projection" not in state:
            raise StartError("holds no CLIP with a vision transformer: clip.visual.conv1.weight or clip.text_projection is missing")
        new = _clip2video(state, plan, normal) if plan.system == "clip2video" else _clip4clip(state, plan, normal, seed)
    # What is there already stays: training may go on from a post-pretrained model of the same or of a simpler head.
    return new | state


Normal = Callable[..., Tensor]


def _clip4clip(state: State, plan: Plan, normal: Normal, seed: int) -> State:
    dim = state["clip.text_projection"].shape[1]
    new: State = {}
    if plan.patches == "3d":
        flat = state["clip.visual.conv1.weight"]
        new["clip.visual.conv2.weight"] = torch.stack([torch.zeros_like(flat), flat, torch.zeros_like(flat)], dim=2)
    if plan.head == "seqTransf":
        new |= _positions(state) | _blocks(state, "transformerClip", plan.layers)
    if plan.head == "seqLSTM":
        new |= _positions(state)
        within = dim**-0.5  # PyTorch's own for an LSTM: even between the two
        for key, shape in {"weight_ih": (4 * dim, dim), "weight_hh": (4 * dim, dim), "bias_ih": (4 * dim,), "bias_hh": (4 * dim,)}.items():
            # Even between -1 and 1 is what the error function makes of normal values.
            new[f"lstm_visual.{key}_l0"] = within * torch.erf(normal(*shape, std=1) / math.sqrt(2))
    if plan.head == "tightTransf":
        new |= {"cross.embeddings.position_embeddings.weight": _text_positions(state)}
        new |= _blocks(state, "cross.transformer", plan.layers)
        new |= {
            "cross.pooler.ln_pool.weight": torch.ones(dim), "cross.pooler.ln_pool.bias": torch.zeros(dim),
            "cross.pooler.dense.weight": normal(dim, dim, std=0.02), "cross.pooler.dense.bias": torch.zeros(dim),
            "similarity_dense.weight": normal(1, dim, std=0.02), "similarity_dense.bias": torch.zeros(1),
        }
    if plan.decoder_layers:
        table = state["clip.token_embedding.weight"]
        new |= decoder_state(dim, len(table), plan.decoder_positions, plan.decoder_layers, seed, table)
    return new


def _clip2video(state: State, plan: Plan, normal: Normal) -> State:
    dim = state["clip.text_projection"].shape[1]
    new = _positions(state) | {"type_position_embeddings.weight": _text_positions(state)[:2].clone()}
    for name, layers in (("transformerClip", plan.layers), ("frame2t_attention", 1), ("actionClip", 1)):
        new |= _blocks(state, name, layers)
    return new | {
        "trans_layernorm.weight": torch.ones(dim), "trans_layernorm.bias": torch.zeros(dim),
        "weight_center": normal(plan.centres, dim, std=0.125), "emb_center": normal(plan.centres, dim, std=0.125),
    }


def _clip_vip(state: State, plan: Plan, normal: Normal) -> State:
    place = "clipmodel.vision_model.embeddings"
    if f"{place}.class_embedding" not in state:
        raise StartError(f"holds no CLIP with a vision transformer: {place}.class_embedding is missing")
    width = state[f"{place}.class_embedding"].shape[0]
    if f"{place}.added_cls" not in state:
        # Plain CLIP's temperature is at its bound; CLIP-ViP begins a little below it.
        state["clipmodel.logit_scale"] = torch.tensor(LOGIT_SCALE_OF_VIP)
    return {
        f"{place}.added_cls": normal(plan.proxies - 1, width, std=1.0),
        f"{place}.temporal_embedding": torch.zeros(1, plan.times, width),
    }


def _text_positions(state: State) -> Tensor:
    positions, dim = state["clip.positional_embedding"], state["clip.text_projection"].shape[1]
    if positions.shape[1] != dim:
        raise StartError(f"the text is {positions.shape[1]} wide and the shared vectors {dim}: temporal blocks cannot begin as text blocks")
    return positions


def _positions(state: State) -> State:
    return {"frame_position_embeddings.weight": _text_positions(state).clone()}


def _blocks(state: State, name: str, layers: int) -> State:
    """The first text blocks under another name."""
    copied: State = {}
    for layer in range(layers):
        start = f"clip.transformer.resblocks.{layer}."
        block = {key: value for key, value in state.items() if key.startswith(start)}
        if not block:
            raise StartError(f"{layers} temporal layers are wanted, the text encoder has only {layer} to begin from")
        copied |= {key.replace("clip.transformer.", f"{name}.", 1): value.clone() for key, value in block.items()}
    return copied
