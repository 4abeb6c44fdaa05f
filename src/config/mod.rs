//! Typed settings: defaults < file < environment < flags. Unknown keys are errors. Every key is in the annotated
//! `pipelines/clipseek.example.toml`, which a test loads.

mod access;
mod added;
mod overrides;
mod play;
mod search;
mod serve;
mod streams;
mod telemetry;
mod validate;

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

pub use access::{Role, TokenSettings};
pub use added::Refusal;
pub use overrides::{Overrides, WindowLength};
pub use play::PlaySettings;
pub use search::SearchSettings;
pub use serve::{BacklogOrder, Poll, ServeSettings, SourceSettings, WatchSettings};
pub use streams::{LiveSettings, RecordingSettings};
pub use telemetry::TelemetrySettings;

use crate::decode::Sampling;
use crate::embed::runtime::EmbedSettings;
use crate::secret::{Secret, SecretUrl};
use crate::store::IndexParams;

/// Prefix of environment variables: `CLIPSEEK__STORE__URL` sets `store.url`.
const ENVIRONMENT: &str = "CLIPSEEK";

/// All settings. `Serialize` and `Debug` hide secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder for everything that clipseek writes.
    pub data_dir: PathBuf,
    pub model: EmbedSettings,
    pub index: IndexSettings,
    pub store: StoreSettings,
    pub search: SearchSettings,
    pub play: PlaySettings,
    pub serve: ServeSettings,
    pub watch: WatchSettings,
    pub live: LiveSettings,
    pub recording: RecordingSettings,
    pub telemetry: TelemetrySettings,
    /// Who may ask the daemon over the network.
    pub token: Vec<TokenSettings>,
    /// What the daemon watches.
    pub source: Vec<SourceSettings>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexSettings {
    /// Length of a window in seconds; unset: the length the bundle was made for.
    pub window_secs: Option<f64>,
    /// Each file is one window.
    pub window_whole: bool,
    /// Seconds from one window's start to the next; unset: the bundle's fraction of the window.
    pub stride_secs: Option<f64>,
    /// Length of a window in frames at the bundle's frame interval; together with `window_secs`, the number of frames
    /// in a window.
    pub frames: Option<usize>,
    /// Frames from one window's start to the next.
    pub stride_frames: Option<usize>,
    pub sampling: Sampling,
    /// Write a caption for each window, if the bundle has a caption decoder.
    pub captions: bool,
    /// Beams per caption, 1 is greedy; unset: as the bundle says.
    pub caption_beams: Option<usize>,
    /// Keep the features of every frame in the store, as float16; unset: if the bundle's frames have features.
    pub frame_features: Option<bool>,
    /// Files decoded side by side; unset: two more than there are cores.
    pub jobs: Option<usize>,
    /// Longer side in pixels of the pictures shown with moments.
    pub thumbnail_px: u32,
    /// Least seconds between two such pictures.
    pub thumbnail_secs: f64,
    /// Seconds between two checkpoints, at which progress is made durable.
    pub checkpoint_secs: f64,
    /// A file whose decoder reports nothing for this many seconds is given up.
    pub stall_secs: f64,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self {
            window_secs: None,
            window_whole: false,
            stride_secs: None,
            frames: None,
            stride_frames: None,
            sampling: Sampling::Auto,
            captions: true,
            caption_beams: None,
            frame_features: None,
            jobs: None,
            thumbnail_px: 320,
            thumbnail_secs: 2.0,
            checkpoint_secs: 10.0,
            stall_secs: 60.0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    pub kind: StoreKind,
    /// gRPC address of a Qdrant server, such as `http://localhost:6334`; `https` for TLS.
    pub url: Option<SecretUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Put before the name of each collection; keeps data folders apart that share a server.
    pub namespace: String,
    /// See [`IndexParams`] for these.
    pub int8: bool,
    pub on_disk: bool,
    pub hnsw_m: usize,
    pub hnsw_ef_construct: usize,
    pub hnsw_ef: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        let IndexParams { int8, on_disk, hnsw_m, hnsw_ef_construct, hnsw_ef } = IndexParams::default();
        Self {
            kind: StoreKind::default(),
            url: None,
            api_key: None,
            namespace: String::new(),
            int8,
            on_disk,
            hnsw_m,
            hnsw_ef_construct,
            hnsw_ef,
        }
    }
}

