"""Image-text models of other libraries as bundles: a folder as a hub has it becomes a frame graph, a text graph and a manifest.

Their windows are the mean of their frames, as in CLIP4Clip's meanP (arXiv 2104.08860), so there is no head.

| family | papers | library |
|---|---|---|
| `clip` | CLIP, arXiv 2103.00020 | `transformers` |
| `siglip` | SigLIP, arXiv 2303.15343 | `transformers` |
| `siglip2` | SigLIP 2, arXiv 2502.14786 | `transformers` |
| `pe_core` | Perception Encoder, arXiv 2504.13181 | `open_clip`, `timm` |
| `mobileclip` | MobileCLIP, arXiv 2311.17049, MobileCLIP2, arXiv 2508.20691 | `open_clip`, `timm` |

`folder` tells the family, `hugging_face` and `open_clip_models` load it, `pictures` and `texts` are how it reads pictures and
texts, `export` writes the bundle. Nothing here asks a hub for anything, and nothing in a folder is executed.
"""

FAMILIES = ("clip", "siglip", "siglip2", "pe_core", "mobileclip")
