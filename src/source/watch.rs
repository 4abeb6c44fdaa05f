//! Goes on looking at a folder and tells of files that are complete, for as long as it runs.
//!
//! What must hold:
//!
//! - **Nothing is missed.** The kernel's watch begins before the folder is looked through, so a file is found by one of the
//!   two. When the kernel lost notifications, a folder appeared, or too much happened at once, it is looked through again.
//!   So each file is told of at least once after its last change; it may be told of more often than it changed.
//! - **Nothing is taken too early**: see [`super::settle`].
//! - **A folder that is not there is `away`.** It is looked for until it is back, and then looked through again. A folder
//!   that is empty when it is found, but of which files are known, counts as away: that is what the mount point of a drive
//!   looks like without the drive. One that is emptied while it is watched does not. Nothing is ever told of a file that vanished: what is known of it is kept.
//!
//! Changes are noticed by the kernel (inotify), or by looking through the folder every so often: on network drives, of
//! whose changes by others the kernel does not know, and where it can watch no more folders.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::settle::Settling;
use super::{SourceState, Stat};
use crate::clock::Clock;

/// How long notifications are collected before they are handed on.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often is looked whether the folder is still there, or back.
const ROOT_EVERY: Duration = Duration::from_secs(1);
/// Collections of notifications that wait; the kernel keeps more, and says so when it has lost some.
const QUEUE: usize = 64;
/// Files told of at once.
const PAGE: usize = 1000;

/// How changes in a folder are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poll {
    /// By the kernel's notifications; by polling on network drives and where the kernel can watch no more folders.
    #[default]
    Auto,
    Always,
    Never,
}

/// What is to be watched, and how.
#[derive(Clone, Debug)]
pub struct Watch {
    pub folder: Folder,
    /// See [`Settling::new`].
    pub quiet: Duration,
    pub closed: Duration,
    pub poll: Poll,
    pub poll_every: Duration,
    /// Whether files of it were known before.
    pub has_files: bool,
    pub clock: Clock,
}

/// What is told.
#[derive(Debug)]
pub enum Seen {
    /// These files are complete. `fresh`: they appeared or changed while the folder was watched.
    Files {
        files: Vec<(PathBuf, Stat)>,
        fresh: bool,
    },
    State {
        state: SourceState,
        error: Option<String>,
    },
    /// The whole folder has been looked through.
    Scanned,
}

/// Watches until `stop` is cancelled or nobody listens any more. `again` asks to look through the whole folder.
pub async fn watch(watch: Watch, out: mpsc::Sender<Seen>, again: Arc<Notify>, stop: CancellationToken) {
    let settling = Settling::new(watch.quiet, watch.closed);
    let polls = watch.poll == Poll::Always;
    let has_files = watch.has_files;
    let (known, told) = (HashMap::new(), HashSet::new());
    let mut watcher = Watcher { watch, out, again, settling, polls, has_files, known, told, scan_at: None };
    tokio::select! {
        _ = watcher.forever() => {}
        () = stop.cancelled() => {}
    }
}

struct Watcher {
    watch: Watch,
    out: mpsc::Sender<Seen>,
    again: Arc<Notify>,
    settling: Settling,
    polls: bool,
    has_files: bool,
    /// Where the folder is polled: how each file was when it was told of.
    known: HashMap<PathBuf, Stat>,
    /// Folders in it that cannot be read, of which is spoken once.
    told: HashSet<PathBuf>,
    /// When it is looked through again, because there was no room for all files that are not complete.
    scan_at: Option<Duration>,
}

/// Nobody listens any more.
struct Left;

/// Notifications of the kernel; none where the folder is polled.
struct Eyes {
    happened: mpsc::Receiver<Result<Vec<Happened>, Blind>>,
    _kernel: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
    /// Keeps the queue open where nothing is sent.
    _open: Option<mpsc::Sender<Result<Vec<Happened>, Blind>>>,
}

/// Why the kernel's watch is of no use.
enum Blind {
    /// It can watch no more folders.
    Limit,
    Other(String),
}