impl StoreSettings {
    pub fn index_params(&self) -> IndexParams {
        let Self { int8, on_disk, hnsw_m, hnsw_ef_construct, hnsw_ef, .. } = *self;
        IndexParams { int8, on_disk, hnsw_m, hnsw_ef_construct, hnsw_ef }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In this process, in the data folder.
    #[default]
    Edge,
    /// A server or cluster.
    Qdrant,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            model: EmbedSettings::default(),
            index: IndexSettings::default(),
            store: StoreSettings::default(),
            search: SearchSettings::default(),
            play: PlaySettings::default(),
            serve: ServeSettings::default(),
            watch: WatchSettings::default(),
            live: LiveSettings::default(),
            recording: RecordingSettings::default(),
            telemetry: TelemetrySettings::default(),
            token: Vec::new(),
            source: Vec::new(),
        }
    }
}

impl Settings {
    pub fn ledger_path(&self) -> PathBuf {
        self.data_dir.join("ledger.sqlite")
    }

    pub fn thumbs_dir(&self) -> PathBuf {
        self.data_dir.join("thumbs")
    }

    /// Recordings of live streams.
    pub fn footage_dir(&self) -> PathBuf {
        self.data_dir.join("footage")
    }

    /// Cache of footage that was cut out for players.
    pub fn playback_dir(&self) -> PathBuf {
        self.data_dir.join("playback")
    }

    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    pub fn models_dir(&self) -> PathBuf {
        self.data_dir.join("models")
    }

    /// Cache of TensorRT's engines.
    pub fn engines_dir(&self) -> PathBuf {
        self.data_dir.join("engines")
    }
}

/// `$XDG_DATA_HOME/clipseek`, else `~/.local/share/clipseek`, else `clipseek-data` in the current folder.
fn default_data_dir() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    var("XDG_DATA_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("clipseek-data"), |base| base.join("clipseek"))
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration: {0}")]
    Read(String),
    #[error("configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// Reads settings from the file (if any) and the environment. The caller applies the flags and then calls
/// [`Settings::check`].
pub fn load(file: Option<&Path>) -> Result<Settings, ConfigError> {
    // Values stay texts until the type of their key is known: parsed as a number, a key of digits would lose its
    // leading zeros.
    load_with(file, Environment::with_prefix(ENVIRONMENT).prefix_separator("__").separator("__"))
}

fn load_with(file: Option<&Path>, environment: Environment) -> Result<Settings, ConfigError> {
    let mut builder = Config::builder();
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError::Read(format!("no such file: {}", path.display())));
        }
        check_syntax(path)?;
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let config = builder.add_source(environment).build().map_err(|error| ConfigError::Read(error.to_string()))?;
    config.try_deserialize().map_err(|error| {
        let place = file.map_or_else(|| "the environment".to_owned(), |path| path.display().to_string());
        ConfigError::Read(format!("{error} (in {place}; `clipseek config show` lists every key)"))
    })
}

