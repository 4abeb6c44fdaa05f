//! A camera: GStreamer's RTSP server in a process of its own, which can be killed and frozen.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::footage;

pub(crate) struct Camera {
    child: Child,
    port: String,
    login: Option<(String, String)>,
}

impl Camera {
    /// `None`, which is said: this machine has no such server.
    pub(crate) fn begin(clip: &str, login: Option<(&str, &str)>) -> Option<Self> {
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let Some((child, port)) = begin(clip, "0", login.as_ref()) else {
            println!("NOT RUN: no RTSP server here (python3-gi and gir1.2-gst-rtsp-server-1.0)");
            return None;
        };
        Some(Self { child, port, login })
    }

    pub(crate) fn uri(&self) -> String {
        format!("rtsp://127.0.0.1:{}/camera", self.port)
    }

    pub(crate) fn uri_with(&self, user: &str, password: &str) -> String {
        self.uri().replace("rtsp://", &format!("rtsp://{user}:{password}@"))
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// At the same address.
    pub(crate) fn back(&mut self, clip: &str) {
        self.child = begin(clip, &self.port, self.login.as_ref()).expect("it was there before").0;
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn begin(clip: &str, port: &str, login: Option<&(String, String)>) -> Option<(Child, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/camera.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).args(["--port", port]);
    if let Some((user, password)) = login {
        command.args(["--user", user, "--password", password]);
    }
    let mut child = command.arg(footage(clip)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    let port = line.trim().split(':').nth(2)?.split('/').next()?.to_owned();
    Some((child, port))
}