impl Watcher {
    async fn forever(&mut self) -> Result<(), Left> {
        loop {
            let root = self.root_is_there().await?;
            // From here on an empty folder is one that was emptied, as long as it is this one.
            let mut eyes = self.open().await;
            self.tell(Seen::State { state: SourceState::Watching, error: None }).await?;
            self.scan_all().await?;
            self.look_on(&mut eyes, root).await?;
        }
    }

    async fn tell(&self, seen: Seen) -> Result<(), Left> {
        self.out.send(seen).await.map_err(|_| Left)
    }

    /// Waits until the root is there; gives its identity.
    async fn root_is_there(&self) -> Result<(u64, u64), Left> {
        let mut said = None;
        loop {
            match self.root(self.has_files).await {
                Ok(root) => return Ok(root),
                Err(reason) => {
                    if said.as_ref() != Some(&reason) {
                        said = Some(reason.clone());
                        self.tell(Seen::State { state: SourceState::Away, error: Some(reason) }).await?;
                    }
                    self.watch.clock.sleep(ROOT_EVERY).await;
                }
            }
        }
    }

    async fn root(&self, has_files: bool) -> Result<(u64, u64), String> {
        let root = self.watch.folder.root.clone();
        blocking(move || identity(&root, has_files)).await
    }

    async fn open(&mut self) -> Eyes {
        let root = self.watch.folder.root.clone();
        if self.watch.poll == Poll::Auto && !self.polls && blocking(move || is_network_drive(&root)).await {
            tracing::info!(folder = %self.watch.folder.root.display(), "on a network drive: polled");
            self.polls = true;
        }
        let (sender, happened) = mpsc::channel(QUEUE);
        if !self.polls {
            let (root, to) = (self.watch.folder.root.clone(), sender.clone());
            match blocking(move || open(&root, to)).await {
                Ok(kernel) => return Eyes { happened, _kernel: Some(kernel), _open: None },
                Err(blind) => self.poll_instead(blind),
            }
        }
        Eyes { happened, _kernel: None, _open: Some(sender) }
    }

    fn poll_instead(&mut self, blind: Blind) {
        let reason = match blind {
            Blind::Limit => "the kernel can watch no more folders (fs.inotify.max_user_watches)".to_owned(),
            Blind::Other(reason) => reason,
        };
        let (folder, every) = (self.watch.folder.root.display(), self.watch.poll_every);
        if self.watch.poll == Poll::Never {
            tracing::error!(%folder, "{reason}: changes are noticed only at the next start, because watch.poll is \"never\"");
        } else {
            tracing::warn!(%folder, "{reason}: it is looked through every {} s instead", every.as_secs_f64());
            self.polls = true;
        }
    }

    /// Until the root is away, or was replaced by another one, or the kernel's watch came to an end.
    async fn look_on(&mut self, eyes: &mut Eyes, root: (u64, u64)) -> Result<(), Left> {
        let clock = self.watch.clock.clone();
        let mut check_at = clock.passed() + ROOT_EVERY;
        let mut poll_at = clock.passed() + self.watch.poll_every;
        loop {
            let next = self.settling.next().unwrap_or(Duration::MAX).min(check_at);
            let next = next.min(self.scan_at.unwrap_or(Duration::MAX));
            let next = if self.polls { next.min(poll_at) } else { next };
            let again = Arc::clone(&self.again);
            tokio::select! {
                happened = eyes.happened.recv() => match happened {
                    Some(Ok(happened)) => self.happened(happened).await?,
                    Some(Err(blind @ Blind::Limit)) => {
                        self.poll_instead(blind);
                        return Ok(());
                    }
                    Some(Err(Blind::Other(reason))) => {
                        tracing::warn!(folder = %self.watch.folder.root.display(), reason, "looking through it again");
                        self.scan(self.watch.folder.root.clone(), true).await?;
                    }
                    None => return Ok(()),
                },
                () = again.notified() => self.scan_all().await?,
                () = clock.sleep(next.saturating_sub(clock.passed())) => {}
            }
            let now = clock.passed();
            if self.settling.next().is_some_and(|due| due <= now) {
                self.complete(now).await?;
            }
            if self.scan_at.take_if(|at| *at <= now).is_some() {
                self.scan_all().await?;
            }
            if now >= check_at {
                if self.root(false).await != Ok(root) {
                    return Ok(());
                }
                check_at = clock.passed() + ROOT_EVERY;
            }
            if self.polls && now >= poll_at {
                self.scan(self.watch.folder.root.clone(), true).await?;
                poll_at = clock.passed() + self.watch.poll_every;
            }
        }
    }

