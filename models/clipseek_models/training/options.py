"""The options of `train`. Needs no PyTorch, so that other commands do not load it."""

from __future__ import annotations

import argparse
from pathlib import Path

HEADS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")
PATCHES = ("2d", "3d")
# Option, field of `Settings`, what it means.
NUMBERS = (
    ("--epochs", "epochs", int, "times that every clip is seen"),
    ("--batch", "batch", int, "clips of a step"),
    ("--accumulate", "accumulate", int, "parts that a batch is computed in, where memory is short; clips are told apart within a part only"),
    ("--frames", "frames", int, "of a clip, at most; CLIP-ViP takes exactly so many"),
    ("--words", "words", int, "most tokens of a text, start and end included"),
    ("--bag", "bag", int, "narrated video: texts around a clip of which one may be right"),
    ("--divisor", "divisor", int, "CLIP2Video looks at one of so many of the frames that it extracts at 5 a second"),
    ("--lr", "rate", float, "learning rate of new layers; of all of CLIP-ViP"),
    ("--coef-lr", "share", float, "CLIP's share of it; of CLIP-ViP's, the temperature's, which may be above 1"),
    ("--freeze-layer-num", "freeze", int, "patches, tokens and CLIP's blocks below this number stay as they are; -1: none does"),
    ("--warmup", "warmup", float, "share of all steps in which the rate rises"),
    ("--weight-decay", "decay", float, "of whatever the published optimiser decays: nearly all but biases"),
    ("--dropout", "dropout", float, "in the input of the cross-encoder and in the caption decoder"),
    ("--clip-grad", "most_gradient", float, "most that the gradient's norm may be"),
    ("--workers", "workers", int, "processes that decode video; each holds two parts of a batch ready"),
    ("--seed", "seed", int, "of the order of clips, of the choice among captions, and of new layers"),
    ("--save-every", "save_every", int, "steps from one snapshot to the next"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help='a JSON object a line: "video", "caption" (text or list), optional "start_s", "end_s", "subtitle"')
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="the folder that the captions' videos are in")
    parser.add_argument("--validation", type=Path, metavar="FILE", help="captions of other clips; judged after each epoch, and the best is kept")
    parser.add_argument("--from", dest="start", type=Path, required=True, metavar="FILE", help="CLIP's weights (OpenAI's or Hugging Face's), or a checkpoint of the system")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoints, snapshots, the list of clips left out")
    parser.add_argument("--system", choices=["clip4clip", "clip2video", "clip_vip"], default="clip4clip")
    parser.add_argument("--head", choices=HEADS, default="meanP", help="of CLIP4Clip")
    parser.add_argument("--patches", choices=PATCHES, default="2d", help="of CLIP4Clip")
    parser.add_argument("--objective", default="retrieval", metavar="NAME", help="retrieval; captions (and retrieval); narrated, omnisource: post-pretraining")
    parser.add_argument("--layers", type=int, default=4, help="of the temporal transformer or the cross-encoder")
    parser.add_argument("--centres", type=int, default=5, help="of CLIP2Video's alignment")
    parser.add_argument("--decoder-layers", type=int, default=3, help="of the caption decoder, where captions are learnt")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32", help="of the encoders")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--resume", action="store_true", help="go on from the last snapshot in --out")
    for option, _, kind, meaning in NUMBERS:
        parser.add_argument(option, type=kind, help=f"{meaning} (as published where not said)")