/// Checks the syntax before `config` reads the file, because `config`'s error quotes a wrong line, which may hold a
/// secret.
fn check_syntax(path: &Path) -> Result<(), ConfigError> {
    let fail = |problem: String| ConfigError::Read(format!("{}{problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fail(format!(": {error}")))?;
    text.parse::<toml::Table>().map(drop).map_err(|error| {
        let line = error.span().map(|span| text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count() + 1);
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        fail(format!("{line}: {}", error.message()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_environment(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::with_prefix(ENVIRONMENT).prefix_separator("__").separator("__");
        load_with(None, environment.source(Some(variables)))
    }

    fn load_text(text: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clipseek.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path))
    }

    #[test]
    fn a_typo_is_an_error_that_names_it() {
        let error = load_text("[index]\nwindow_sec = 3").unwrap_err().to_string();
        assert!(error.contains("window_sec"), "{error}");
        let error = load_text("[indx]\nframes = 3").unwrap_err().to_string();
        assert!(error.contains("indx"), "{error}");
        let error = load_text("[model]\ndevise = \"cpu\"").unwrap_err().to_string();
        assert!(error.contains("devise"), "{error}");
        // Set by the program, never by a person.
        let error = load_text("[model]\nrehearse = true").unwrap_err().to_string();
        assert!(error.contains("rehearse"), "{error}");
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let settings = load_text("[index]\nwindow_secs = -1.0\nframes = 0\n[store]\nkind = \"qdrant\"").unwrap();
        let error = settings.check().unwrap_err().to_string();
        for key in ["index.window_secs", "index.frames", "store.url"] {
            assert!(error.contains(key), "{key} is missing in: {error}");
        }
    }

    #[test]
    fn texts_from_the_environment_stay_as_they_are() {
        for key in ["000123", "1e5", "true", "12345678901234567890123", "0x10", "-0", " a b "] {
            let settings = load_environment(&[("CLIPSEEK__STORE__API_KEY", key), ("CLIPSEEK__STORE__NAMESPACE", key)]);
            let store = settings.unwrap().store;
            assert_eq!((store.api_key.unwrap().expose(), store.namespace.as_str()), (key, key));
        }
    }

    #[test]
    fn numbers_and_choices_come_from_the_environment_too() {
        let settings = load_environment(&[
            ("CLIPSEEK__DATA_DIR", "/0123"),
            ("CLIPSEEK__MODEL__DEVICE", "cpu"),
            ("CLIPSEEK__MODEL__BATCH_FRAMES", "016"),
            ("CLIPSEEK__INDEX__WINDOW_SECS", "2"),
            ("CLIPSEEK__INDEX__STRIDE_SECS", "0.5"),
            ("CLIPSEEK__INDEX__CAPTIONS", "false"),
            ("CLIPSEEK__INDEX__FRAME_FEATURES", "true"),
            ("CLIPSEEK__INDEX__JOBS", "3"),
            ("CLIPSEEK__STORE__KIND", "qdrant"),
            ("CLIPSEEK__STORE__URL", "http://host:6334"),
        ])
        .unwrap();
        assert_eq!(settings.data_dir, Path::new("/0123"));
        assert_eq!(
            (settings.model.device, settings.model.batch_frames),
            (crate::embed::runtime::DeviceChoice::Cpu, 16)
        );
        let index = settings.index;
        assert_eq!((index.window_secs, index.stride_secs, index.jobs), (Some(2.0), Some(0.5), Some(3)));
        assert_eq!((index.captions, index.frame_features), (false, Some(true)));
        assert_eq!(
            (settings.store.kind, settings.store.url.unwrap().expose()),
            (StoreKind::Qdrant, "http://host:6334")
        );
        for (name, value) in [("CLIPSEEK__INDEX__JOBS", "1.5"), ("CLIPSEEK__INDEX__WINDOW_SECS", "long")] {
            let error = load_environment(&[(name, value)]).unwrap_err().to_string();
            let key = name.trim_start_matches("CLIPSEEK__INDEX__").to_lowercase();
            assert!(error.contains(&key) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn times_and_counts_that_nothing_can_come_of_are_refused() {
        let check = |text: &str| load_text(&format!("[index]\n{text}")).unwrap().check().map_err(|e| e.to_string());
        check("window_secs = 0.001\nstride_secs = 0.001\ncheckpoint_secs = 0.001\nthumbnail_secs = 1e7").unwrap();
        for key in ["window_secs", "stride_secs", "checkpoint_secs", "stall_secs", "thumbnail_secs"] {
            for value in ["1e-12", "0.0", "-0.0", "-1.0", "1e8", "1e300", "inf", "-inf", "nan"] {
                let error = check(&format!("{key} = {value}")).unwrap_err();
                assert!(error.contains(&format!("index.{key} is ")) && error.contains("0.001"), "{error}");
            }
        }
        for key in ["frames", "stride_frames", "caption_beams", "jobs"] {
            for value in [0, 1025, i64::MAX] {
                let error = check(&format!("{key} = {value}")).unwrap_err();
                assert!(error.contains(&format!("index.{key}")), "{error}");
            }
        }
    }

    #[test]
    fn settings_of_the_store_lie_within_bounds() {
        let check = |text: &str| load_text(&format!("[store]\n{text}")).unwrap().check().map_err(|e| e.to_string());
        check("namespace = \"team-a.\"\nint8 = true\nhnsw_m = 32\nhnsw_ef_construct = 200\nhnsw_ef = 400").unwrap();
        let wrong = [
            ("namespace = \"a/b\"", "store.namespace"),
            ("namespace = \".a\"", "store.namespace"),
            ("hnsw_m = 1", "store.hnsw_m"),
            ("hnsw_m = 1000", "store.hnsw_m"),
            ("hnsw_ef_construct = 3", "store.hnsw_ef_construct"),
            ("hnsw_ef = 0", "store.hnsw_ef"),
        ];
        for (text, key) in wrong {
            let error = check(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn settings_of_a_gpu_that_could_not_matter_are_refused() {
        let check = |text: &str| load_text(&format!("[model]\n{text}")).unwrap().check().map_err(|e| e.to_string());
        check("device = \"tensorrt\"\ndevice_index = 3\ngpu_memory_mib = 4096\ntensorrt_workspace_mib = 1024").unwrap();
        check("device = \"auto\"\ncuda_graphs = true").unwrap();
        let wrong = [
            ("device = \"cpu\"\ncuda_graphs = true", "model.cuda_graphs"),
            ("device = \"cpu\"\ngpu_memory_mib = 4096", "model.gpu_memory_mib"),
            ("device = \"cpu\"\ndevice_index = 1", "model.device_index"),
            ("device = \"cuda\"\ntensorrt_workspace_mib = 1024", "model.tensorrt_workspace_mib"),
            ("gpu_memory_mib = 4", "model.gpu_memory_mib"),
            ("device_index = 1000", "model.device_index"),
        ];
        for (text, key) in wrong {
            let error = check(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
        assert!(load_text("[model]\ndevice = \"gpu\"").unwrap_err().to_string().contains("gpu"));
    }

    #[test]
    fn the_annotated_example_is_the_default() {
        let example =
            load(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/clipseek.example.toml")))).unwrap();
        example.check().unwrap();
        let expected = Settings { data_dir: example.data_dir.clone(), ..Settings::default() };
        assert_eq!(example, expected, "the example shows the defaults");
    }

    #[test]
    fn every_key_is_in_the_annotated_example() {
        let example = include_str!("../../pipelines/clipseek.example.toml");
        let mut full = Settings::default();
        full.model.name = Some("x".into());
        full.model.threads = Some(1);
        full.model.gpu_memory_mib = Some(1);
        full.model.tensorrt_workspace_mib = Some(1);
        full.index.window_secs = Some(1.0);
        full.index.stride_secs = Some(1.0);
        full.index.frames = Some(1);
        full.index.stride_frames = Some(1);
        full.index.caption_beams = Some(1);
        full.index.frame_features = Some(true);
        full.index.jobs = Some(1);
        full.search.concurrent = Some(1);
        full.play.concurrent = Some(1);
        full.source.push(SourceSettings {
            path: Some("x".into()),
            uri: Some(SecretUrl::new("x")),
            template: Some("x".into()),
            user: Some("x".into()),
            user_env: Some("x".into()),
            password_env: Some("x".into()),
            password_file: Some("x".into()),
            label: Some("x".into()),
            sampling: Some(Sampling::Auto),
            ..SourceSettings::default()
        });
        full.token.push(TokenSettings::default());
        (full.serve.tls_cert, full.serve.tls_key) = (Some("x".into()), Some("x".into()));
        full.live.templates = Some("x".into());
        (full.recording.keep_days, full.recording.max_gib) = (Some(1.0), Some(1.0));
        full.store.url = Some(SecretUrl::new("x"));
        full.store.api_key = Some(Secret::new("x"));
        let table = toml::Table::try_from(&full).unwrap();
        for (section, value) in &table {
            let table = value.as_table().or_else(|| value.as_array()?.first()?.as_table());
            let keys: Vec<&String> = table.map_or_else(|| vec![section], |table| table.keys().collect());
            for key in keys {
                let documented =
                    example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")));
                assert!(documented, "{section}.{key} is not in the example");
            }
        }
    }

    #[test]
    fn secrets_are_hidden() {
        let url = "https://me:sesame@host:6334/?token=sesame";
        let settings =
            load_environment(&[("CLIPSEEK__STORE__URL", url), ("CLIPSEEK__STORE__API_KEY", "sesame")]).unwrap();
        for shown in
            [format!("{settings:?}"), toml::to_string(&settings).unwrap(), serde_json::to_string(&settings).unwrap()]
        {
            assert!(!shown.contains("sesame") && shown.contains("https://***@host:6334/?token=***"), "{shown}");
        }
    }

    #[test]
    fn errors_about_the_file_do_not_quote_what_is_secret() {
        for (text, expected) in [
            ("[store]\napi_key = \"sesame\nint8 = true", "clipseek.toml:2: "),
            ("[store]\napi_key = sesame", "clipseek.toml:2: "),
            ("[store]\napi_key = 0918273", "clipseek.toml:2: "),
            ("[store]\napi_key = 918273", "in quotes"),
            ("[store]\napi_key = 918273.5", "in quotes"),
            ("[store]\napi_key = [\"sesame\"]", "in quotes"),
            ("[store]\nurl = { sesame = \"sesame\" }", "in quotes"),
        ] {
            let error = load_text(text).unwrap_err().to_string();
            assert!(!error.contains("sesame") && !error.contains("918273"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