    async fn happened(&mut self, happened: Vec<Happened>) -> Result<(), Left> {
        let folder = self.watch.folder.clone();
        let looked =
            blocking(move || happened.into_iter().filter_map(|one| look(&folder, one)).collect::<Vec<_>>()).await;
        let now = self.watch.clock.passed();
        let mut room = true;
        for one in looked {
            match one {
                Looked::Changed(path, stat) => room &= self.settling.changed(path, stat, now),
                Looked::Closed(path, stat) => room &= self.settling.closed(path, stat, now),
                Looked::Gone(path) => self.settling.gone(&path),
                Looked::Through(dir) => self.scan(dir, true).await?,
            }
        }
        self.remember(room);
        Ok(())
    }

    /// If there was no room for a file, it is found by looking through the folder again.
    fn remember(&mut self, room: bool) {
        if !room {
            self.scan_at = Some(self.watch.clock.passed() + self.watch.quiet);
        }
    }

    /// Tells of the files that are complete by now.
    async fn complete(&mut self, now: Duration) -> Result<(), Left> {
        // Looking at the few files that are due is no work for another thread.
        let files = self.settling.complete(now, |path| Stat::of(path).ok());
        self.files(files, true).await
    }

    async fn files(&mut self, files: Vec<(PathBuf, Stat)>, fresh: bool) -> Result<(), Left> {
        self.has_files |= !files.is_empty();
        if self.polls {
            self.known.extend(files.iter().cloned());
        }
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            self.tell(Seen::Files { files: files.by_ref().take(PAGE).collect(), fresh }).await?;
        }
        Ok(())
    }

    /// Looks through the whole folder and tells of all files, also of those that were told of before.
    async fn scan_all(&mut self) -> Result<(), Left> {
        self.known.clear();
        self.scan(self.watch.folder.root.clone(), false).await?;
        self.tell(Seen::Scanned).await
    }

    /// Looks through the folder, or one in it.
    async fn scan(&mut self, dir: PathBuf, fresh: bool) -> Result<(), Left> {
        let (folder, root) = (self.watch.folder.clone(), self.watch.folder.root.clone());
        let is_all = dir == root;
        let (mut files, found) = blocking(move || folder.walk(&dir)).await;
        for (path, reason) in found.unreadable {
            if path != root && self.told.insert(path.clone()) {
                tracing::warn!(path = %path.display(), reason, "cannot be read and is left out");
            }
            if !is_all && !self.polls {
                // The kernel's watch over a new folder ends at the first one in it that cannot be read.
                self.poll_instead(Blind::Other(format!("{} cannot be watched", path.display())));
            }
        }
        if self.polls && is_all {
            let there: HashSet<&PathBuf> = files.iter().map(|(path, _)| path).collect();
            self.known.retain(|path, _| there.contains(path));
        }
        files.retain(|(path, stat)| self.known.get(path) != Some(stat));
        let (now, wall) = (self.watch.clock.passed(), self.watch.clock.unix());
        let is_old = |stat: &Stat| {
            let modified = u64::try_from(stat.modified_ns).map_or(Duration::ZERO, Duration::from_nanos);
            wall.checked_sub(modified).is_some_and(|age| age >= self.watch.quiet)
        };
        let (complete, young): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, stat)| is_old(stat));
        let mut room = true;
        for (path, stat) in young {
            room &= self.settling.found(path, stat, now);
        }
        self.remember(room);
        self.files(complete, fresh).await
    }
}

