"""python -m clipseek_models render | train-shapes | evaluate | train | export | compare | bench-export | parity"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .families import FAMILIES
from .training.options import add_arguments

SYSTEMS = ("clip4clip", "clip2video", "clip_vip")
HERE = Path(__file__).resolve().parent.parent
FOOTAGE = HERE.parent / "tests" / "fixtures" / "footage"
SHAPES = HERE / "bundles" / "shapes"


def main() -> int:
    parser = argparse.ArgumentParser(prog="clipseek_models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="write the footage of the synthetic world (needs ffmpeg)")
    render.add_argument("--out", type=Path, default=FOOTAGE)
    shapes = commands.add_parser("train-shapes", help="train, export and judge the shipped bundle (needs PyTorch)")
    shapes.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    shapes.add_argument("--out", type=Path, default=SHAPES)
    shapes.add_argument("--keep", type=Path, help="keep the bundles of all seeds and of the mean-pooled head here")
    judge = commands.add_parser("evaluate", help="judge a bundle of the synthetic world on clips it has not seen")
    judge.add_argument("bundle", type=Path, nargs="?", default=SHAPES)
    judge.add_argument("--footage", type=Path, help="search this footage with sliding windows too (needs ffmpeg)")
    train = commands.add_parser("train", help="fine-tune a research system on captioned video (needs PyTorch)")
    add_arguments(train)
    table = commands.add_parser("compare", help="train the research systems, small, on the synthetic world, and compare them (needs PyTorch)")
    table.add_argument("--out", type=Path, required=True, metavar="DIR", help="what was trained stays here, and is not trained again")
    table.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="SEED")
    table.add_argument("--processes", type=int, default=2, help="systems that are trained at a time")
    table.add_argument("--threads", type=int, default=1, help="of each")
    table.add_argument("--only", nargs="+", metavar="SYSTEM", help="some of them; without it, all")
    bundle = commands.add_parser("export", help="write a checkpoint as a bundle (needs PyTorch)")
    bundle.add_argument(
        "--checkpoint", type=Path, required=True, metavar="PATH",
        help="a file of a research system, or a folder of a model of another family, as a hub has it",
    )
    bundle.add_argument("--system", choices=[*SYSTEMS, *FAMILIES], help="refuse checkpoints of another one")
    bundle.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle; its last part is the bundle's name")
    bundle.add_argument("--frames", type=int, help="per window; without it, as it was trained here, else 12")
    bundle.add_argument("--words", type=int, help="most tokens of a text; without it, as it was trained here, or as the system was evaluated")
    bundle.add_argument("--licence", default="unknown", help="of the weights, for the manifest")
    bundle.add_argument("--precision", choices=["float32", "float16", "int8"], default="float32", help="of weights and products")
    bundle.add_argument("--rerank", type=Path, metavar="FILE", help="a CLIP4Clip tightTransf that re-ranks what the vectors find")
    bundle.add_argument("--caption-tokenizer", type=Path, metavar="FILE", help="tokenizer.json of the caption decoder; CLIP's without it")
    bundle.add_argument(
        "--caption-tokens", nargs=3, metavar=("START", "END", "PAD"), help="what that tokenizer calls them, if not as BERT's or CLIP's",
    )
    bundle.add_argument("--caption-words", type=int, help="most of a caption, the end included (48)")
    bundle.add_argument("--separate-attention", action="store_true", help="in operators that TensorRT knows, not as ONNX Runtime's own")
    rates = commands.add_parser("bench-export", help="sizes and rates of frame encoders in each precision (needs PyTorch)")
    rates.add_argument("--threads", type=int, default=2)
    compare = commands.add_parser("parity", help="compare the research systems with outputs of the published code (needs PyTorch)")
    compare.add_argument("folder", type=Path, metavar="DIR")
    arguments = parser.parse_args()

    # Imported late: not every command needs PyTorch.
    if arguments.command == "render":
        from .world.footage import write

        return write(arguments.out)
    if arguments.command == "train":
        from .training.command import command as run

        return run(arguments)
    if arguments.command == "compare":
        from .comparison.command import compare as run

        return run(arguments.out, arguments.seeds, arguments.only, SHAPES, arguments.processes, arguments.threads)
    if arguments.command == "train-shapes":
        from .world.train import train as run

        return run(arguments.seeds, arguments.out, arguments.keep)
    if arguments.command == "export":
        from .systems.caption_export import CaptionSettings
        from .systems.export import Settings, command

        if arguments.checkpoint.is_dir():
            from .families.export import command as of_folder

            if arguments.rerank or arguments.caption_tokenizer:
                parser.error("--rerank and captions are for files of CLIP4Clip")
            plain = Settings(
                arguments.frames, arguments.words, arguments.licence, arguments.precision,
                separate_attention=arguments.separate_attention,
            )
            return of_folder(arguments.checkpoint, arguments.out, arguments.system, plain)
        if arguments.system in FAMILIES:
            parser.error(f"--checkpoint: a model of {arguments.system} is a folder, with its configuration, weights and tokenizer")
        tokens = tuple(arguments.caption_tokens) if arguments.caption_tokens else None
        captions = CaptionSettings(arguments.caption_tokenizer, tokens, arguments.caption_words)
        settings = Settings(
            arguments.frames, arguments.words, arguments.licence, arguments.precision, captions=captions,
            separate_attention=arguments.separate_attention,
        )
        return command(arguments.checkpoint, arguments.out, arguments.system, settings, arguments.rerank)
    if arguments.command == "bench-export":
        from .bench import bench

        return bench(arguments.threads)
    if arguments.command == "parity":
        from .parity import parity as run

        return run(arguments.folder)
    from .world.evaluate import report

    return report(arguments.bundle, arguments.footage)


if __name__ == "__main__":
    sys.exit(main())
