"""From a checkpoint to a model: the system and variant are read off the keys, the sizes off the shapes, and every key counts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..checkpoints import CheckpointError
from .caption_decoder import CaptionDecoder
from .clip2video import Clip2Video
from .clip4clip import MeanP, SeqLSTM, SeqTransf, TightTransf
from .clip_vip import ClipVip
from .shapes import Heads, Shapes

SHOWN = 10  # problems in one message


def load(path: Path | str, heads: Heads = Heads()) -> nn.Module:
    """A checkpoint file → the model it is of, in float32, ready for inference."""
    try:
        return build(checkpoints.read(Path(path)), heads)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def build(state: dict[str, Tensor], heads: Heads = Heads()) -> nn.Module:
    """A state dict → the model it is of."""
    state = under_published_names(state)
    system = recognise(state)
    # On the meta device nothing is allocated or drawn: every tensor comes from the checkpoint.
    with torch.device("meta"):
        model = system(Shapes(state), heads)
    compare(model.state_dict(), state)
    model.load_state_dict(state, assign=True)
    return model.eval()


def under_published_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Plain OpenAI weights get the `clip.` of a CLIP4Clip checkpoint; what is no weight goes."""
    if any(key.startswith("visual.") for key in state):
        scalars = ("input_resolution", "context_length", "vocab_size")
        state = {f"clip.{key}": value for key, value in state.items() if key not in scalars}
    return {key: value for key, value in state.items() if not key.endswith(".position_ids")}


def recognise(state: dict[str, Tensor]) -> type[nn.Module]:
    """The first system whose own keys are there."""
    marks = [
        ("clipmodel.", ClipVip),
        ("weight_center", Clip2Video),
        ("cross.", TightTransf),
        ("lstm_visual.", SeqLSTM),
        ("transformerClip.", SeqTransf),
        ("clip.visual.", MeanP),
        ("decoder.decoder.layer.", CaptionDecoder),  # beside the keys of a loose CLIP4Clip, it is a part of that
    ]
    shapes = Shapes(state)
    for prefix, system in marks:
        if prefix in shapes:
            return system
    raise CheckpointError(f"not a checkpoint of CLIP4Clip, CLIP2Video or CLIP-ViP: it holds {listed(state)}")


def compare(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Names every key that is missing, too many or of another shape."""
    problems = [f"the key {key} is missing" for key in expected if key not in found]
    problems += [f"the key {key} does not belong to this model" for key in found if key not in expected]
    problems += [
        f"{key} has the shape {list(found[key].shape)}, expected {list(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    if problems:
        raise CheckpointError(listed(problems, "; "))


def listed(names: Iterable[str], separator: str = ", ") -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + more or "nothing"
