//! What the kernel says of this process and of its decoding processes. A figure that cannot be read is 0, and said.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

use crate::metrics::seen::{DecodersSeen, ProcessSeen};

pub(super) fn own() -> ProcessSeen {
    read_own().unwrap_or_else(|error| {
        tracing::warn!(%error, "the figures of the process are missing in the metrics");
        ProcessSeen::default()
    })
}

/// This process starts no others.
pub(super) fn decoders() -> DecodersSeen {
    read_decoders().unwrap_or_else(|error| {
        tracing::warn!(%error, "the figures of the decoding processes are missing in the metrics");
        DecodersSeen::default()
    })
}

fn read_own() -> io::Result<ProcessSeen> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let (most_open_files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the name in brackets, in which anything may be.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // In ticks since the machine was started.
    let started = Duration::from_secs_f64(field(22) as f64 / constant(SysconfVar::CLK_TCK, 100) as f64);
    Ok(ProcessSeen {
        cpu: duration(usage.user_time()) + duration(usage.system_time()),
        // One of them is that of the folder itself.
        open_files: (std::fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
        most_open_files,
        virtual_memory: field(23),
        resident_memory: field(24) * page(),
        started: machine_started()? + started,
        threads: field(20),
    })
}

/// Unix time.
fn machine_started() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
    Ok(Duration::from_secs(seconds.unwrap_or(0)))
}

fn read_decoders() -> io::Result<DecodersSeen> {
    let mut seen = DecodersSeen::default();
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread or a process that ends meanwhile is not there any more.
        let children = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let Ok(pages) = std::fs::read_to_string(format!("/proc/{child}/statm")) else { continue };
            seen.processes += 1;
            seen.memory += pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * page();
        }
    }
    Ok(seen)
}

fn page() -> u64 {
    constant(SysconfVar::PAGE_SIZE, 4096)
}

fn constant(name: SysconfVar, usual: u64) -> u64 {
    sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(usual)
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs_f64(time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn children_are_counted() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let seen = decoders();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.processes >= 1 && seen.memory > 0, "{seen:?}");
    }

    #[test]
    fn the_process_has_figures_of_its_own() {
        let seen = own();
        assert!(seen.resident_memory > 1 << 20 && seen.resident_memory < seen.virtual_memory, "{seen:?}");
        assert!((3..seen.most_open_files).contains(&seen.open_files) && seen.threads >= 2, "{seen:?}");
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + seen.started).unwrap();
        assert!(age < Duration::from_secs(3600), "it was started {age:?} ago");
    }
}
