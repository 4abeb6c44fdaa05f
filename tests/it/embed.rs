//! Bundles to vectors through ONNX Runtime: the tiny ones beside the tests against numpy, an imported export where it
//! is at hand.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clipseek::decode::{Frame, Rgb};
use clipseek::embed::bundle::{Bundle, Bundles};
use clipseek::embed::import::{Variant, import};
use clipseek::embed::manifest::Padding;
use clipseek::embed::model::{TextModel, VideoModel, verify};
use clipseek::embed::onnx::OnnxFrameEncoder;
use clipseek::embed::runtime::{DeviceChoice, EmbedSettings};
use clipseek::embed::text::TextTokenizer;
use clipseek::embed::{EmbedError, Embedding, Feature, FrameEncoder};
use clipseek::window::Window;
use serde_json::Value;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bundles")
}

/// A folder of the material shared between projects, where it is.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CLIPSEEK_SHARED").map(PathBuf::from);
    let path = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join(path);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The processor, or what `CLIPSEEK_TEST_DEVICE` names: `cuda`, or `cuda-graphs`.
pub(crate) fn settings() -> EmbedSettings {
    let device = std::env::var("CLIPSEEK_TEST_DEVICE").unwrap_or_default();
    let cuda_graphs = device == "cuda-graphs";
    let device = if device.starts_with("cuda") { DeviceChoice::Cuda } else { DeviceChoice::Cpu };
    EmbedSettings { device, cuda_graphs, threads: Some(1), batch_frames: 4, ..EmbedSettings::default() }
}

/// The processor by itself, and the ways of a GPU rehearsed on it: buffers that stay, and one number of rows (not that of
/// the tests) with inputs and outputs at fixed places.
fn ways() -> [EmbedSettings; 3] {
    [
        settings(),
        EmbedSettings { rehearse: true, ..settings() },
        EmbedSettings { rehearse: true, cuda_graphs: true, batch_frames: 3, ..settings() },
    ]
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

pub(crate) fn rows(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// As in `make.py`.
pub(crate) fn frame(k: usize, side: u32) -> Frame {
    let bytes = side as usize * side as usize * 3;
    let data = (0..bytes).map(|i| ((7 * i + 31 * k) % 256) as u8).collect();
    Frame {
        pts: Duration::from_secs(k as u64),
        until: None,
        pixels: Rgb { width: side, height: side, data }.into(),
        thumbnail: None,
    }
}

pub(crate) fn window<T>(items: Vec<T>) -> Window<T> {
    Window { start: Duration::ZERO, end: Duration::from_secs(1), items }
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 2e-5, "{found:?} is not {expected:?}");
    }
}

fn assert_all_near(found: &[Embedding], expected: &Value) {
    let expected = rows(expected);
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(&expected) {
        assert_near(f.as_slice(), e);
    }
}

/// A copy whose manifest is changed.
fn changed(name: &str, from: &str, to: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let manifest = dir.path().join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(&manifest, text.replace(from, to)).unwrap();
    dir
}

#[tokio::test]
async fn frames_and_heads_agree_with_numpy() {
    let expected = expected();
    let windows: Vec<Vec<usize>> = serde_json::from_value(expected["windows"].clone()).unwrap();
    for (name, way) in ["tiny-mean", "tiny-head"].into_iter().flat_map(|name| ways().map(|way| (name, way))) {
        let model = VideoModel::open(&Bundle::load(&fixtures().join(name)).unwrap(), &way).unwrap();
        assert_eq!(model.device(), "cpu");
        let features = model.features((0..5).map(|k| frame(k, 8)).collect()).await.unwrap();
        for (k, (feature, values)) in features.iter().zip(rows(&expected["features"])).enumerate() {
            assert_eq!(feature.pts, Duration::from_secs(k as u64));
            assert_near(&feature.values, &values);
        }
        // Windows of different lengths in one batch.
        let pick = |w: &Vec<usize>| window(w.iter().map(|k| features[*k].clone()).collect::<Vec<Feature>>());
        let pooled = model.pool(windows.iter().map(pick).collect()).await.unwrap();
        assert_all_near(&pooled, &expected[name]);
        let frames = |w: &Vec<usize>| window(w.iter().map(|k| frame(*k, 8)).collect());
        let encoded = model.encode(windows.iter().map(frames).collect()).await.unwrap();
        assert_all_near(&encoded, &expected[name]);
    }
}