/// Device and number of the root; why it counts as away.
fn identity(root: &Path, has_files: bool) -> Result<(u64, u64), String> {
    let reason = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let metadata = std::fs::metadata(root).map_err(reason)?;
    if !metadata.is_dir() {
        return Err("no folder".to_owned());
    }
    let is_empty = std::fs::read_dir(root).map_err(reason)?.next().is_none();
    if is_empty && has_files {
        return Err("empty, although files of it are known: taken for a drive that is not mounted".to_owned());
    }
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether others may change the files without this machine's kernel knowing.
fn is_network_drive(path: &Path) -> bool {
    // NFS, SMB, CIFS, SMB2, AFS, Coda, Ceph, 9P, FUSE (such as sshfs), GFS2, Lustre.
    const KINDS: [u32; 11] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x5346_414f,
        0x7375_7245,
        0x00c3_6400,
        0x0102_1997,
        0x6573_5546,
        0x0116_1970,
        0x0bd0_0bd0,
    ];
    // The type is a signed long or an unsigned one, depending on the C library; the numbers have 32 bits.
    nix::sys::statfs::statfs(path).is_ok_and(|disk| KINDS.contains(&(disk.filesystem_type().0 as u32)))
}

fn open(
    root: &Path,
    to: mpsc::Sender<Result<Vec<Happened>, Blind>>,
) -> Result<Debouncer<RecommendedWatcher, RecommendedCache>, Blind> {
    let handler = move |result: DebounceEventResult| {
        let result = match result {
            Ok(events) => Ok(events.iter().flat_map(|event| happened(event)).collect::<Vec<_>>()),
            Err(errors) => Err(errors.into_iter().map(blind).next().unwrap_or(Blind::Limit)),
        };
        // Most notifications are about reading, our own too.
        if matches!(&result, Ok(happened) if happened.is_empty()) {
            return;
        }
        // Fails when nobody watches any more. A full queue holds up the debouncer, and then the kernel keeps the rest.
        let _ = to.blocking_send(result);
    };
    let mut kernel = new_debouncer(DEBOUNCE, None, handler).map_err(blind)?;
    kernel.watch(root, RecursiveMode::Recursive).map_err(blind)?;
    Ok(kernel)
}

fn blind(error: notify::Error) -> Blind {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => Blind::Limit,
        // The number of inotify instances is limited too.
        notify::ErrorKind::Io(io) if io.raw_os_error() == Some(nix::libc::EMFILE) => Blind::Limit,
        _ => Blind::Other(error.to_string()),
    }
}

/// What a notification means.
#[derive(Clone, Debug, PartialEq)]
enum Happened {
    /// Something is, or was, written.
    Changed(PathBuf),
    /// A writer closed it.
    Closed(PathBuf),
    /// It came as a whole, a file or a folder.
    Came(PathBuf),
    Gone(PathBuf),
    /// Notifications were lost.
    Lost,
}

fn happened(event: &Event) -> Vec<Happened> {
    if event.need_rescan() {
        return vec![Happened::Lost];
    }
    let each = |of: fn(PathBuf) -> Happened| event.paths.iter().cloned().map(of).collect();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => each(Happened::Closed),
        EventKind::Access(_) => Vec::new(),
        EventKind::Create(CreateKind::Folder) => each(Happened::Came),
        EventKind::Modify(ModifyKind::Name(RenameMode::From))
        | EventKind::Remove(RemoveKind::File | RemoveKind::Folder) => each(Happened::Gone),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => each(Happened::Came),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => match event.paths.as_slice() {
            [from, to] => vec![Happened::Gone(from.clone()), Happened::Came(to.clone())],
            _ => vec![Happened::Lost],
        },
        // What it is now is looked at.
        EventKind::Any | EventKind::Other | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => {
            each(Happened::Changed)
        }
    }
}

