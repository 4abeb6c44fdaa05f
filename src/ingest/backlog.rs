//! Work that waits, and which of it comes next. Pure.
//!
//! - The more urgent work comes first, whatever source it is of.
//! - Among equally urgent work the sources take turns, so a large one holds up no other.
//! - Within a source the newest or the oldest files come first.
//! - A path waits once, however often it is told of.
//! - Each source has room for so many files. What finds none is refused, and has to be found again later.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Priority;

/// Files of one source that wait at most: about 30 MB.
pub const ROOM: usize = 100_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

pub struct Backlog<T> {
    order: Order,
    room: usize,
    sources: BTreeMap<String, Lanes<T>>,
    places: HashMap<PathBuf, Place>,
    /// The source whose turn was the last.
    served: String,
}

/// The work of one source, by urgency and age.
type Lanes<T> = BTreeMap<Priority, BTreeMap<Rank, T>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rank {
    order: Order,
    modified_ns: i64,
    path: PathBuf,
}

struct Place {
    source: String,
    priority: Priority,
    rank: Rank,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let age = self.modified_ns.cmp(&other.modified_ns);
        let age = if self.order == Order::NewestFirst { age.reverse() } else { age };
        age.then_with(|| self.path.cmp(&other.path))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Backlog<T> {
    pub fn new(order: Order, room: usize) -> Self {
        let (sources, places) = (BTreeMap::new(), HashMap::new());
        Self { order, room, sources, places, served: String::new() }
    }

    /// Takes the place of what waits for this path, if anything does, and is as urgent as the more urgent of both. False:
    /// there was no room for it.
    pub fn push(&mut self, source: &str, priority: Priority, path: PathBuf, modified_ns: i64, work: T) -> bool {
        let before = self.remove(&path);
        if before.is_none() && self.waiting(source) >= self.room {
            return false;
        }
        let priority = before.map_or(priority, |before| before.max(priority));
        let rank = Rank { order: self.order, modified_ns, path: path.clone() };
        self.sources.entry(source.to_owned()).or_default().entry(priority).or_default().insert(rank.clone(), work);
        self.places.insert(path, Place { source: source.to_owned(), priority, rank });
        true
    }

    /// What comes next.
    pub fn pop(&mut self) -> Option<T> {
        let most = self.sources.values().filter_map(|lanes| lanes.last_key_value().map(|(most, _)| *most)).max()?;
        let has_it = |lanes: &Lanes<T>| lanes.contains_key(&most);
        let mut ready = self.sources.iter().filter(|(_, lanes)| has_it(lanes)).map(|(name, _)| name);
        let first = ready.clone().next()?.clone();
        let source = ready.find(|name| **name > self.served).cloned().unwrap_or(first);
        let rank = self.sources.get(&source)?.get(&most)?.first_key_value()?.0.clone();
        let work = self.take(&source, most, &rank);
        self.places.remove(&rank.path);
        self.served = source;
        work
    }

    /// How urgent what waited for this path was.
    fn remove(&mut self, path: &Path) -> Option<Priority> {
        let Place { source, priority, rank } = self.places.remove(path)?;
        self.take(&source, priority, &rank);
        Some(priority)
    }

    fn take(&mut self, source: &str, priority: Priority, rank: &Rank) -> Option<T> {
        let lanes = self.sources.get_mut(source)?;
        let lane = lanes.get_mut(&priority)?;
        let work = lane.remove(rank);
        if lane.is_empty() {
            lanes.remove(&priority);
        }
        if lanes.is_empty() {
            self.sources.remove(source);
        }
        work
    }

    /// Drops all work of a source.
    pub fn forget(&mut self, source: &str) {
        self.sources.remove(source);
        self.places.retain(|_, place| place.source != source);
    }

    /// Number of files of this source that wait.
    pub fn waiting(&self, source: &str) -> usize {
        self.sources.get(source).map_or(0, |lanes| lanes.values().map(BTreeMap::len).sum())
    }

    /// Number of files of all sources that wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backlog(order: Order) -> Backlog<String> {
        Backlog::new(order, 4)
    }

