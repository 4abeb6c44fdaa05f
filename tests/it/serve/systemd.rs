//! The daemon as a service: what it tells systemd, and the unit that it is started by.

use std::os::unix::net::UnixDatagram;

use super::*;

/// What has been told until now, a line each.
struct Told {
    socket: UnixDatagram,
    lines: Vec<String>,
}

impl Told {
    fn lines(&mut self) -> &[String] {
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            self.lines.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        &self.lines
    }

    fn count(&mut self, line: &str) -> usize {
        self.lines().iter().filter(|told| told.starts_with(line)).count()
    }
}

#[test]
fn systemd_is_told_how_the_daemon_does() {
    let (world, videos) = world();
    let place = world.dir.path().join("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut told = Told { socket, lines: Vec::new() };
    let log = world.dir.path().join("serve.log");
    let mut command = command(&world, &[text(&videos)]);
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "400000");
    let child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let daemon = Daemon { world: &world, child, log };
    daemon.until("it is ready", || told.count("READY=1") == 1);
    assert_eq!(daemon.get("/livez").unwrap().0, 200, "ready means that the API answers");
    assert_eq!(told.count("STATUS=1 source"), 1, "{:?}", told.lines);
    daemon.until("it is alive", || told.count("WATCHDOG=1") >= 3);
    daemon.signal("HUP");
    daemon.until("it reads its settings again", || told.count("RELOADING=1") == 1 && told.count("READY=1") == 2);
    assert_eq!(told.count("MONOTONIC_USEC="), 1);
    // A daemon that hangs is silent.
    daemon.signal("STOP");
    std::thread::sleep(Duration::from_millis(100));
    let before = told.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(told.count("WATCHDOG=1"), before);
    daemon.signal("CONT");
    daemon.until("it is alive again", || told.count("WATCHDOG=1") > before);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(told.count("STOPPING=1"), 1);
}

/// The unit with this build's program in it.
fn unit(world: &World) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/clipseek.service");
    let unit = std::fs::read_to_string(shipped).unwrap();
    let place = world.dir.path().join("clipseek.service");
    std::fs::write(&place, unit.replace("/usr/bin/clipseek", crate::support::EXE)).unwrap();
    place
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_well_confined() {
    let world = World::new();
    let unit = unit(&world);
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&unit).output();
    let Ok(verified) = analyze(&["verify"]) else {
        println!("NOT RUN: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    // It also looks at the units that this one refers to.
    let own: Vec<&str> = said.lines().filter(|line| line.contains("clipseek")).collect();
    assert!(own.is_empty(), "{own:?}");
    // The exposure, times ten.
    let secure = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]).unwrap();
    assert!(secure.status.success(), "{}", String::from_utf8_lossy(&secure.stdout));
}