#[tokio::test]
async fn whole_windows_agree_with_numpy() {
    let expected = expected();
    let windows: Vec<Vec<usize>> = serde_json::from_value(expected["windows"].clone()).unwrap();
    for way in ways() {
        let model = VideoModel::open(&Bundle::load(&fixtures().join("tiny-video")).unwrap(), &way).unwrap();
        let frames = |w: &Vec<usize>| window(w.iter().map(|k| frame(*k, 8)).collect());
        let encoded = model.encode(windows.iter().map(frames).collect()).await.unwrap();
        assert_all_near(&encoded, &expected["tiny-video"]);
        assert!(matches!(model.features(vec![frame(0, 8)]).await, Err(EmbedError::Input(_))));
        assert!(matches!(model.encode(vec![window(vec![])]).await, Err(EmbedError::Input(_))));
    }
}

#[tokio::test]
async fn captions_agree_with_numpy() {
    let expected = expected();
    let texts: Vec<String> = serde_json::from_value(expected["texts"].clone()).unwrap();
    let models = [("tiny-mean", "text-masked"), ("tiny-video", "text-plain")];
    for ((name, key), way) in models.into_iter().flat_map(|model| ways().map(|way| (model, way))) {
        let model = TextModel::open(&Bundle::load(&fixtures().join(name)).unwrap(), &way).unwrap();
        assert_all_near(&model.encode(texts.clone()).await.unwrap(), &expected[key]);
        // A caption's vector does not depend on its company.
        assert_near(model.encode(vec![texts[0].clone()]).await.unwrap()[0].as_slice(), &rows(&expected[key])[0]);
        assert!(!model.is_truncated("ball").unwrap());
        assert!(model.is_truncated(&texts[2]).unwrap());
        let error = model.encode(vec![" \n".to_owned()]).await.unwrap_err();
        assert!(matches!(error, EmbedError::Input(_)), "{error}");
    }
}