    fn push(backlog: &mut Backlog<String>, source: &str, priority: Priority, name: &str, modified: i64) -> bool {
        backlog.push(source, priority, name.into(), modified, name.to_owned())
    }

    fn all(mut backlog: Backlog<String>) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop()).collect()
    }

    #[test]
    fn the_newest_or_the_oldest_come_first() {
        for (order, expected) in [(Order::NewestFirst, ["c", "b", "a"]), (Order::OldestFirst, ["a", "b", "c"])] {
            let mut backlog = backlog(order);
            for (name, modified) in [("b", 2), ("a", 1), ("c", 3)] {
                assert!(push(&mut backlog, "s", Priority::Backlog, name, modified));
            }
            assert_eq!(all(backlog), expected);
        }
    }

    #[test]
    fn what_is_urgent_comes_first_and_sources_take_turns() {
        let mut backlog = backlog(Order::OldestFirst);
        for (source, name, modified) in [("large", "a", 1), ("large", "b", 2), ("large", "c", 3), ("small", "x", 9)] {
            assert!(push(&mut backlog, source, Priority::Backlog, name, modified));
        }
        assert!(push(&mut backlog, "small", Priority::Fresh, "y", 10));
        assert_eq!(all(backlog), ["y", "a", "x", "b", "c"]);
    }

    #[test]
    fn a_path_waits_once_and_stays_urgent() {
        let mut backlog = backlog(Order::OldestFirst);
        push(&mut backlog, "s", Priority::Fresh, "a", 1);
        push(&mut backlog, "s", Priority::Backlog, "b", 0);
        push(&mut backlog, "s", Priority::Backlog, "a", 2);
        assert_eq!(backlog.waiting("s"), 2);
        assert_eq!(all(backlog), ["a", "b"]);
    }

    #[test]
    fn a_source_without_room_is_refused_and_holds_up_no_other() {
        let mut backlog = backlog(Order::OldestFirst);
        for name in ["a", "b", "c", "d"] {
            assert!(push(&mut backlog, "s", Priority::Backlog, name, 0));
        }
        assert!(!push(&mut backlog, "s", Priority::Fresh, "e", 0));
        assert!(push(&mut backlog, "s", Priority::Backlog, "d", 1), "it waits already");
        assert!(push(&mut backlog, "t", Priority::Backlog, "x", 0));
        backlog.forget("s");
        assert_eq!((backlog.waiting("s"), backlog.waiting("t")), (0, 1));
        assert_eq!(all(backlog), ["x"]);
    }

    proptest! {
        #[test]
        fn each_path_comes_once_the_most_urgent_first(
            pushes in prop::collection::vec((0usize..3, 0usize..2, 0usize..6, 0i64..4), 0..40),
        ) {
            let mut backlog: Backlog<PathBuf> = Backlog::new(Order::NewestFirst, 100);
            let mut expected: BTreeMap<PathBuf, Priority> = BTreeMap::new();
            for (source, priority, path, modified) in pushes {
                let priority = [Priority::Backlog, Priority::Fresh][priority];
                // A path belongs to one source.
                let (source, path) = (["a", "b", "c"][source], PathBuf::from(format!("{source}/{path}")));
                prop_assert!(backlog.push(source, priority, path.clone(), modified, path.clone()));
                let before = expected.entry(path).or_default();
                *before = priority.max(if *before == Priority::Asked { Priority::Backlog } else { *before });
            }
            let mut last = Priority::Asked;
            while let Some(path) = backlog.pop() {
                let priority = expected.remove(&path);
                prop_assert!(priority.is_some_and(|priority| priority <= last));
                last = priority.unwrap_or_default();
            }
            prop_assert!(expected.is_empty() && backlog.is_empty() && backlog.places.is_empty());
        }
    }
}
