"""What can be chosen, by the names that command line and recipes use. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

System = Literal["clip4clip", "clip2video", "clip_vip"]
SYSTEMS = ("clip4clip", "clip2video", "clip_vip")
HEADS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")
PATCHES = ("2d", "3d")
CAPTIONED = ("captions", "captions-as-published", "retrieval-and-captions")  # objectives with a caption decoder
OBJECTIVES = ("retrieval", "narrated", "omnisource", *CAPTIONED)
OPTIMISERS = ("clip4clip", "univl", "clip_vip")
PRECISIONS = ("float32", "bfloat16", "float16")
SENTENCES = ("each", "one")
WEIGHTS = ("float32", "float16")


@dataclass(frozen=True)
class Plan:
    """Which system is wanted; what nothing is said of is as published."""

    system: System = "clip4clip"
    head: str = "meanP"  # of CLIP4Clip
    patches: str = "2d"  # of CLIP4Clip
    layers: int = 4  # of the temporal transformer or the cross-encoder
    centres: int = 5  # of CLIP2Video
    proxies: int = 4  # of CLIP-ViP, the class token included
    times: int = 12  # rows of CLIP-ViP's temporal positions
    decoder_layers: int = 0  # of a caption decoder beside CLIP4Clip; 0: none
    decoder_positions: int = 32  # most words of a caption
