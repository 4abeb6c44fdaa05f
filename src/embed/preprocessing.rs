//! Reads how an export prepares its pictures, from `preprocessor_config.json` or open_clip's `preprocess_cfg.json`, as
//! a bundle's [`Pixels`]. Pure.
//!
//! Settings that a bundle cannot express are refused, because importing without them would give wrong vectors.

use serde_json::Value;

use super::manifest::Pixels;
use crate::decode::{Interpolation, Resize};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preprocessing {
    width: u32,
    height: u32,
    resize: Resize,
    interpolation: Interpolation,
    mean: [f64; 3],
    std: [f64; 3],
}

impl Preprocessing {
    pub(super) fn read(config: &Value) -> Result<Self, String> {
        let flag = |key: &str, default: bool| config[key].as_bool().unwrap_or(default);
        if !flag("do_resize", true) {
            return Err("do_resize is false: pictures must be resized to the graph's size".to_owned());
        }
        let scale = config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0);
        if !flag("do_rescale", true) || (scale * 255.0 - 1.0).abs() > 1e-6 {
            return Err(format!("pictures are scaled by {scale}, only 1/255 is supported"));
        }
        let interpolation = match config["resample"].as_u64() {
            Some(2) => Interpolation::Bilinear,
            Some(3) | None => Interpolation::Bicubic,
            Some(other) => return Err(format!("resample {other}: only 2 (bilinear) and 3 (bicubic) are supported")),
        };
        let (width, height, resize) = size(config)?;
        let (mean, std) = if flag("do_normalize", true) {
            (triple(config, "image_mean")?, triple(config, "image_std")?)
        } else {
            ([0.0; 3], [1.0; 3])
        };
        Ok(Self { width, height, resize, interpolation, mean, std })
    }

    /// `preprocess_cfg.json`, as open_clip writes it and Immich publishes it.
    pub(super) fn read_open_clip(config: &Value) -> Result<Self, String> {
        let side = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let size = &config["size"];
        let (height, width) = match (side(size), side(&size[0]), side(&size[1])) {
            (Some(edge), ..) => (edge, edge),
            (None, Some(height), Some(width)) => (height, width),
            _ => return Err(format!("size {size} is not understood")),
        };
        let resize = match config["resize_mode"].as_str() {
            Some("shortest") | None if width == height => Resize::ShortestEdge,
            Some("squash") => Resize::Stretch,
            other => return Err(format!("resize_mode {other:?} to {width}×{height} is not supported")),
        };
        let interpolation = match config["interpolation"].as_str() {
            Some("bilinear") => Interpolation::Bilinear,
            Some("bicubic") | None => Interpolation::Bicubic,
            Some(other) => return Err(format!("interpolation {other:?}: only bilinear and bicubic are supported")),
        };
        let (mean, std) = (triple(config, "mean")?, triple(config, "std")?);
        Ok(Self { width, height, resize, interpolation, mean, std })
    }

    pub(super) fn pixels(&self) -> Pixels {
        let Self { width, height, resize, interpolation, mean, std } = *self;
        // The libraries that write these files resize with Pillow, which always uses antialiasing when it shrinks.
        Pixels { width, height, resize, interpolation, antialias: true, mean, std }
    }
}

enum Size {
    ShortestEdge(u32),
    Exact(u32, u32),
}

fn size(config: &Value) -> Result<(u32, u32, Resize), String> {
    let size = read_size(&config["size"], true).ok_or_else(|| format!("size {} is not understood", config["size"]))?;
    // If `do_center_crop` is absent, a shortest edge implies a crop.
    let crops = config["do_center_crop"].as_bool().unwrap_or(matches!(size, Size::ShortestEdge(_)));
    let crop = if crops {
        let crop = &config["crop_size"];
        match read_size(crop, false) {
            Some(Size::Exact(width, height)) => Some((width, height)),
            _ => return Err(format!("crop_size {crop} is not understood")),
        }
    } else {
        None
    };
    match (size, crop) {
        (Size::ShortestEdge(edge), Some((width, height))) if edge == width && edge == height => {
            Ok((width, height, Resize::ShortestEdge))
        }
        (Size::ShortestEdge(edge), Some((width, height))) => Err(format!(
            "the shorter side becomes {edge} and {width}×{height} is cut out: only equal sizes are supported"
        )),
        // Without a crop the picture would keep its aspect ratio, which a graph of fixed size cannot take: stretch it.
        (Size::ShortestEdge(edge), None) => Ok((edge, edge, Resize::Stretch)),
        (Size::Exact(width, height), crop) if crop.is_none_or(|crop| crop == (width, height)) => {
            Ok((width, height, Resize::Stretch))
        }
        (Size::Exact(width, height), _) => Err(format!("crop_size differs from size {width}×{height}: not supported")),
    }
}

