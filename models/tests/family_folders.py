"""Tiny models of other libraries with random weights, in folders as a hub has them: each written by its own library."""

import io
import json
from pathlib import Path

import open_clip
import sentencepiece
import timm
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipTokenizer

SENTENCES = [
    "a man plays a guitar on a stage", "a woman is cutting an onion in the kitchen", "two dogs run along the beach",
    "the red ball rolls to the left", "a white car turns around the corner", "people are dancing at night in the rain",
    "somebody pours water into a glass", "a child jumps over a puddle", "an old train arrives at the station",
]
SIDE, PATCH, LAYERS = 32, 8, 2
ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
VISION = ENCODER | {"image_size": SIDE, "patch_size": PATCH}


def make(family: str, folder: Path) -> Path:
    """The folder with a model of the family in it."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    MAKERS[family](folder)
    return folder


def clip(folder: Path) -> None:
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols += [symbol + "</w>" for symbol in symbols]
    merges = [("t", "h"), ("th", "e</w>"), ("i", "n"), ("in", "g</w>"), ("r", "e"), ("re", "d</w>")]
    words = [*symbols, *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    count = len(words)
    CLIPTokenizer({word: i for i, word in enumerate(words)}, merges, model_max_length=16).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    ends = {"bos_token_id": count - 2, "eos_token_id": count - 1, "pad_token_id": count - 1}
    text = ENCODER | ends | {"vocab_size": count, "max_position_embeddings": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")


def siglip(folder: Path) -> None:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20), model_writer=written, vocab_size=200, hard_vocab_limit=False, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(written.getvalue())
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"], model_max_length=16)
    tokenizer.save_pretrained(folder)
    finish_siglip(folder, tokenizer.vocab_size, resample=3)


def siglip2(folder: Path) -> None:
    """With Gemma's tokenizer as it is on hubs: it does not lower-case, that is for the library to do."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))])
    made.train_from_iterator(SENTENCES, trainer)
    described = json.loads(made.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] in special]
    made = Tokenizer.from_str(json.dumps(described))
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "model_input_names": ["input_ids"], "model_max_length": 16}
    config |= {"add_bos_token": False, "add_eos_token": True, "do_lower_case": True}
    config |= {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    finish_siglip(folder, made.get_vocab_size(), resample=2)


def finish_siglip(folder: Path, vocabulary: int, resample: int) -> None:
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}, resample=resample).save_pretrained(folder)
    text = ENCODER | {"vocab_size": vocabulary, "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 1}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    torch.nn.init.constant_(model.logit_scale, 2.0)
    model.save_pretrained(folder)


@timm.models.register_model
def vit_pe_core_test_patch16_64(pretrained: bool = False, **settings: object) -> torch.nn.Module:
    """PE-Core's smallest image encoder with fewer layers and patches."""
    return timm.models.eva.vit_pe_core_tiny_patch16_384(pretrained, **{"depth": LAYERS, "img_size": 64} | settings)


def pe_core(folder: Path) -> None:
    settings = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    of_open_clip(folder, "PE-Core-T-16-384", {"timm_model_name": "vit_pe_core_test_patch16_64"}, settings)


def mobileclip(folder: Path) -> None:
    settings = {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear", "resize_mode": "shortest"}
    of_open_clip(folder, "MobileCLIP2-S0", {}, settings)


def of_open_clip(folder: Path, name: str, vision: dict, settings: dict) -> None:
    config = open_clip.get_model_config(name)
    config["vision_cfg"] |= vision | {"image_size": 64}
    config["text_cfg"] |= {"context_length": 16, "width": 32, "heads": 2, "layers": LAYERS}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": settings}))
    del config["custom_text"]
    model = CustomTextCLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


MAKERS = {"clip": clip, "siglip": siglip, "siglip2": siglip2, "pe_core": pe_core, "mobileclip": mobileclip}
