//! The suite on a real Qdrant server, and what only a server can get wrong: keys, addresses, restarts.
//!
//! The server is the program named by `CLIPSEEK_TEST_QDRANT`, else `qdrant` on the PATH: started on free loopback
//! ports in a temporary folder and killed afterwards. Or it is one that runs: `CLIPSEEK_TEST_QDRANT_URL`, with
//! `CLIPSEEK_TEST_QDRANT_KEY`; the tests that restart it are left out then.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clipseek::secret::{Secret, SecretUrl};
use clipseek::store::StoreChoice;
use tempfile::TempDir;

use super::*;
use crate::kill;
use crate::support::{World, footage, text};

const KEY: &str = "key-of-the-test-7f3a";

struct OnServer {
    url: String,
    api_key: Option<String>,
    prefix: String,
}

impl Place for OnServer {
    fn catalog(&self, namespace: &str, index: IndexParams) -> Arc<dyn Catalog> {
        let api_key = self.api_key.as_deref().map(Secret::new);
        let choice = StoreChoice::Qdrant { url: SecretUrl::new(&self.url), api_key };
        clipseek::store::catalog(&choice, &format!("{}{namespace}", self.prefix), index).unwrap()
    }
}

/// A server of our own.
struct Running {
    program: PathBuf,
    folder: TempDir,
    grpc: u16,
    http: u16,
    /// Set where the server asks for TLS: its certificate and key.
    tls: Option<(PathBuf, PathBuf)>,
    process: Child,
}

impl Running {
    /// `None`: there is no program to start.
    fn start() -> Option<Self> {
        Self::start_with(None)
    }

    fn start_with(tls: Option<(PathBuf, PathBuf)>) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http) = (free_port(), free_port());
        let process = spawn(&program, &folder, grpc, http, tls.as_ref());
        let mut running = Self { program, folder, grpc, http, tls, process };
        running.wait_until_up();
        Some(running)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = spawn(&self.program, &self.folder, self.grpc, self.http, self.tls.as_ref());
    }

    fn wait_until_up(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.grpc))).is_err() {
            assert!(self.process.try_wait().unwrap().is_none(), "the server ended");
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn place(&self, api_key: Option<&str>) -> OnServer {
        let url = format!("http://127.0.0.1:{}", self.grpc);
        OnServer { url, api_key: api_key.map(str::to_owned), prefix: String::new() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CLIPSEEK_TEST_QDRANT") {
        return Some(named.into());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join("qdrant")).find(|file| file.is_file())
}

fn spawn(program: &Path, folder: &TempDir, grpc: u16, http: u16, tls: Option<&(PathBuf, PathBuf)>) -> Child {
    let mut command = Command::new(program);
    if let Some((certificate, key)) = tls {
        command.env("QDRANT__SERVICE__ENABLE_TLS", "true");
        command.env("QDRANT__TLS__CERT", certificate).env("QDRANT__TLS__KEY", key);
    }
    command
        .current_dir(folder.path())
        .env("QDRANT__SERVICE__HOST", "127.0.0.1")
        .env("QDRANT__SERVICE__GRPC_PORT", grpc.to_string())
        .env("QDRANT__SERVICE__HTTP_PORT", http.to_string())
        .env("QDRANT__SERVICE__API_KEY", KEY)
        .env("QDRANT__STORAGE__STORAGE_PATH", folder.path().join("storage"))
        .env("QDRANT__STORAGE__SNAPSHOTS_PATH", folder.path().join("snapshots"))
        .env("QDRANT__TELEMETRY_DISABLED", "true")
        .env("QDRANT__LOG_LEVEL", "ERROR")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn not_run(what: &str) {
    // Past the capture of the test harness: a suite that did not run must be seen.
    let _ = writeln!(
        std::io::stderr(),
        "{what}: NOT RUN (no server: name a qdrant program 1.16 or later in CLIPSEEK_TEST_QDRANT, or put it on the \
         PATH, or name a running one in CLIPSEEK_TEST_QDRANT_URL)"
    );
}

#[tokio::test]
async fn passes_the_suite() {
    if let Ok(url) = std::env::var("CLIPSEEK_TEST_QDRANT_URL") {
        let api_key = std::env::var("CLIPSEEK_TEST_QDRANT_KEY").ok();
        let place = OnServer { url, api_key, prefix: format!("test{}_", std::process::id()) };
        whole_suite(&place).await;
        remove_collections(&place).await;
    } else if let Some(server) = Running::start() {
        whole_suite(&server.place(Some(KEY))).await;
    } else {
        not_run("store suite on a Qdrant server");
    }
}

#[test]
fn the_program_finds_over_tls_what_it_finds_at_home() {
    let certificates = tempfile::tempdir().unwrap();
    let (certificate, key) = (certificates.path().join("cert.pem"), certificates.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", text(&key), "-out", text(&certificate)])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return println!("skipped: openssl cannot make a certificate here");
    }
    let Some(server) = Running::start_with(Some((certificate.clone(), key))) else {
        return not_run("the whole program on a server with TLS");
    };
    let (home, away) = (World::new(), World::new());
    let url = format!("https://localhost:{}", server.grpc);
    let on_server = |arguments: &[&str], trusted: bool| {
        let mut command = away.command(arguments);
        command.env("CLIPSEEK__STORE__KIND", "qdrant").env("CLIPSEEK__STORE__URL", &url);
        command.env("CLIPSEEK__STORE__API_KEY", KEY);
        if trusted {
            command.env("SSL_CERT_FILE", &certificate);
        }
        command.output().unwrap()
    };
    let indexed = on_server(&["index", text(&footage("tape.mp4"))], true);
    assert!(indexed.status.success(), "{indexed:?}");
    home.ok(&["index", text(&footage("tape.mp4"))]);
    let query = ["search", "a red circle moves to the right", "--json"];
    let found: serde_json::Value = serde_json::from_slice(&on_server(&query, true).stdout).unwrap();
    let here = home.json(&query);
    let ids = |found: &serde_json::Value| -> Vec<String> {
        found["moments"].as_array().unwrap().iter().map(|moment| moment["id"].to_string()).collect()
    };
    assert!(!ids(&here).is_empty());
    assert_eq!(ids(&found), ids(&here));

    let refused = on_server(&query, false);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot reach Qdrant at https://localhost") && said.contains("ertificate"), "{said}");
    assert!(!said.contains(KEY), "{said}");
}

async fn remove_collections(place: &OnServer) {
    let client = qdrant_client::Qdrant::from_url(&place.url).api_key(place.api_key.clone());
    let client = client.skip_compatibility_check().build().unwrap();
    for collection in client.list_collections().await.unwrap().collections {
        if collection.name.starts_with(&place.prefix) {
            client.delete_collection(collection.name).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_refused_key_is_said_and_not_shown() {
    let Some(server) = Running::start() else { return not_run("wrong API key") };
    for key in [None, Some("wrong-key-5521")] {
        let refused = server.place(key).open(&spec("key", 8)).await.map(drop).unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }) && !refused.will_pass(), "{refused}");
        let refused = refused.to_string();
        assert!(refused.contains("refuses the API key"), "{refused}");
        assert!(!refused.contains("wrong-key-5521") && !refused.contains(KEY), "{refused}");
    }
}

#[tokio::test]
async fn a_foreign_collection_is_left_alone() {
    let Some(server) = Running::start() else { return not_run("collection of somebody else") };
    let place = server.place(Some(KEY));
    let collection = spec("theirs", 8);
    let client = qdrant_client::Qdrant::from_url(&place.url).api_key(KEY).skip_compatibility_check().build().unwrap();
    let vectors = qdrant_client::qdrant::VectorParamsBuilder::new(8, qdrant_client::qdrant::Distance::Cosine);
    let request = qdrant_client::qdrant::CreateCollectionBuilder::new(&collection.name).vectors_config(vectors);
    client.create_collection(request).await.unwrap();
    let refused = place.open(&collection).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::OtherModel { .. }), "{refused}");
}

