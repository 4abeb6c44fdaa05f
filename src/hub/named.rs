//! Short names for models that can be pulled.

/// A model that can be pulled by its name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    pub name: &'static str,
    pub repo: &'static str,
    /// For people: what it is good for, and the size of its float32 graphs.
    pub summary: &'static str,
    pub licence: &'static str,
}

/// Repositories with the usual layout of ONNX exports. Untested: no hub could be reached where this was written.
pub const NAMED: &[Named] = &[
    Named {
        name: "clip-b32",
        repo: "Xenova/clip-vit-base-patch32",
        summary: "OpenAI CLIP ViT-B/32: fast, 0.6 GB",
        licence: "MIT (OpenAI CLIP)",
    },
    Named {
        name: "clip-b16",
        repo: "Xenova/clip-vit-base-patch16",
        summary: "OpenAI CLIP ViT-B/16: better, 0.6 GB, a third of the speed",
        licence: "MIT (OpenAI CLIP)",
    },
    Named {
        name: "clip-l14",
        repo: "Xenova/clip-vit-large-patch14",
        summary: "OpenAI CLIP ViT-L/14: for a GPU, 1.7 GB",
        licence: "MIT (OpenAI CLIP)",
    },
    Named {
        name: "siglip2-b16",
        repo: "onnx-community/siglip2-base-patch16-224-ONNX",
        summary: "SigLIP 2 B/16, many languages, 1.5 GB",
        licence: "Apache-2.0",
    },
    Named {
        name: "mobileclip-s0",
        repo: "Xenova/mobileclip_s0",
        summary: "MobileCLIP-S0: the fastest, 0.2 GB",
        licence: "Apple sample code licence",
    },
];

pub fn find(name: &str) -> Option<&'static Named> {
    NAMED.iter().find(|named| named.name == name)
}
