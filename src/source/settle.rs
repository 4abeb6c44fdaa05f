//! When a file that is being written is complete. Pure: whoever uses it tells the time and looks at the files.
//!
//! A file is complete when it has not changed for as long as [`Settling::quiet`] says, or for as long as
//! [`Settling::closed`] says after its writer closed it. Whatever happens to it meanwhile makes it wait again, so a file
//! that is written in pieces is taken once, after the last one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Stat;

/// Files that are waited for at once. Of more, none is remembered: they are found when the folder is looked through again.
const MOST: usize = 100_000;

pub struct Settling {
    quiet: Duration,
    closed: Duration,
    files: HashMap<PathBuf, Waiting>,
}

struct Waiting {
    stat: Stat,
    /// When it is looked at again.
    due: Duration,
}

impl Settling {
    pub fn new(quiet: Duration, closed: Duration) -> Self {
        Self { quiet, closed, files: HashMap::new() }
    }

    /// It appeared or changed. False: there was no room for it.
    pub fn changed(&mut self, path: PathBuf, stat: Stat, now: Duration) -> bool {
        let due = now + self.quiet;
        self.wait(path, stat, due)
    }

    /// Whoever wrote it closed it, or it came as a whole from another folder. False: there was no room for it.
    pub fn closed(&mut self, path: PathBuf, stat: Stat, now: Duration) -> bool {
        let due = now + self.closed.min(self.quiet);
        self.wait(path, stat, due)
    }

    /// It was found like this when the folder was looked through. False: there was no room for it.
    pub fn found(&mut self, path: PathBuf, stat: Stat, now: Duration) -> bool {
        match self.files.get(&path) {
            Some(waiting) if waiting.stat == stat => true,
            _ => self.changed(path, stat, now),
        }
    }

    fn wait(&mut self, path: PathBuf, stat: Stat, due: Duration) -> bool {
        if self.files.len() >= MOST && !self.files.contains_key(&path) {
            return false;
        }
        self.files.insert(path, Waiting { stat, due });
        true
    }

    /// This path and everything below it is there no more.
    pub fn gone(&mut self, path: &Path) {
        if self.files.remove(path).is_none() {
            self.files.retain(|file, _| !file.starts_with(path));
        }
    }

    /// When the next file is to be looked at.
    pub fn next(&self) -> Option<Duration> {
        self.files.values().map(|waiting| waiting.due).min()
    }