#[tokio::test]
async fn many_callers_share_batches_and_one_wrong_frame_hurts_only_its_caller() {
    let expected = rows(&expected()["features"]);
    let model = VideoModel::open(&Bundle::load(&fixtures().join("tiny-mean")).unwrap(), &settings()).unwrap();
    let calls = (0..40).map(|k| {
        let model = model.clone();
        tokio::spawn(async move { (k, model.features(vec![frame(k % 5, if k == 17 { 9 } else { 8 })]).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            (17, outcome) => {
                let error = outcome.unwrap_err().to_string();
                assert_eq!(error, "a frame is 9×9 with 243 bytes, the model takes 8×8 RGB");
            }
            (k, outcome) => assert_near(&outcome.unwrap()[0].values, &expected[k % 5]),
        }
    }
}

#[tokio::test]
async fn scope_measures_the_distance_from_its_own_footage() {
    let expected = expected();
    let bundle = Bundle::load(&fixtures().join("tiny-mean")).unwrap();
    let model = VideoModel::open(&bundle, &settings()).unwrap();
    let features = model.features((0..5).map(|k| frame(k, 8)).collect()).await.unwrap();
    let scope = bundle.scope().unwrap();
    assert!((f64::from(scope.distance(&features)) - expected["scope-distance"].as_f64().unwrap()).abs() < 1e-3);
    assert!(scope.distance(&features) <= scope.max_distance());
    let far = Feature { pts: Duration::ZERO, values: vec![50.0; 6].into() };
    assert!(scope.distance(&[far]) > scope.max_distance());
    assert!(Bundle::load(&fixtures().join("tiny-head")).unwrap().scope().is_none());
}

#[test]
fn damaged_bundles_say_everything_that_is_wrong() {
    let dir = changed("tiny-mean", "dim = 6", "dim = 6");
    std::fs::write(dir.path().join("frame.onnx"), "garbage").unwrap();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let error = Bundle::load(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("bundle tiny-mean: frame graph frame.onnx: sha256 is "), "{error}");
    assert!(error.contains("damaged or changed; tokenizer tokenizer.json: missing"), "{error}");

    let checks = verify(dir.path(), &settings());
    let failed: Vec<&str> = checks.iter().filter(|c| c.outcome.is_err()).map(|c| c.what.as_str()).collect();
    assert_eq!(failed, ["frame graph frame.onnx", "tokenizer tokenizer.json"]);

    let dir = changed("tiny-mean", "frames = 4", "framez = 4");
    let error = Bundle::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("line 13") && error.contains("framez"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(Bundle::load(empty.path()).unwrap_err().to_string().contains("cannot read bundle.toml"));
}

#[test]
fn graphs_that_are_not_as_the_manifest_says_are_refused() {
    for (from, to, message) in [
        (
            "width = 8",
            "width = 9",
            "frame graph (frame.onnx): input pixel_values: expected f32 [any batch, 3, 8, 9], found f32 [any, 3, 8, 8]",
        ),
        ("dim = 6", "dim = 7", "output embeds: expected f32 [any batch, 7], found f32 [any, 6]"),
        (
            "input = \"pixel_values\"",
            "input = \"pixels\"",
            "no input \"pixels\", there is: pixel_values; input \"pixel_values\" is not in the manifest",
        ),
        ("output = \"embeds\"", "output = \"e\"", "no output \"e\", there is: embeds"),
    ] {
        // Without the scope, whose statistics would be of another dimension first.
        let dir = changed("tiny-head", from, to);
        let error = VideoModel::open(&Bundle::load(dir.path()).unwrap(), &settings()).err().unwrap().to_string();
        assert!(error.starts_with("bundle tiny-head: ") && error.contains(message), "{error}");
    }
    let dir = changed("tiny-head", "mask = \"attention_mask\"\n", "");
    let error = TextModel::open(&Bundle::load(dir.path()).unwrap(), &settings()).err().unwrap().to_string();
    assert!(error.contains("text graph (text.onnx): input \"attention_mask\" is not in the manifest"), "{error}");
}

#[test]
fn verify_runs_the_graphs() {
    for name in ["tiny-mean", "tiny-head", "tiny-video"] {
        let checks = verify(&fixtures().join(name), &settings());
        for check in &checks {
            assert!(check.outcome.is_ok(), "{name}: {check:?}");
        }
        let ends: Vec<&str> = checks.iter().rev().take(2).map(|c| c.what.as_str()).collect();
        assert_eq!(ends, ["text", "video"]);
    }
}

#[test]
fn bundles_are_found_by_name_and_by_folder() {
    let bundles = Bundles::new(vec![PathBuf::from("/nowhere"), fixtures()]);
    let names: Vec<String> = bundles.list().into_iter().map(|l| l.manifest.unwrap().name).collect();
    assert_eq!(names, ["tiny-head", "tiny-mean", "tiny-video"]);
    let bundle = Bundle::check(bundles.outline("tiny-mean").unwrap()).unwrap();
    assert_eq!(bundle.collection(), format!("clipseek_tiny-mean_{}", &bundle.hash()[..12]));
    let by_path = bundles.outline(fixtures().join("tiny-mean").to_str().unwrap()).unwrap();
    assert_eq!(by_path.hash(), bundle.hash());
    assert!(bundle.total_bytes() > 5000);
    let error = bundles.outline("tiny").unwrap_err().to_string();
    assert!(error.contains("no such model") && error.contains("tiny-head, tiny-mean, tiny-video"), "{error}");
}

#[test]
fn more_than_a_batch_is_encoded_in_parts() {
    let bundle = Bundle::load(&fixtures().join("tiny-mean")).unwrap();
    for way in ways() {
        let mut encoder = OnnxFrameEncoder::open(&bundle, &way).unwrap();
        let features = encoder.encode(&(0..5).map(|k| frame(k, 8)).collect::<Vec<_>>()).unwrap();
        for (feature, values) in features.iter().zip(rows(&expected()["features"])) {
            assert_near(&feature.values, &values);
        }
        assert_eq!(features.len(), 5);
    }
}

#[test]
fn import_says_what_is_missing_and_leaves_nothing_behind() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(from.path().join("tokenizer.json"), "{}").unwrap();
    let error = import(from.path(), "x", to.path(), Variant::Float32).unwrap_err().to_string();
    let missing = "no vision_model.onnx or onnx/vision_model.onnx, no text_model.onnx or onnx/text_model.onnx, \
                   no preprocessor_config.json in ";
    assert!(error.contains(missing) && error.contains(from.path().to_str().unwrap()), "{error}");
    assert!(import(from.path(), "../x", to.path(), Variant::Float32).unwrap_err().to_string().contains("not a name"));
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
}

/// An export made of the tiny graphs, under `onnx/`, with a README.
pub(crate) fn tiny_export(text_graph: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("onnx")).unwrap();
    let copy = |from: &str, to: &str| std::fs::copy(fixtures().join(from), dir.path().join(to)).unwrap();
    copy("tiny-mean/frame.onnx", "onnx/vision_model.onnx");
    copy(text_graph, "onnx/text_model.onnx");
    copy("tiny-mean/tokenizer.json", "tokenizer.json");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("README.md", "---\nlicense: apache-2.0\ntags: [x]\n---\n# Tiny\n");
    write("config.json", r#"{"projection_dim": 6, "text_config": {"max_position_embeddings": 9}}"#);
    write(
        "preprocessor_config.json",
        r#"{"size": {"height": 8, "width": 8}, "do_center_crop": false, "resample": 2,
            "image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.25, 0.27]}"#,
    );
    dir
}

#[tokio::test]
async fn import_reads_names_and_sizes_off_the_graphs() {
    let to = tempfile::tempdir().unwrap();
    let masked = import(tiny_export("tiny-mean/text.onnx").path(), "masked", to.path(), Variant::Float32).unwrap();
    let manifest = masked.manifest();
    assert_eq!((manifest.dim, manifest.licence.as_str()), (6, "apache-2.0"));
    let frame_graph = manifest.graphs.frame.as_ref().unwrap();
    assert_eq!((frame_graph.input.as_str(), frame_graph.output.as_str()), ("pixel_values", "embeds"));
    assert_eq!(manifest.graphs.text.mask.as_deref(), Some("attention_mask"));
    assert_eq!((manifest.text.context_length, manifest.text.padding), (9, Padding::Longest));
    let model = VideoModel::open(&masked, &settings()).unwrap();
    let features = model.features(vec![frame(3, 8)]).await.unwrap();
    assert_near(&features[0].values, &rows(&expected()["features"])[3]);

    // Without a mask, and of one length.
    let plain = import(tiny_export("tiny-video/text.onnx").path(), "plain", to.path(), Variant::Float32).unwrap();
    assert_eq!(plain.manifest().graphs.text.mask, None);
    assert_eq!((plain.manifest().text.context_length, plain.manifest().text.padding), (7, Padding::MaxLength));

    let again = import(tiny_export("tiny-mean/text.onnx").path(), "plain", to.path(), Variant::Float32)
        .unwrap_err()
        .to_string();
    assert!(again.contains("already there"), "{again}");
    let export = tiny_export("tiny-mean/text.onnx");
    std::fs::write(export.path().join("config.json"), r#"{"projection_dim": 512}"#).unwrap();
    let error = import(export.path(), "wrong", to.path(), Variant::Float32).unwrap_err().to_string();
    assert_eq!(error, "bundle wrong: config.json says projection_dim 512, the graphs give 6");
    let swapped = tiny_export("tiny-mean/frame.onnx");
    let error = import(swapped.path(), "wrong", to.path(), Variant::Float32).unwrap_err().to_string();
    assert!(error.contains("text_model.onnx: input pixel_values is "), "{error}");
    std::fs::write(export.path().join("onnx/vision_model.onnx"), "garbage").unwrap();
    assert!(import(export.path(), "wrong", to.path(), Variant::Float32).is_err());
    let mut left: Vec<_> = std::fs::read_dir(to.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["masked", "plain"]);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let (export, to) = (tiny_export("tiny-mean/text.onnx"), tempfile::tempdir().unwrap());
    let file = export.path().join("tokenizer.json");
    let larger = std::fs::read_to_string(&file).unwrap().replace(r#""right": 11"#, r#""right": 11, "wrong": 4999"#);
    std::fs::write(&file, larger).unwrap();
    let error = import(export.path(), "wrong", to.path(), Variant::Float32).unwrap_err().to_string();
    assert!(error.contains("the tokenizer gives ids up to 4999") && error.contains("another model"), "{error}");
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn import_takes_weights_that_lie_beside_their_graph() {
    let (export, to) = (tiny_export("tiny-mean/text.onnx"), tempfile::tempdir().unwrap());
    for file in ["vision_model.onnx", "vision_model.onnx_data"] {
        std::fs::copy(fixtures().join("external").join(file), export.path().join("onnx").join(file)).unwrap();
    }
    let bundle = import(export.path(), "beside", to.path(), Variant::Float32).unwrap();
    let model = VideoModel::open(&bundle, &settings()).unwrap();
    let features = model.features(vec![frame(3, 8)]).await.unwrap();
    assert_near(&features[0].values, &rows(&expected()["features"])[3]);
    // The folder's name need not be text.
    let odd = to.path().join(OsStr::from_bytes(b"\xff"));
    std::fs::rename(export.path(), &odd).unwrap();
    assert!(import(&odd, "odd", to.path(), Variant::Float32).unwrap().dir().join("vision_model.onnx_data").is_file());
    // They count as much as the graph does.
    std::fs::write(bundle.dir().join("vision_model.onnx_data"), [0; 16]).unwrap();
    let error = Bundle::load(bundle.dir()).unwrap_err().to_string();
    assert!(error.contains("weights vision_model.onnx_data: sha256"), "{error}");
}

/// A folder as Immich publishes models, with these graphs of `tests/fixtures/exports`.
pub(super) fn immich_export(vision: &str, text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports");
    for (folder, graph) in [("visual", vision), ("textual", text)] {
        let to = dir.path().join(folder);
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(from.join(graph), to.join("model.onnx")).unwrap();
        let weights = format!("{graph}.data");
        if from.join(&weights).is_file() {
            std::fs::copy(from.join(weights), to.join("model.onnx.data")).unwrap();
        }
    }
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::copy(fixtures().join("tiny-mean/tokenizer.json"), dir.path().join("textual/tokenizer.json")).unwrap();
    write("textual/tokenizer_config.json", r#"{"pad_token": "<pad>", "model_max_length": 9}"#);
    write("config.json", r#"{"embed_dim": 6, "vision_cfg": {"image_size": 8}, "text_cfg": {"context_length": 9}}"#);
    write(
        "visual/preprocess_cfg.json",
        r#"{"size": [8, 8], "mode": "RGB", "mean": [0.48, 0.45, 0.4], "std": [0.26, 0.25, 0.27],
            "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}"#,
    );
    dir
}

#[tokio::test]
async fn exports_with_narrow_numbers_or_single_rows_give_what_the_usual_form_gives() {
    let to = tempfile::tempdir().unwrap();
    let frames = || (0..5).map(|k| frame(k, 8)).collect::<Vec<_>>();
    let words = || ["a red ball", "rolls left", "a film of a ball"].map(str::to_owned).to_vec();
    let mut expected: Option<(Vec<Feature>, Vec<Embedding>)> = None;
    for (name, vision, text) in [
        ("usual", "vision-wide.onnx", "text-wide.onnx"),
        ("beside", "model.onnx", "text-wide.onnx"),
        ("int32", "vision-wide.onnx", "text-int32.onnx"),
        ("float16", "vision-float16.onnx", "text-float16.onnx"),
        ("single", "vision-single.onnx", "text-single.onnx"),
    ] {
        let bundle = import(immich_export(vision, text).path(), name, to.path(), Variant::Float32).unwrap();
        let manifest = bundle.manifest();
        assert_eq!((manifest.dim, manifest.text.context_length, manifest.text.padding), (6, 9, Padding::MaxLength));
        let video = VideoModel::open(&bundle, &settings()).unwrap();
        let features = video.features(frames()).await.unwrap();
        let vectors = TextModel::open(&bundle, &settings()).unwrap().encode(words()).await.unwrap();
        let (usual_features, usual_vectors) = expected.get_or_insert_with(|| (features.clone(), vectors.clone()));
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01);
        assert_eq!((features.len(), vectors.len()), (5, 3));
        for (found, usual) in features.iter().zip(usual_features) {
            assert!(near(&found.values, &usual.values), "{name}: {found:?} and {usual:?}");
        }
        for (found, usual) in vectors.iter().zip(usual_vectors) {
            assert!(near(found.as_slice(), usual.as_slice()), "{name}: {found:?} and {usual:?}");
        }
        for check in verify(bundle.dir(), &settings()) {
            assert!(check.outcome.is_ok(), "{name}: {check:?}");
        }
    }
}

#[test]
fn texts_are_cleaned_where_an_immich_export_was_trained_on_clean_ones() {
    let (export, to) = (immich_export("vision-wide.onnx", "text-wide.onnx"), tempfile::tempdir().unwrap());
    let config =
        r#"{"embed_dim": 6, "text_cfg": {"context_length": 9, "tokenizer_kwargs": {"clean": "canonicalize"}}}"#;
    std::fs::write(export.path().join("config.json"), config).unwrap();
    let bundle = import(export.path(), "clean", to.path(), Variant::Float32).unwrap();
    let tokenizer = TextTokenizer::open(&bundle).unwrap();
    let ids = |text: &str| tokenizer.tokens(&[text.to_owned()]).unwrap().ids;
    assert_eq!(ids(" A  red_Ball, (rolls)! "), ids("a red ball rolls"));
    assert_ne!(ids("a red ball"), ids("a ball"));
}

/// Values from the same graphs in Python with transformers' preprocessing of the same pixels.
#[tokio::test]
async fn imported_photos_mini_gives_the_vectors_python_gives() {
    let Some(dir) = shared("bundles/photos-mini") else { return };
    let to = tempfile::tempdir().unwrap();
    let bundle = import(&dir, "photos-mini", to.path(), Variant::Float32).unwrap();
    assert_eq!((bundle.dim(), bundle.manifest().text.context_length), (512, 77));
    let video = VideoModel::open(&bundle, &EmbedSettings { batch_frames: 4, ..settings() }).unwrap();
    let features = video.features((0..3).map(|k| frame(k, 224)).collect()).await.unwrap();
    assert_near(&features[2].values[..4], &PHOTOS_FRAME_2);
    let text = TextModel::open(&bundle, &settings()).unwrap();
    let vectors = text.encode(vec!["a dog runs through the snow".to_owned(), "rain".to_owned()]).await.unwrap();
    assert_near(&vectors[0].as_slice()[..4], &PHOTOS_DOG);
    assert!(text.is_truncated(&"very ".repeat(80)).unwrap());
}

const PHOTOS_FRAME_2: [f32; 4] = [0.005_520_76, -0.039_505_19, 0.029_378_43, 0.017_416_93];
const PHOTOS_DOG: [f32; 4] = [-0.006_157, 0.043_599_72, 0.102_028_03, 0.030_078_04];

#[test]
fn tokens_agree_with_the_hugging_face_tokenizer() {
    let (Some(cases), Some(dir)) = (shared("fixtures/parity/tokenizer/cases.json"), shared("bundles/photos-mini"))
    else {
        return;
    };
    let to = tempfile::tempdir().unwrap();
    let mut text = import(&dir, "photos-mini", to.path(), Variant::Float32).unwrap().manifest().text.clone();
    (text.context_length, text.padding, text.pad_id) = (50, Padding::MaxLength, 49407);
    let tokenizer = TextTokenizer::load(&dir.join("tokenizer.json"), &text).unwrap();
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(cases).unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let words = case["text"].as_str().unwrap();
        let tokens = tokenizer.tokens(&[words.to_owned()]).unwrap();
        let used: i64 = tokens.mask.iter().sum();
        let expected: Vec<i64> = serde_json::from_value(case["clip_vip_ids"].clone()).unwrap();
        assert_eq!(tokens.ids[..used as usize], expected, "{words:?}");
        assert_eq!(tokens.ids.len(), 50);
        assert!(tokens.ids[used as usize..].iter().all(|id| *id == 49407));
    }
}

#[test]
fn shipped_bundles_are_sound() {
    let shipped = Bundles::new(vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles")]);
    for listed in shipped.list() {
        for check in verify(&listed.dir, &settings()) {
            assert!(check.outcome.is_ok(), "{}: {check:?}", listed.dir.display());
            println!("{}: {}: {}", listed.dir.display(), check.what, check.outcome.unwrap());
        }
    }
}