/// What is to be done about it.
enum Looked {
    Changed(PathBuf, Stat),
    Closed(PathBuf, Stat),
    Gone(PathBuf),
    /// Look through this folder.
    Through(PathBuf),
}

/// Looks at what is there now. `None`: it does not concern the source.
fn look(folder: &Folder, happened: Happened) -> Option<Looked> {
    let (path, is_whole) = match happened {
        Happened::Lost => return Some(Looked::Through(folder.root.clone())),
        Happened::Gone(path) => return Some(Looked::Gone(path)),
        Happened::Changed(path) => (path, false),
        Happened::Closed(path) | Happened::Came(path) => (path, true),
    };
    if !folder.concerns(&path) {
        return None;
    }
    match std::fs::metadata(&path) {
        // A folder that came has files of which nobody tells; one that changed may be readable now.
        Ok(metadata) if metadata.is_dir() => (path != folder.root).then_some(Looked::Through(path)),
        Ok(_) => {
            let path = folder.take(&path)?;
            let stat = Stat::of(&path).ok()?;
            Some(if is_whole { Looked::Closed(path, stat) } else { Looked::Changed(path, stat) })
        }
        Err(_) => Some(Looked::Gone(path)),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag};

    use super::*;

    fn event(kind: EventKind, paths: &[&str]) -> Vec<Happened> {
        let mut event = Event::new(kind);
        event.paths = paths.iter().map(PathBuf::from).collect();
        happened(&event)
    }

    #[test]
    fn what_notifications_mean() {
        use EventKind::{Access, Create, Modify, Remove};
        let (a, b) = (PathBuf::from("/v/a"), PathBuf::from("/v/b"));
        let changed = [Happened::Changed(a.clone())];
        assert_eq!(event(Create(CreateKind::File), &["/v/a"]), changed);
        assert_eq!(event(Modify(ModifyKind::Data(DataChange::Any)), &["/v/a"]), changed);
        assert_eq!(event(Remove(RemoveKind::Any), &["/v/a"]), changed, "what is there now is looked at");
        assert_eq!(event(Access(AccessKind::Close(AccessMode::Write)), &["/v/a"]), [Happened::Closed(a.clone())]);
        assert_eq!(event(Access(AccessKind::Close(AccessMode::Read)), &["/v/a"]), [], "reading changes nothing");
        assert_eq!(event(Create(CreateKind::Folder), &["/v/a"]), [Happened::Came(a.clone())]);
        assert_eq!(event(Remove(RemoveKind::File), &["/v/a"]), [Happened::Gone(a.clone())]);
        let renamed = |mode, paths: &[&str]| event(Modify(ModifyKind::Name(mode)), paths);
        assert_eq!(renamed(RenameMode::From, &["/v/a"]), [Happened::Gone(a.clone())]);
        assert_eq!(renamed(RenameMode::To, &["/v/b"]), [Happened::Came(b.clone())]);
        assert_eq!(renamed(RenameMode::Both, &["/v/a", "/v/b"]), [Happened::Gone(a), Happened::Came(b)]);
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(happened(&lost), [Happened::Lost]);
    }

    #[test]
    fn a_root_is_away_when_it_is_missing_or_a_mount_point_without_its_drive() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        assert_eq!(identity(&root, false).unwrap_err(), "no such folder");
        std::fs::create_dir(&root).unwrap();
        let empty = identity(&root, false).unwrap();
        assert!(identity(&root, true).unwrap_err().contains("not mounted"));
        std::fs::write(root.join("a.mp4"), b"x").unwrap();
        assert_eq!(identity(&root, true), Ok(empty));
        assert_eq!(identity(&root.join("a.mp4"), false).unwrap_err(), "no folder");
    }

    #[test]
    fn the_limit_of_the_kernel_is_told_from_other_errors() {
        assert!(matches!(blind(notify::Error::new(notify::ErrorKind::MaxFilesWatch)), Blind::Limit));
        let instances = io::Error::from_raw_os_error(nix::libc::EMFILE);
        assert!(matches!(blind(notify::Error::io(instances)), Blind::Limit));
        assert!(matches!(blind(notify::Error::generic("x")), Blind::Other(_)));
    }

    /// A watch over a folder, and what it tells.
    struct Told {
        seen: mpsc::Receiver<Seen>,
        stop: CancellationToken,
    }

    impl Drop for Told {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    fn begin(root: &Path, poll: Poll) -> Told {
        let folder = Folder { root: root.to_path_buf(), others: Vec::new(), include: Vec::new(), exclude: Vec::new() };
        let plan = Watch {
            folder,
            quiet: Duration::from_millis(300),
            closed: Duration::from_millis(50),
            poll,
            poll_every: Duration::from_millis(100),
            has_files: false,
            clock: Clock::real(),
        };
        let ((out, seen), stop) = (mpsc::channel(8), CancellationToken::new());
        tokio::spawn(watch(plan, out, Arc::new(Notify::new()), stop.clone()));
        Told { seen, stop }
    }

    impl Told {
        async fn next(&mut self) -> Seen {
            tokio::time::timeout(Duration::from_secs(20), self.seen.recv()).await.expect("nothing is told").unwrap()
        }

        /// The next files that are told of.
        async fn files(&mut self) -> Vec<PathBuf> {
            loop {
                if let Seen::Files { files, .. } = self.next().await {
                    return files.into_iter().map(|(path, _)| path).collect();
                }
            }
        }

        /// Until this file is told of, of this size; others may be told of more often than they changed.
        async fn until(&mut self, path: &Path, size: u64) {
            loop {
                if let Seen::Files { files, .. } = self.next().await {
                    let hidden = files.iter().any(|(path, _)| path.to_string_lossy().contains("hidden"));
                    assert!(!hidden, "{files:?}");
                    if files.iter().any(|(found, stat)| found == path && stat.size == size) {
                        return;
                    }
                }
            }
        }

        async fn scanned(&mut self) {
            while !matches!(self.next().await, Seen::Scanned) {}
        }
    }

    #[tokio::test]
    async fn files_are_told_of_once_they_are_complete_whether_watched_or_polled() {
        for poll in [Poll::Never, Poll::Always] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            let mut told = begin(&root, poll);
            told.scanned().await;
            std::fs::write(root.join("a.mp4"), b"x").unwrap();
            told.until(&root.join("a.mp4"), 1).await;
            std::fs::rename(root.join("a.mp4"), root.join("b.mp4")).unwrap();
            told.until(&root.join("b.mp4"), 1).await;
            // A folder that comes with its files, as a whole and bit by bit.
            std::fs::create_dir_all(root.join("new/deep")).unwrap();
            std::fs::write(root.join("new/deep/c.mp4"), b"x").unwrap();
            told.until(&root.join("new/deep/c.mp4"), 1).await;
            std::fs::write(root.join(".hidden.mp4"), b"x").unwrap();
            std::fs::write(root.join("b.mp4"), b"xx").unwrap();
            told.until(&root.join("b.mp4"), 2).await;
        }
    }

    #[tokio::test]
    async fn a_root_that_goes_is_away_and_its_files_are_told_of_when_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("drive");
        let mut told = begin(&root, Poll::Auto);
        assert!(matches!(told.next().await, Seen::State { state: SourceState::Away, .. }));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a.mp4"), b"x").unwrap();
        assert_eq!(told.files().await, [root.join("a.mp4")]);
        std::fs::rename(&root, dir.path().join("elsewhere")).unwrap();
        let away = loop {
            match told.next().await {
                Seen::State { state: SourceState::Away, error } => break error,
                Seen::State { .. } | Seen::Scanned => {}
                Seen::Files { .. } => panic!("nothing changed"),
            }
        };
        assert_eq!(away.as_deref(), Some("no such folder"));
        std::fs::rename(dir.path().join("elsewhere"), &root).unwrap();
        assert_eq!(told.files().await, [root.join("a.mp4")]);
    }
}