/// A plain number means the shortest edge in `size`, and a square in `crop_size`.
fn read_size(value: &Value, edge: bool) -> Option<Size> {
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    if let Some(n) = number(value) {
        return Some(if edge { Size::ShortestEdge(n) } else { Size::Exact(n, n) });
    }
    if let Some(n) = number(&value["shortest_edge"]) {
        return Some(Size::ShortestEdge(n));
    }
    Some(Size::Exact(number(&value["width"])?, number(&value["height"])?))
}

fn triple(config: &Value, key: &str) -> Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> = config[key].as_array().and_then(|a| a.iter().map(Value::as_f64).collect());
    numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("{key} {} is not three numbers", config[key]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clip() -> Value {
        json!({"do_center_crop": true, "crop_size": {"width": 224, "height": 224}, "size": {"shortest_edge": 224},
            "resample": 3, "rescale_factor": 1.0 / 255.0, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut config = clip();
        config[key] = value;
        config
    }

    #[test]
    fn clip_and_its_older_spelling() {
        let pixels = Preprocessing::read(&clip()).unwrap().pixels();
        assert_eq!((pixels.width, pixels.height, pixels.resize), (224, 224, Resize::ShortestEdge));
        assert_eq!((pixels.interpolation, pixels.antialias), (Interpolation::Bicubic, true));
        assert_eq!((pixels.mean, pixels.std), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]));
        let mut older = with("size", json!(224));
        older["crop_size"] = json!(224);
        assert_eq!(Preprocessing::read(&older).unwrap().pixels(), pixels);
    }

    #[test]
    fn the_configuration_of_open_clip() {
        let config = json!({"size": [224, 224], "mode": "RGB", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
            "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0});
        let with = |key: &str, value: Value| {
            let mut config = config.clone();
            config[key] = value;
            Preprocessing::read_open_clip(&config)
        };
        let clip = Preprocessing::read(&clip()).unwrap();
        assert_eq!(Preprocessing::read_open_clip(&config).unwrap(), clip);
        assert_eq!(with("size", json!(224)).unwrap(), clip);
        let siglip = with("resize_mode", json!("squash")).unwrap();
        assert_eq!((siglip.resize, siglip.width), (Resize::Stretch, 224));
        assert_eq!(with("interpolation", json!("bilinear")).unwrap().interpolation, Interpolation::Bilinear);
        for (key, value, what) in [
            ("resize_mode", json!("longest"), "resize_mode"),
            ("size", json!("large"), "size"),
            ("interpolation", json!("nearest"), "interpolation"),
            ("mean", json!(null), "mean"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.starts_with(what), "{error}");
        }
    }

    #[test]
    fn siglip_is_stretched() {
        let mut config = with("size", json!({"width": 384, "height": 256}));
        config.as_object_mut().unwrap().remove("do_center_crop");
        config["resample"] = json!(2);
        let pixels = Preprocessing::read(&config).unwrap().pixels();
        assert_eq!((pixels.width, pixels.height, pixels.resize), (384, 256, Resize::Stretch));
        assert_eq!(pixels.interpolation, Interpolation::Bilinear);
        let uncropped = Preprocessing::read(&with("do_center_crop", json!(false))).unwrap();
        assert_eq!(uncropped.resize, Resize::Stretch);
    }

    #[test]
    fn what_a_bundle_cannot_say_is_refused() {
        for (key, value, part) in [
            ("size", json!({"shortest_edge": 256}), "becomes 256 and 224×224"),
            ("resample", json!(1), "resample 1"),
            ("rescale_factor", json!(0.5), "scaled by 0.5"),
            ("do_rescale", json!(false), "1/255"),
            ("do_resize", json!(false), "do_resize"),
            ("image_std", json!([1.0]), "image_std"),
            ("size", json!({"longest_edge": 1}), "size {\"longest_edge\":1}"),
        ] {
            let error = Preprocessing::read(&with(key, value)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
