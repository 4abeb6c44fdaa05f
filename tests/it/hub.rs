//! `model pull` against a server on this machine that speaks the hub's protocol, sound and unsound.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::embed::{immich_export, tiny_export};
use super::support::{EXE, Mounted, World, shared, text};

const COMMIT: &str = "5f8d1c0e4b7a49d2a1c3e6f7089b2d4c6e8fa013";
const TOKEN: &str = "hf_token_of_the_test_91c";

/// How the server behaves.
#[derive(Clone, Default)]
struct Conduct {
    /// The connection breaks after so many bytes of a large file.
    breaks_after: Option<usize>,
    /// So many bytes of a large file, then silence.
    stalls_after: Option<usize>,
    /// Large files are announced with another digest.
    lies: bool,
    needs_token: bool,
}

struct LocalHub {
    url: String,
    served: Arc<Served>,
}

struct Served {
    files: BTreeMap<String, Vec<u8>>,
    conduct: Mutex<Conduct>,
    port: u16,
    /// Large files asked for: the path, the range, and whether a token came along.
    asked: Mutex<Vec<(String, Option<String>, bool)>>,
}

impl LocalHub {
    /// Serves the files of a folder as repository `me/tiny`, as long as the tests run.
    fn serving(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
            let path = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            files.insert(path, std::fs::read(entry.path()).unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::new(Served { files, conduct: Mutex::default(), port, asked: Mutex::default() });
        let accepting = Arc::clone(&served);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let served = Arc::clone(&accepting);
                // A client that goes away in the middle is part of the tests.
                std::thread::spawn(move || drop(served.answer(connection)));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), served }
    }

    fn behave(&self, conduct: Conduct) {
        *self.served.conduct.lock().unwrap() = conduct;
    }

    fn asked(&self) -> Vec<(String, Option<String>, bool)> {
        self.served.asked.lock().unwrap().clone()
    }

    fn command(&self, world: &World, arguments: &[&str]) -> std::process::Command {
        let mut command = world.command(&[&["model", "pull"], arguments].concat());
        // Nobody's own token or cache has a say.
        command.env("HF_ENDPOINT", &self.url).env("HF_HOME", world.dir.path()).env_remove("HF_TOKEN");
        command
    }

    fn pull(&self, world: &World, arguments: &[&str]) -> Output {
        self.command(world, arguments).output().unwrap()
    }

    /// A pull that must fail; what it says.
    fn refused(&self, world: &World, arguments: &[&str]) -> String {
        let output = self.pull(world, arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn pulled(&self, world: &World, arguments: &[&str]) -> String {
        let output = self.pull(world, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Served {
    fn answer(&self, mut connection: TcpStream) -> std::io::Result<()> {
        let mut head = BufReader::new(connection.try_clone()?).lines();
        let request = head.next().unwrap_or(Ok(String::new()))?;
        let url = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut range, mut token) = (None, None);
        for line in head.by_ref() {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("range") => range = Some(value.to_owned()),
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => token = Some(value.to_owned()),
                Some(_) => {}
                None => break,
            }
        }
        let conduct = self.conduct.lock().unwrap().clone();
        if let Some(path) = url.strip_prefix("/cdn/") {
            self.asked.lock().unwrap().push((path.to_owned(), range.clone(), token.is_some()));
            return large(&mut connection, &self.files[path], range.as_deref(), &conduct);
        }
        if conduct.needs_token && token.is_none_or(|token| token != format!("Bearer {TOKEN}")) {
            return short(&mut connection, "401 Unauthorized", "", b"");
        }
        let resolve = format!("/me/tiny/resolve/{COMMIT}/");
        if let Some(path) = url.strip_prefix(&resolve) {
            // Large files lie on another host.
            let elsewhere = format!("Location: http://localhost:{}/cdn/{path}\r\n", self.port);
            return match self.files.get(path) {
                None => short(&mut connection, "404 Not Found", "", b""),
                Some(_) if is_large(path) => short(&mut connection, "302 Found", &elsewhere, b""),
                Some(content) => short(&mut connection, "200 OK", "", content),
            };
        }
        match url.strip_prefix("/api/models/").and_then(|url| url.strip_suffix("?blobs=true")) {
            Some("me/tiny/revision/main" | "me/tiny/revision/v1") => {
                short(&mut connection, "200 OK", "", self.listing(conduct.lies).as_bytes())
            }
            Some("me/gated/revision/main") => short(&mut connection, "403 Forbidden", "", b""),
            Some("me/sly-commit/revision/main") => {
                let listing = self.listing(false).replace(COMMIT, "../../../elsewhere");
                short(&mut connection, "200 OK", "", listing.as_bytes())
            }
            Some("me/sly-file/revision/main") => {
                let listing = self.listing(false).replace("tokenizer.json", "../../../../elsewhere.json");
                short(&mut connection, "200 OK", "", listing.as_bytes())
            }
            Some("me/odd/revision/main") => short(&mut connection, "200 OK", "", b"<html>"),
            _ => short(&mut connection, "404 Not Found", "", b""),
        }
    }

    fn listing(&self, lies: bool) -> String {
        let sibling = |(path, content): (&String, &Vec<u8>)| {
            let blob = Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize();
            let mut file = json!({"rfilename": path, "size": content.len(), "blobId": hex(&blob)});
            if is_large(path) {
                let announced = if lies { Sha256::digest(b"something else") } else { Sha256::digest(content) };
                file["lfs"] = json!({"sha256": hex(&announced), "size": content.len(), "pointerSize": 130});
            }
            file
        };
        let siblings: Vec<_> = self.files.iter().map(sibling).collect();
        json!({"sha": COMMIT, "cardData": {"license": "apache-2.0"}, "siblings": siblings}).to_string()
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(path: &str) -> bool {
    path.ends_with(".onnx")
}

fn short(connection: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(connection, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len())?;
    connection.write_all(body)
}

fn large(connection: &mut TcpStream, content: &[u8], range: Option<&str>, conduct: &Conduct) -> std::io::Result<()> {
    let from: usize = range.map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let content = &content[from..];
    write!(connection, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", content.len())?;
    let cut = conduct.breaks_after.or(conduct.stalls_after).unwrap_or(content.len()).min(content.len());
    connection.write_all(&content[..cut])?;
    if cut < content.len() && conduct.stalls_after.is_some() {
        std::thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

#[test]
fn one_command_fetches_checks_and_imports() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    let said = hub.pulled(&world, &["hf:me/tiny@v1"]);
    assert!(said.contains("imported tiny") && said.contains("licence: apache-2.0"), "{said}");
    let models = world.json(&["model", "list", "--json"]);
    assert!(models["models"].as_array().unwrap().iter().any(|model| model["name"] == "tiny"), "{models}");
    world.ok(&["model", "verify", "tiny"]);

    assert!(hub.refused(&world, &["hf:me/tiny"]).contains("already there"));
    let asked = hub.asked().len();
    hub.pulled(&world, &["hf:me/tiny", "--name", "again"]);
    assert_eq!(hub.asked().len(), asked, "the cache serves");
    assert!(hub.asked().iter().all(|(_, range, _)| range.is_none()));
}

#[test]
fn the_layout_of_immich_is_fetched_too() {
    let (world, export) = (World::new(), immich_export("model.onnx", "text-wide.onnx"));
    let hub = LocalHub::serving(export.path());
    let said = hub.pulled(&world, &["hf:me/tiny"]);
    assert!(said.contains("tiny"), "{said}");
    assert!(world.data().join("models/tiny/visual/model.onnx.data").is_file());
}

#[test]
fn a_data_folder_whose_name_is_no_text_takes_files_too() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    let data = world.dir.path().join(OsStr::from_bytes(b"\xff"));
    let mut pull = std::process::Command::new(EXE);
    pull.arg("--data").arg(&data).args(["model", "pull", "hf:me/tiny"]);
    let output =
        pull.env("HF_ENDPOINT", &hub.url).env("HF_HOME", world.dir.path()).env_remove("HF_TOKEN").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let entries: Vec<_> =
        std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, [data.file_name().unwrap()], "nothing lies beside it");
}

#[test]
fn the_password_of_an_endpoint_is_not_shown() {
    let world = World::new();
    let mut pull = world.command(&["model", "pull", "hf:me/tiny"]);
    pull.env("HF_ENDPOINT", "http://me:sesame@127.0.0.1:9")
        .env("HF_HOME", world.dir.path())
        .env("HF_TOKEN", "hf_sesame");
    let said = String::from_utf8(pull.output().unwrap().stderr).unwrap();
    assert!(said.contains("http://***@127.0.0.1:9") && !said.contains("sesame"), "{said}");
}

#[test]
fn an_endpoint_that_is_no_address_is_named() {
    let world = World::new();
    let mut pull = world.command(&["model", "pull", "hf:me/tiny"]);
    let said = String::from_utf8(pull.env("HF_ENDPOINT", "hub.local").output().unwrap().stderr).unwrap();
    assert!(said.contains("HF_ENDPOINT is not the address of a hub: relative URL without a base"), "{said}");
}

#[test]
fn a_broken_connection_goes_on_where_it_was() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    let size = hub.served.files["onnx/vision_model.onnx"].len();
    hub.behave(Conduct { breaks_after: Some(size / 2 + 1), ..Conduct::default() });
    hub.pulled(&world, &["hf:me/tiny"]);
    let ranges: Vec<_> = hub.asked().into_iter().filter(|(path, ..)| path == "onnx/vision_model.onnx").collect();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert_eq!(ranges[1].1.as_deref(), Some(format!("bytes={}-", size / 2 + 1).as_str()));
    world.ok(&["model", "verify", "tiny"]);
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    hub.behave(Conduct { stalls_after: Some(100), ..Conduct::default() });
    let mut child = hub.command(&world, &["hf:me/tiny"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let part = world.data().join("hub/me--tiny").join(COMMIT).join("onnx/vision_model.onnx.part");
    let started = Instant::now();
    while !std::fs::metadata(&part).is_ok_and(|part| part.len() == 100) {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing arrives");
        std::thread::sleep(Duration::from_millis(10));
    }
    let other = hub.refused(&world, &["hf:me/tiny"]);
    assert!(other.contains("fetched by another clipseek process"), "{other}");
    child.kill().unwrap();
    child.wait().unwrap();
    hub.behave(Conduct::default());
    hub.pulled(&world, &["hf:me/tiny"]);
    assert!(hub.asked().iter().any(|(_, range, _)| range.as_deref() == Some("bytes=100-")), "{:?}", hub.asked());
}

#[test]
fn what_is_not_as_announced_is_thrown_away() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    hub.behave(Conduct { lies: true, ..Conduct::default() });
    let said = hub.refused(&world, &["hf:me/tiny"]);
    assert!(said.contains("onnx/vision_model.onnx: not what the hub announced"), "{said}");
    let left = walkdir::WalkDir::new(world.data()).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    assert_eq!(left.count(), 0, "nothing stays");
    hub.behave(Conduct::default());
    hub.pulled(&world, &["hf:me/tiny"]);
}

#[test]
fn a_full_disk_is_said_before_anything_is_fetched() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    std::fs::write(export.path().join("onnx/vision_model.onnx"), vec![7; 3 << 20]).unwrap();
    let hub = LocalHub::serving(export.path());
    let Some(_mounted) = Mounted::tmpfs(&world.data(), "size=2m") else { return };
    let said = hub.refused(&world, &["hf:me/tiny"]);
    assert!(said.contains("3.0 MiB") && said.contains("free") && said.contains("make room"), "{said}");
    assert!(hub.asked().is_empty());
}

#[test]
fn a_token_opens_what_is_private_and_goes_nowhere_else() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    hub.behave(Conduct { needs_token: true, ..Conduct::default() });
    assert!(hub.refused(&world, &["hf:me/tiny"]).contains("HF_TOKEN"));
    let wrong = hub.command(&world, &["hf:me/tiny"]).env("HF_TOKEN", "hf_wrong").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("refuses access") && !said.contains("hf_wrong"), "{said}");
    std::fs::write(world.dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    hub.pulled(&world, &["hf:me/tiny"]);
    assert!(hub.asked().iter().all(|(_, _, token)| !token), "{:?}", hub.asked());
}

#[test]
fn what_cannot_be_pulled_is_named() {
    let (world, export) = (World::new(), tiny_export("tiny-mean/text.onnx"));
    let hub = LocalHub::serving(export.path());
    for (model, expected) in [
        ("hf:me/nothing", "me/nothing: http://127.0.0.1:"),
        ("hf:me/tiny@v9", "knows no such model or revision"),
        ("hf:me/gated", "refuses access (403)"),
        ("hf:me/odd", "not understood"),
        ("hf:me/sly-commit", "\"../../../elsewhere\", which is not 40 or 64 hexadecimal digits"),
        ("hf:me/sly-file", "a file called \"../../../../elsewhere.json\""),
        ("hf:tiny", "write hf:owner/name"),
        ("clip-b64", "no such name"),
    ] {
        let said = hub.refused(&world, &[model]);
        assert!(said.contains(expected), "{model}: {said}");
    }
    let said = hub.refused(&world, &["hf:me/tiny", "--variant", "float16"]);
    assert!(said.contains("vision_model_fp16.onnx") && said.contains("its graphs: onnx/text_model.onnx"), "{said}");
    let nobody = LocalHub { url: "http://127.0.0.1:9".to_owned(), served: hub.served };
    let said = nobody.refused(&world, &["hf:me/tiny"]);
    assert!(said.contains("cannot fetch from http://127.0.0.1:9"), "{said}");
    let listed = nobody.pulled(&world, &[]);
    assert!(listed.contains("clip-b32") && listed.contains("siglip2-b16"), "{listed}");
}

#[test]
fn a_pulled_model_searches_real_footage() {
    let (Some(bundle), Some(clips)) = (shared("bundles/photos-mini"), shared("media/clips")) else { return };
    let (world, hub) = (World::new(), LocalHub::serving(&bundle));
    hub.pulled(&world, &["hf:me/tiny", "--name", "photos"]);
    let files = ["dog_in_snow.mp4", "yoga_terrace.mp4", "flipping_pancake.mkv"].map(|file| clips.join(file));
    world.ok(&[&["index", "--model", "photos"], &files.each_ref().map(|file| text(file))[..]].concat());
    let found = world.json(&["search", "a dog runs through the snow", "--json", "--limit", "1"]);
    assert!(found["moments"][0]["path"].as_str().unwrap().ends_with("dog_in_snow.mp4"), "{found}");
}
