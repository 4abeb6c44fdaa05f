//! A network that loses packets, has little room, and is gone for a while: a namespace of its own, in which the kernel drops.
//! Delays of their own (netem) are not in every kernel; here packets wait for room.

use std::process::{Command, Stdio};

use super::*;

const INSIDE: &str = "CLIPSEEK_TEST_NETWORK";

/// Runs a program of the system; whether it was well.
fn ran(command: &str) -> bool {
    let mut words = command.split(' ');
    let Some(program) = words.next() else { return false };
    let status = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

const LOSES: &str = "INPUT -i lo -m statistic --mode random --probability 0.02 -j DROP";
const IS_GONE: &str = "INPUT -i lo -j DROP";

#[test]
fn a_bad_network_costs_little_and_one_that_is_gone_is_waited_for() {
    if std::env::var_os(INSIDE).is_some() {
        return in_a_bad_network();
    }
    if !ran("unshare -n ip link set lo up") || !ran("unshare -n iptables -L") {
        println!("NOT RUN: a network of its own (unshare -n, ip and iptables, as root)");
        return;
    }
    let mut test = Command::new("unshare");
    test.arg("-n").arg(std::env::current_exe().unwrap());
    test.args([
        "--exact",
        "--nocapture",
        "serve::streams::network::a_bad_network_costs_little_and_one_that_is_gone_is_waited_for",
    ]);
    let output = test.env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
}

fn in_a_bad_network() {
    assert!(ran("ip link set lo up"));
    if !ran(&format!("iptables -A {LOSES}")) {
        println!("NOT RUN: a network that loses packets (the statistic module of iptables)");
        return;
    }
    // At most so much a second, and so much waits.
    let is_narrow = ran("tc qdisc add dev lo root tbf rate 20mbit burst 64kb latency 200ms");
    println!("2 % of all packets are lost{}", if is_narrow { ", 20 Mbit/s" } else { "" });
    let Some(camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let over_udp = camera.uri().replace("rtsp://", "rtspu://");
    let daemon = watching(&world, &(source("tcp", &camera.uri()) + &source("udp", &over_udp)));
    for name in ["tcp", "udp"] {
        daemon.until_state(name, "live");
        daemon.until_windows(name, 3);
    }
    // What is lost is sent again: no window is missing between the first and the last.
    daemon.until_windows("tcp", 8);
    let rows = daemon.windows_of("tcp");
    let of_one_hour = rows.iter().filter(|row| row["path"] == rows[0]["path"]);
    let mut starts: Vec<f64> = of_one_hour.filter_map(|row| row["start_s"].as_f64()).collect();
    starts.sort_by(f64::total_cmp);
    let steps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (step - steps[0]).abs() < 1e-6), "{starts:?}");

    assert!(ran(&format!("iptables -I {IS_GONE}")));
    for name in ["tcp", "udp"] {
        daemon.until(&format!("{name} is missed"), || {
            ["stalled", "backing_off", "connecting"].contains(&daemon.source(name)["state"].as_str().unwrap())
        });
    }
    let before = ["tcp", "udp"].map(|name| daemon.windows_of(name).len());
    assert!(ran(&format!("iptables -D {IS_GONE}")));
    for (name, before) in ["tcp", "udp"].into_iter().zip(before) {
        daemon.until_state(name, "live");
        daemon.until_windows(name, before + 2);
    }
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}