    /// The files that are complete now, sorted. `look` gives what a file is like now, `None` if it is there no more.
    pub fn complete(&mut self, now: Duration, look: impl Fn(&Path) -> Option<Stat>) -> Vec<(PathBuf, Stat)> {
        let mut complete = Vec::new();
        let again = now + self.quiet;
        self.files.retain(|path, waiting| {
            if waiting.due > now {
                return true;
            }
            match look(path) {
                Some(stat) if stat == waiting.stat => {
                    complete.push((path.clone(), stat));
                    false
                }
                // Changed without our being told, such as on a network drive.
                Some(stat) => {
                    *waiting = Waiting { stat, due: again };
                    true
                }
                None => false,
            }
        });
        complete.sort_by(|a, b| a.0.cmp(&b.0));
        complete
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stat(size: u64) -> Stat {
        Stat { size, modified_ns: 0 }
    }

    fn settling() -> Settling {
        Settling::new(secs(5), secs(1))
    }

    #[test]
    fn a_file_is_taken_when_it_has_been_quiet_or_closed_for_long_enough() {
        let path = PathBuf::from("/v/a.mp4");
        let mut files = settling();
        files.changed(path.clone(), stat(1), secs(0));
        assert_eq!(files.next(), Some(secs(5)));
        assert!(files.complete(secs(4), |_| Some(stat(1))).is_empty());
        assert_eq!(files.complete(secs(5), |_| Some(stat(1))), [(path.clone(), stat(1))]);
        assert_eq!(files.next(), None);
        files.changed(path.clone(), stat(1), secs(10));
        files.closed(path.clone(), stat(2), secs(11));
        assert_eq!(files.complete(secs(12), |_| Some(stat(2))), [(path, stat(2))]);
    }

    #[test]
    fn one_that_is_opened_again_waits_again_and_one_that_vanished_is_forgotten() {
        let path = PathBuf::from("/v/sub/a.mp4");
        let mut files = settling();
        files.closed(path.clone(), stat(1), secs(0));
        files.changed(path.clone(), stat(2), secs(0));
        assert!(files.complete(secs(1), |_| Some(stat(2))).is_empty());
        // It grew without anybody telling.
        assert!(files.complete(secs(5), |_| Some(stat(3))).is_empty());
        assert!(files.complete(secs(9), |_| Some(stat(3))).is_empty());
        files.gone(Path::new("/v/sub"));
        assert_eq!(files.next(), None);
        files.closed(path, stat(3), secs(10));
        assert!(files.complete(secs(20), |_| None).is_empty());
        assert_eq!(files.next(), None);
    }

    #[test]
    fn one_that_is_found_again_and_again_does_not_wait_longer() {
        let path = PathBuf::from("/v/a.mp4");
        let mut files = settling();
        for now in 0..5 {
            files.found(path.clone(), stat(1), secs(now));
        }
        assert_eq!(files.complete(secs(5), |_| Some(stat(1))), [(path.clone(), stat(1))]);
        files.found(path.clone(), stat(1), secs(6));
        files.found(path, stat(2), secs(10));
        assert_eq!(files.next(), Some(secs(15)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// The file grows, and this is told or not.
        Grow(usize, bool),
        Close(usize),
        Remove(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0usize..3, prop::bool::weighted(0.8)).prop_map(|(file, told)| Step::Grow(file, told)),
            2 => (0usize..3).prop_map(Step::Close),
            1 => (0usize..3).prop_map(Step::Remove),
            4 => (1u64..8).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn what_is_taken_is_as_it_was_for_long_enough_and_nothing_is_left_out(steps in prop::collection::vec(step(), 0..60)) {
            let path = |file: usize| PathBuf::from(format!("/v/{file}.mp4"));
            let (mut now, mut files) = (0, settling());
            // Size, when it last changed, and whether that was told of by closing it.
            let mut disk: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
            let mut taken: BTreeMap<PathBuf, u64> = BTreeMap::new();
            let all = steps.into_iter().chain([Step::Pass(5), Step::Pass(5), Step::Pass(5)]);
            for step in all {
                match step {
                    Step::Grow(file, told) => {
                        let is_new = !disk.contains_key(&path(file));
                        let size = disk.get(&path(file)).map_or(1, |(size, _)| size + 1);
                        disk.insert(path(file), (size, now));
                        // That a file appears is always told: else only another look through the folder finds it.
                        let waited_for = files.files.contains_key(&path(file));
                        if told || is_new || !waited_for {
                            files.changed(path(file), stat(size), secs(now));
                        }
                    }
                    Step::Close(file) => {
                        if let Some((size, _)) = disk.get(&path(file)) {
                            files.closed(path(file), stat(*size), secs(now));
                        }
                    }
                    Step::Remove(file) => {
                        disk.remove(&path(file));
                        taken.remove(&path(file));
                        files.gone(&path(file));
                    }
                    Step::Pass(length) => now += length,
                }
                for (file, found) in files.complete(secs(now), |path| disk.get(path).map(|(size, _)| stat(*size))) {
                    let (size, since) = disk[&file];
                    prop_assert_eq!(found.size, size);
                    prop_assert!(now > since, "taken while it was written");
                    taken.insert(file, size);
                }
            }
            let sizes: BTreeMap<PathBuf, u64> = disk.into_iter().map(|(path, (size, _))| (path, size)).collect();
            prop_assert_eq!(taken, sizes);
        }
    }
}
