"""The options of `train`. Needs no PyTorch, so that other commands do not load it."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from . import choices
from .choices import Plan
from .settings import Settings

# Option, field of `Settings` or `Plan`, what it means.
NUMBERS = (
    ("--epochs", "epochs", int, "times that everything is seen"),
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
    ("--workers", "workers", int, "processes that decode video; each holds two batches ready"),
    ("--seed", "seed", int, "of the order of clips, of the choice among captions, and of new layers"),
    ("--judge-every", "judge_every", int, "epochs from one judgement to the next; the last is always judged"),
    ("--save-every", "save_every", int, "steps from one snapshot to the next"),
)
PLAN = (
    ("--system", "system", choices.SYSTEMS, "of the three"),
    ("--head", "head", choices.HEADS, "of CLIP4Clip"),
    ("--patches", "patches", choices.PATCHES, "of CLIP4Clip"),
    ("--layers", "layers", int, "of the temporal transformer or the cross-encoder"),
    ("--centres", "centres", int, "of CLIP2Video's alignment"),
    ("--decoder-layers", "decoder_layers", int, "of the caption decoder, where captions are learnt: 3 where not said"),
)
CHOICES = (
    ("--objective", "objective", choices.OBJECTIVES, "what is learnt; narrated and omnisource are post-pretraining"),
    ("--optimiser", "optimiser", choices.OPTIMISERS, "with its schedule: of the published training of that name; univl is for captions"),
    ("--sentences", "sentences", choices.SENTENCES, "each with its video is a clip, or one of a video's is drawn every time"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", metavar="NAME", help="a published training, or `try`: says all that follows but files (`train --recipe list`)")
    parser.add_argument("--as-published", action="store_true", help="CLIP's matrices in float16 without masters and at the rate for that, judged on the test clips: as the authors had it, for a GPU")
    parser.add_argument(
        "--data", type=Path, metavar="PATH",
        help='the folder of a recipe\'s data set; or a file with a JSON object a line: "video", "caption" (text or list), optional "start_s", "end_s", "subtitle"',
    )
    parser.add_argument("--videos", type=Path, metavar="DIR", help="the folder that the videos are below; the data's own where not said")
    parser.add_argument("--validation", type=Path, metavar="FILE", help="lines on other clips; judged after each epoch, and the best is kept. A data set has its own")
    parser.add_argument("--from", dest="start", type=Path, metavar="FILE", help="CLIP's weights (OpenAI's or Hugging Face's), or a checkpoint of the system")
    parser.add_argument("--out", type=Path, metavar="DIR", help="checkpoints, snapshots, the list of clips left out")
    defaults = {field.name: field.default for field in (*fields(Plan), *fields(Settings))}
    for option, name, kind, meaning in (*PLAN, *CHOICES, *NUMBERS):
        kinds = {"choices": kind} if isinstance(kind, tuple) else {"type": kind}
        parser.add_argument(option, dest=name, **kinds, help=f"{meaning} ({defaults[name]})")
    parser.add_argument("--jitter", action=argparse.BooleanOptionalAction, help="CLIP-ViP's first and last frame are drawn from within one interval of the ends (CLIP-ViP: yes)")
    parser.add_argument("--precision", choices=choices.PRECISIONS, help="of the encoders (float32; --as-published: float16)")
    parser.add_argument("--weights", choices=choices.WEIGHTS, help="float16: CLIP's matrices without float32 masters, as CLIP4Clip was trained (float32)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--resume", action="store_true", help="go on from the last snapshot in --out; more --epochs make the training longer")