/// As development versions made them.
#[tokio::test]
async fn a_collection_of_a_development_version_is_refused() {
    use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, VectorParamsBuilder};
    let Some(server) = Running::start() else { return not_run("collection of a development version") };
    let place = server.place(Some(KEY));
    let collection = spec("ancient", 8);
    let client = qdrant_client::Qdrant::from_url(&place.url).api_key(KEY).skip_compatibility_check().build().unwrap();
    let bundle = HashMap::from([("clipseek_bundle".to_owned(), serde_json::Value::from(collection.bundle.clone()))]);
    let request = CreateCollectionBuilder::new(&collection.name)
        .vectors_config(VectorParamsBuilder::new(8, Distance::Cosine))
        .metadata(bundle);
    client.create_collection(request).await.unwrap();
    let catalog = place.catalog("", IndexParams::default());
    for refused in [
        catalog.open(&collection).await.map(drop).unwrap_err(),
        catalog.open_existing(&collection.name, collection.owner).await.map(drop).unwrap_err(),
        catalog.adopt(&collection.name, collection.owner).await.unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::Outdated { .. }), "{refused}");
    }
    assert_eq!(catalog.list().await.unwrap(), [], "it may be another's");
    catalog.remove(&collection.name).await.unwrap();
    catalog.open(&collection).await.unwrap();
}

#[tokio::test]
async fn index_settings_reach_the_server() {
    let Some(server) = Running::start() else { return not_run("index settings on a server") };
    let place = server.place(Some(KEY));
    let collection = spec("settings", 8);
    let client = qdrant_client::Qdrant::from_url(&place.url).api_key(KEY).skip_compatibility_check().build().unwrap();
    let changed =
        IndexParams { int8: true, on_disk: false, hnsw_m: 24, hnsw_ef_construct: 80, ..IndexParams::default() };
    for index in [IndexParams::default(), changed, IndexParams::default()] {
        place.catalog("", index).open(&collection).await.unwrap();
        let config = client.collection_info(&collection.name).await.unwrap().result.unwrap().config.unwrap();
        let graph = config.hnsw_config.unwrap();
        assert_eq!(graph.m, Some(index.hnsw_m as u64));
        assert_eq!(graph.ef_construct, Some(index.hnsw_ef_construct as u64));
        let vectors = format!("{:?}", config.params.unwrap().vectors_config);
        assert_eq!(vectors.contains("Scalar"), index.int8, "{vectors}");
        assert!(vectors.contains(&format!("on_disk: Some({})", index.on_disk)), "{vectors}");
    }
}

