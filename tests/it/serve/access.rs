//! Who gets in over the network, and the page.

use std::net::TcpStream;

use serde_json::json;

use super::*;

/// Where a daemon listens, as it says.
fn address(daemon: &Daemon) -> String {
    let said = daemon.said();
    let url = said.split("listening on http://").nth(1).or(said.split("listening on https://").nth(1)).unwrap();
    url.split_whitespace().next().unwrap().to_owned()
}

fn get(address: &str, target: &str, headers: &str) -> Fetched {
    ask(address, "GET", target, headers, b"")
}

fn ask(address: &str, method: &str, target: &str, headers: &str, body: &[u8]) -> Fetched {
    let mut stream = TcpStream::connect(address).unwrap();
    fetched(&mut stream, method, target, &format!("Host: {address}\r\n{headers}"), body)
}

#[test]
fn the_page_comes_from_the_program_and_may_ask_nobody_else() {
    let (world, _) = world();
    let daemon = serve(&world, &[]);
    let address = address(&daemon);
    let page = get(&address, "/", "");
    assert!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("<title>clipseek"), "{page:?}");
    assert_eq!(page.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    for target in ["/", "/v1/sources", "/v1/nothing"] {
        let answer = get(&address, target, "");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{target}");
    }
    let tag = page.header("etag").unwrap();
    assert_eq!(get(&address, "/index.html", &format!("If-None-Match: {tag}\r\n")).status, 304);
    assert_eq!(get(&address, "/nothing.js", "").status, 404);
    assert_eq!(ask(&address, "POST", "/index.html", "", b"").status, 405);
    // Pages of other sites.
    let job = br#"{"kind": "verify"}"#;
    let json = "Content-Type: application/json\r\n";
    let foreign = [
        "Origin: http://evil.example\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
    ];
    for header in foreign {
        let refused = ask(&address, "POST", "/v1/jobs", &format!("{json}{header}"), job);
        assert_eq!(refused.status, 403, "{header}: {refused:?}");
    }
    // A folder of this machine is no name of a model, but for its owner, who comes by the socket.
    let folder = br#"{"text": "a dog", "model": "/etc"}"#;
    let refused = ask(&address, "POST", "/v1/search", json, folder);
    assert!(
        refused.status == 400 && refused.json()["detail"].as_str().unwrap().contains("give the name"),
        "{refused:?}"
    );
    let (_, answered) = daemon.ask("POST", "/v1/search", std::str::from_utf8(folder).unwrap()).unwrap();
    assert!(!answered.contains("give the name"), "{answered}");
    let own = format!("{json}Origin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(ask(&address, "POST", "/v1/jobs", &own, job).status, 202);
}

#[test]
fn with_a_token_nobody_gets_in_without_one() {
    let (world, _) = world();
    let made = |name: &str, role: &str| {
        let made = world.json(&["token", "new", "--name", name, "--role", role, "--json"]);
        let table = &made["token"];
        let table =
            format!("[[token]]\nname = {}\nrole = {}\nsha256 = {}\n", table["name"], table["role"], table["sha256"]);
        (made["secret"].as_str().unwrap().to_owned(), table)
    };
    let ((phone, reading), (desk, all)) = (made("phone", "read"), made("desk", "admin"));
    let config = world.dir.path().join("clipseek.toml");
    std::fs::write(&config, reading + &all).unwrap();
    let config = ["--config", text(&config)];
    let daemon = serve(&world, &config);
    let address = address(&daemon);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    assert_eq!(get(&address, "/", "").status, 200);
    assert_eq!(get(&address, "/livez", "").status, 200);
    for target in ["/v1/sources", "/metrics", "/v1/events", "/v1/media/x/file"] {
        let refused = get(&address, target, "");
        assert_eq!((refused.status, refused.header("www-authenticate").as_deref()), (401, Some("Bearer")), "{target}");
    }
    assert_eq!(get(&address, "/v1/sources", &bearer("wrong")).status, 401);
    assert_eq!(get(&address, "/v1/sources", &bearer(&phone)).status, 200);
    let json = "Content-Type: application/json\r\n";
    let job = |token: &str| ask(&address, "POST", "/v1/jobs", &(bearer(token) + json), br#"{"kind": "verify"}"#).status;
    assert_eq!((job(&phone), job(&desk)), (403, 202));
    let search = ask(&address, "POST", "/v1/search", &(bearer(&phone) + json), br#"{"text": "a dog"}"#);
    assert_eq!(search.status, 200, "{search:?}");
    let may = json!({"role": "read", "needs_token": true, "can_add_folders": false, "can_add_streams": false});
    assert_eq!(get(&address, "/v1/session", &bearer(&phone)).json(), may);

    // The link that it prints, once.
    let said = daemon.said();
    let link = said.split(&format!("http://{address}")).find(|part| part.starts_with("/login?code=")).unwrap();
    let link = link.split('"').next().unwrap();
    let entered = get(&address, link, "");
    assert_eq!((entered.status, entered.header("location").as_deref()), (303, Some("/")), "{entered:?}");
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(get(&address, "/v1/sources", &cookie).status, 200);
    assert_eq!(get(&address, "/v1/session", &cookie).json()["role"], "admin");
    assert_eq!(get(&address, link, "").status, 401, "used already");
    // Another one, for somebody who may only look.
    let link = world.ok(&["token", "link"]).out;
    let link = link.trim().strip_prefix(&format!("http://{address}")).unwrap();
    let cookie = get(&address, link, "").header("set-cookie").unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let refused = ask(&address, "POST", "/v1/jobs", &(cookie + json), br#"{"kind": "verify"}"#);
    assert_eq!(refused.status, 403);
    // The owner needs none.
    assert_eq!(daemon.get("/v1/sources").unwrap().0, 200);
    assert!(!daemon.said().contains(&phone) && !daemon.said().contains(&desk));
    drop(daemon);
    let open = World::new();
    let mut command = open.command(&[&["serve", "--listen", "0.0.0.0:0"][..], &config].concat());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = lines.any(|line| line.is_ok_and(|line| line.contains("listening on http://0.0.0.0:")));
    let _ = child.kill();
    let _ = child.wait();
    assert!(listens, "with a token it listens elsewhere, too");
}

#[test]
fn whoever_asks_too_much_is_told_when_to_come_again() {
    let (world, _) = world();
    let config = world.dir.path().join("clipseek.toml");
    std::fs::write(&config, "[serve]\nrate_per_sec = 1\nrate_burst = 3\n").unwrap();
    let daemon = serve(&world, &["--config", text(&config)]);
    let address = address(&daemon);
    let refused = (0..20).map(|_| get(&address, "/livez", "")).find(|answer| answer.status == 429);
    let refused = refused.expect("some of them are refused");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(daemon.get("/livez").unwrap().0, 200, "the socket has no limits");
    // A body that is too large.
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let head = "Host: localhost\r\nContent-Type: application/json\r\n";
    let large = fetched(&mut stream, "POST", "/v1/jobs", head, &vec![b' '; 2 << 20]);
    assert_eq!(large.status, 413, "{large:?}");
}

#[test]
fn a_certificate_encrypts() {
    let (world, _) = world();
    let (cert, key) = (world.dir.path().join("cert.pem"), world.dir.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", text(&cert), "-keyout", text(&key)])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("skipped: openssl is not installed");
        return;
    }
    let config = world.dir.path().join("clipseek.toml");
    let settings = format!("[serve]\ntls_cert = {:?}\ntls_key = {:?}\n", text(&cert), text(&key));
    std::fs::write(&config, &settings).unwrap();
    let daemon = serve(&world, &["--config", text(&config)]);
    let address = address(&daemon);
    let asked =
        Command::new("curl").args(["-sS", "--cacert", text(&cert), &format!("https://{address}/livez")]).output();
    match asked {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"live\":true}", "{output:?}"),
        Err(error) => println!("skipped: curl: {error}"),
    }
    assert_eq!(daemon.end(), Some(0));
    std::fs::write(&key, "nonsense").unwrap();
    let ran = world.run(&["serve", "--listen", "127.0.0.1:0", "--config", text(&config)]);
    assert!(ran.code == 2 && ran.err.contains("the certificate") && ran.err.contains("key.pem"), "{ran:?}");
}