#[tokio::test]
async fn an_address_without_a_server_is_named() {
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://127.0.0.1:{}", free_port());
        let place = OnServer { url: url.clone(), api_key: Some("secret-9912".into()), prefix: String::new() };
        let refused = place.open(&spec("nobody", 8)).await.map(drop).unwrap_err();
        assert!(matches!(refused, StoreError::Unreachable { .. }) && refused.will_pass(), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&format!("cannot reach Qdrant at {url}")) && text.contains("refused"), "{text}");
        assert!(!text.contains("secret-9912"), "{text}");
    }
    let place = OnServer { url: "not a url".into(), api_key: None, prefix: String::new() };
    let choice = StoreChoice::Qdrant { url: SecretUrl::new(place.url), api_key: None };
    let refused = clipseek::store::catalog(&choice, "", IndexParams::default()).map(drop).unwrap_err();
    assert!(!refused.will_pass(), "{refused}");
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing() {
    let Some(mut server) = Running::start() else { return not_run("server restarted in the middle") };
    let store = server.place(Some(KEY)).open(&spec("restart", 32)).await.unwrap();
    let records: Vec<Record> = (0..3000).map(|n| record(n, n / 100, 32)).collect();
    let writer = {
        let (store, records) = (store.clone(), records.clone());
        tokio::spawn(async move {
            for part in records.chunks(100) {
                store.upsert(part).await.unwrap();
            }
        })
    };
    while store.count(None).await.unwrap() < 500 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.start_again();
    writer.await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 3000);
    for record in records.iter().step_by(97) {
        assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
    }

    server.kill();
    let gone = store.count(None).await.unwrap_err();
    assert!(matches!(gone, StoreError::Unreachable { .. }), "{gone}");
    server.start_again();
    server.wait_until_up();
    assert_eq!(store.count(None).await.unwrap(), 3000, "usable again");
}

fn on(server: &Running, namespace: &str) -> Vec<(String, String)> {
    let setting = |key: &str, value: String| (format!("CLIPSEEK__STORE__{key}"), value);
    vec![
        setting("KIND", "qdrant".into()),
        setting("URL", format!("http://127.0.0.1:{}", server.grpc)),
        setting("API_KEY", KEY.into()),
        setting("NAMESPACE", namespace.into()),
    ]
}

#[test]
fn killed_at_any_moment_the_next_run_puts_the_server_in_order() {
    let Some(server) = Running::start() else { return not_run("kills with records on a server") };
    kill::kill("proptest-regressions/kill-server.txt", kill::kills(30) / 2, &|world| kill::Settings {
        environment: on(&server, &format!("world{world}-")),
    });
}

#[test]
fn a_collection_of_another_data_folder_is_refused_until_it_is_taken_over() {
    let Some(server) = Running::start() else { return not_run("two data folders on a server") };
    let (one, other) = (World::new(), World::new());
    let clip = text(&footage("h264.mp4")).to_owned();
    let run = |world: &World, namespace: &str, arguments: &[&str]| {
        let output = world.command(arguments).envs(on(&server, namespace)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let index = ["index", clip.as_str(), "--json"];
    assert_eq!(run(&one, "", &index).0, Some(0));
    let (code, _, said) = run(&other, "", &index);
    assert_eq!(code, Some(2));
    assert!(said.contains("belongs to another data folder") && said.contains("store.namespace"), "{said}");
    assert_eq!(run(&other, "other-", &index).0, Some(0), "the remedy");
    assert_eq!(run(&one, "", &["verify"]).0, Some(0), "nobody's concern");

    // The first one's ledger is lost.
    std::fs::remove_dir_all(one.data()).unwrap();
    assert_eq!(run(&one, "", &index).0, Some(2));
    let (code, said, _) = run(&one, "", &["verify", "--repair", "--json"]);
    let verified: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &verified["differences"][0]["kind"]), (Some(2), &"other_owner".into()), "nobody was asked");
    let (code, said, _) = run(&one, "", &["verify", "--repair", "--yes", "--json"]);
    let verified: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &verified["differences"][0]["repaired"]), (Some(0), &true.into()));
    assert!(verified["unknown"].as_u64().unwrap() > 0);
    let (code, said, _) = run(&one, "", &index);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["known"], &report["indexed"]), (Some(0), &1.into(), &0.into()), "taken up");
    assert_eq!(run(&one, "", &["verify"]).0, Some(0));
}
