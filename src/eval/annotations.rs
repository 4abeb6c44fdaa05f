//! Reads the annotation files of the public data sets, which say which caption belongs to which video. Decodes no
//! video.
//!
//! Each loader returns [`Item`]s, one per video with its captions, in the order of the file. Captions are treated as in
//! each set's official code: DiDeMo and ActivityNet join all sentences of a video into one paragraph; MSVD, VATEX and
//! MSR-VTT (full) use every caption as a query of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sampling::ClipSpan;

/// A data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// MSR-VTT, 1000 pairs (JSFUSION test): MSRVTT_JSFUSION_test.csv
    #[serde(rename = "msrvtt-1ka")]
    Msrvtt1ka,
    /// MSR-VTT, about 20 captions a video: MSRVTT_{test,val,train}.full.csv, MSRVTT_data.json
    MsrvttFull,
    /// MSVD: {test,val,train}_list.txt, raw-captions.pkl
    Msvd,
    /// LSMDC: LSMDC16_challenge_1000_publictect.csv and the like
    Lsmdc,
    /// DiDeMo, a paragraph a video: {test,val,train}_list.txt, {test,val,train}_data.json
    Didemo,
    /// ActivityNet, a paragraph a video: {val,train}_ids.json, val_1.json or train.json
    Activitynet,
    /// VATEX: test1k5_sec_list.txt or {test,val,train}_list.txt, vatex_data.json
    Vatex,
    /// Your own JSON lines, {"video": "a.mp4", "caption": "…"}; the caption may be a list; start_s and end_s select a part
    Jsonl,
}

impl Set {
    /// Name of each split and the file that lists it; the first is the one that papers report.
    pub fn splits(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Msrvtt1ka => &[("test", "MSRVTT_JSFUSION_test.csv")],
            Self::MsrvttFull => {
                &[("test", "MSRVTT_test.full.csv"), ("val", "MSRVTT_val.full.csv"), ("train", "MSRVTT_train.full.csv")]
            }
            Self::Msvd | Self::Didemo => {
                &[("test", "test_list.txt"), ("val", "val_list.txt"), ("train", "train_list.txt")]
            }
            Self::Lsmdc => &[
                ("test", "LSMDC16_challenge_1000_publictect.csv"),
                ("val", "LSMDC16_annos_val.csv"),
                ("train", "LSMDC16_annos_training.csv"),
            ],
            Self::Activitynet => &[("val1", "val_ids.json"), ("train", "train_ids.json")],
            Self::Vatex => &[
                ("test1k5", "test1k5_sec_list.txt"),
                ("test", "test_list.txt"),
                ("val", "val_list.txt"),
                ("train", "train_list.txt"),
            ],
            Self::Jsonl => &[("all", "")],
        }
    }

    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A video, or a part of one, and its captions.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub captions: Vec<String>,
    /// Possible names of the file, the likeliest first, with or without extension.
    pub names: Vec<String>,
    pub span: Option<ClipSpan>,
}

/// The content of a set's files for one split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    pub split: String,
    pub items: Vec<Item>,
    /// Whether a video may have several captions, each of them a query.
    pub many_captions: bool,
    /// Listed videos without a caption.
    pub without_caption: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct AnnotationError {
    pub path: PathBuf,
    pub line: Option<usize>,
    pub problem: String,
}

/// Reads a set. `path` is the folder of its official files, or the file that lists the split, with the other files
/// beside it.
pub fn load(set: Set, split: Option<&str>, path: &Path) -> Result<Annotations, AnnotationError> {
    let whole = |problem: String| AnnotationError { path: path.to_owned(), line: None, problem };
    let (first, file) = match split {
        // The name of the listing file determines the split.
        None => *set.splits().iter().find(|(_, file)| path.ends_with(file)).unwrap_or(&set.splits()[0]),
        Some(name) => *set.splits().iter().find(|(split, _)| *split == name).ok_or_else(|| {
            let names: Vec<&str> = set.splits().iter().map(|(name, _)| *name).collect();
            whole(format!("{} has no split {name}, it has: {}", set.name(), names.join(", ")))
        })?,
    };
    let list = if path.is_dir() && set != Set::Jsonl { path.join(file) } else { path.to_owned() };
    let dir = list.parent().unwrap_or(Path::new("."));
    let mut found = match set {
        Set::Msrvtt1ka => msrvtt_pairs(&list)?,
        Set::MsrvttFull => msrvtt_full(&list, &dir.join("MSRVTT_data.json"))?,
        Set::Msvd => msvd(&list, &dir.join("raw-captions.pkl"))?,
        Set::Lsmdc => lsmdc(&list)?,
        Set::Didemo => didemo(&list, &dir.join(format!("{first}_data.json")))?,
        Set::Activitynet => activitynet(&list, &dir.join(if first == "train" { "train.json" } else { "val_1.json" }))?,
        Set::Vatex => vatex(&list, &dir.join("vatex_data.json"))?,
        Set::Jsonl => jsonl(&list)?,
    };
    found.split = first.to_owned();
    Ok(found)
}

fn text(path: &Path) -> Result<String, AnnotationError> {
    let fail = |problem| AnnotationError { path: path.to_owned(), line: None, problem };
    let bytes = std::fs::read(path).map_err(|error| fail(reason(&error)))?;
    String::from_utf8(bytes).map_err(|error| fail(format!("not UTF-8: {error}")))
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "a folder; name the file".to_owned(),
        _ => error.to_string(),
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, AnnotationError> {
    let text = text(path)?;
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| AnnotationError {
        path: path.to_owned(),
        line: Some(error.line()),
        problem: error.to_string(),
    })
}

/// One name per line.
fn names(path: &Path) -> Result<Vec<String>, AnnotationError> {
    Ok(text(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, AnnotationError> {
    let text = text(path)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    reader
        .deserialize()
        .map(|row| {
            row.map_err(|error| AnnotationError {
                path: path.to_owned(),
                line: error.position().and_then(|at| usize::try_from(at.line()).ok()),
                problem: error.to_string(),
            })
        })
        .collect()
}

fn msrvtt_pairs(list: &Path) -> Result<Annotations, AnnotationError> {
    #[derive(Deserialize)]
    struct Row {
        video_id: String,
        sentence: String,
    }
    let item = |row: Row| Item { captions: vec![row.sentence], names: vec![row.video_id], span: None };
    Ok(Annotations { items: rows(list)?.into_iter().map(item).collect(), ..Annotations::default() })
}

fn msrvtt_full(list: &Path, data: &Path) -> Result<Annotations, AnnotationError> {
    #[derive(Deserialize)]
    struct Row {
        video_id: String,
    }
    #[derive(Deserialize)]
    struct Data {
        sentences: Vec<Sentence>,
    }
    #[derive(Deserialize)]
    struct Sentence {
        video_id: String,
        caption: String,
    }
    let mut captions: HashMap<String, Vec<String>> = HashMap::new();
    for Sentence { video_id, caption } in json::<Data>(data)?.sentences {
        captions.entry(video_id).or_default().push(caption);
    }
    let ids = rows::<Row>(list)?.into_iter().map(|row| row.video_id);
    Ok(grouped(ids, |id| captions.remove(id)))
}

fn msvd(list: &Path, captions: &Path) -> Result<Annotations, AnnotationError> {
    let ids = names(list)?;
    let fail = |problem| AnnotationError { path: captions.to_owned(), line: None, problem };
    let file = std::fs::File::open(captions).map_err(|error| fail(reason(&error)))?;
    // Old files were written by Python 2, whose strings are bytes. Reading a pickle here runs no code.
    let options = serde_pickle::DeOptions::new().decode_strings();
    let mut captions: HashMap<String, Vec<Vec<String>>> =
        serde_pickle::from_reader(std::io::BufReader::new(file), options)
            .map_err(|error| fail(format!("not a pickle of id → list of word lists: {error}")))?;
    let joined = |id: &str| Some(captions.remove(id)?.iter().map(|words| words.join(" ")).collect());
    Ok(grouped(ids.into_iter(), joined))
}

fn vatex(list: &Path, data: &Path) -> Result<Annotations, AnnotationError> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "enCap", default)]
        captions: Vec<String>,
    }
    let mut data: HashMap<String, Entry> = json(data)?;
    Ok(grouped(names(list)?.into_iter(), |id| data.remove(id).map(|entry| entry.captions)))
}

/// Items whose captions are queries of their own.
fn grouped(ids: impl Iterator<Item = String>, mut captions: impl FnMut(&str) -> Option<Vec<String>>) -> Annotations {
    let mut found = Annotations { many_captions: true, ..Annotations::default() };
    for id in ids {
        match captions(&id).filter(|captions| !captions.is_empty()) {
            Some(captions) => found.items.push(Item { captions, names: vec![id], span: None }),
            None => found.without_caption.push(id),
        }
    }
    found
}

fn lsmdc(list: &Path) -> Result<Annotations, AnnotationError> {
    let mut found = Annotations::default();
    for (line, row) in (1..).zip(text(list)?.lines()) {
        let row = row.trim();
        if row.is_empty() {
            continue;
        }
        // Quotes have no meaning in this file, so it cannot be read as CSV.
        let [id, _, _, _, _, sentence] = row.split('\t').collect::<Vec<_>>()[..] else {
            let problem = "six columns between tabs were expected: clip id, four times, sentence".to_owned();
            return Err(AnnotationError { path: list.to_owned(), line: Some(line), problem });
        };
        found.items.push(Item { captions: vec![sentence.to_owned()], names: vec![id.to_owned()], span: None });
    }
    Ok(found)
}

fn didemo(list: &Path, data: &Path) -> Result<Annotations, AnnotationError> {
    #[derive(Deserialize)]
    struct Moment {
        description: String,
        video: String,
    }
    let mut paragraphs: HashMap<String, Vec<String>> = HashMap::new();
    for Moment { description, video } in json::<Vec<Moment>>(data)? {
        paragraphs.entry(video).or_default().push(description);
    }
    // The official loader uses only the first 31 seconds.
    let span = Some(ClipSpan { start_s: 0.0, end_s: 31.0 });
    Ok(paragraphs_of(names(list)?.into_iter().map(|name| {
        let sentences = paragraphs.remove(&name);
        (vec![name], sentences, span)
    })))
}

fn activitynet(list: &Path, data: &Path) -> Result<Annotations, AnnotationError> {
    #[derive(Deserialize)]
    struct Entry {
        duration: f64,
        sentences: Vec<String>,
    }
    let mut data: HashMap<String, Entry> = json(data)?;
    Ok(paragraphs_of(json::<Vec<String>>(list)?.into_iter().map(|id| {
        let entry = data.remove(&id);
        let span = entry.as_ref().map(|entry| ClipSpan { start_s: 0.0, end_s: entry.duration.ceil() });
        // The official loader drops the prefix, but downloaded videos often keep it.
        let names = id.strip_prefix("v_").map(str::to_owned).into_iter().chain([id.clone()]).collect();
        (names, entry.map(|entry| entry.sentences), span)
    })))
}

/// Items with all sentences of a video joined into one caption.
fn paragraphs_of(videos: impl Iterator<Item = (Vec<String>, Option<Vec<String>>, Option<ClipSpan>)>) -> Annotations {
    let mut found = Annotations::default();
    for (names, sentences, span) in videos {
        match sentences.filter(|sentences| !sentences.is_empty()) {
            Some(sentences) => found.items.push(Item { captions: vec![sentences.join(" ")], names, span }),
            None => found.without_caption.extend(names.into_iter().next()),
        }
    }
    found
}

/// A line of a user's own file. The aliases are the names in CLIP-ViP's files.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "clip_id")]
    video: String,
    #[serde(alias = "text")]
    caption: OneOrMany,
    #[serde(default)]
    start_s: Option<f64>,
    #[serde(default)]
    end_s: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn jsonl(path: &Path) -> Result<Annotations, AnnotationError> {
    let text = text(path)?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        return own(path, json::<Vec<Line>>(path)?.into_iter().map(Ok).zip(1..));
    }
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    own(path, lines.map(|(line, number)| (serde_json::from_str(line), number)))
}

/// Merges lines about the same part of the same video, wherever they are in the file.
fn own(
    path: &Path,
    lines: impl Iterator<Item = (serde_json::Result<Line>, usize)>,
) -> Result<Annotations, AnnotationError> {
    let mut found = Annotations::default();
    let mut places: BTreeMap<(String, Option<(u64, u64)>), usize> = BTreeMap::new();
    for (line, number) in lines {
        let fail = |problem| AnnotationError { path: path.to_owned(), line: Some(number), problem };
        let line = line.map_err(|error| {
            fail(format!(r#"{error}; expected a line such as {{"video": "a.mp4", "caption": "a dog runs"}}"#))
        })?;
        let span = match (line.start_s, line.end_s) {
            (None, None) => None,
            (start, end) => Some(ClipSpan { start_s: start.unwrap_or(0.0), end_s: end.unwrap_or(f64::MAX) }),
        };
        if let Some(ClipSpan { start_s, end_s }) = span
            && !(start_s >= 0.0 && start_s < end_s)
        {
            return Err(fail(format!("start_s is {start_s} and end_s is {end_s}: a part must end after it starts")));
        }
        let captions = match line.caption {
            OneOrMany::One(caption) => vec![caption],
            OneOrMany::Many(captions) => captions,
        };
        if captions.is_empty() {
            found.without_caption.push(line.video);
            continue;
        }
        let key = (line.video.clone(), span.map(|span| (span.start_s.to_bits(), span.end_s.to_bits())));
        let place = *places.entry(key).or_insert_with(|| {
            found.items.push(Item { captions: Vec::new(), names: vec![line.video], span });
            found.items.len() - 1
        });
        found.items[place].captions.extend(captions);
    }
    found.many_captions = found.items.iter().any(|item| item.captions.len() > 1);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small files in the format of the official ones.
    fn fixture(set: Set) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/annotations").join(set.name())
    }

    fn brief(found: &Annotations) -> Vec<(String, usize, String)> {
        found.items.iter().map(|i| (i.names[0].clone(), i.captions.len(), i.captions[0].clone())).collect()
    }

    fn row(name: &str, captions: usize, first: &str) -> (String, usize, String) {
        (name.to_owned(), captions, first.to_owned())
    }

    #[test]
    fn pairs() {
        let found = load(Set::Msrvtt1ka, None, &fixture(Set::Msrvtt1ka)).unwrap();
        assert_eq!(brief(&found)[0], row("h264", 1, "an orange heart, to the left"), "a comma within quotes");
        assert!(!found.many_captions && found.split == "test" && found.items.len() == 4);
        let found = load(Set::Lsmdc, None, &fixture(Set::Lsmdc)).unwrap();
        assert_eq!(brief(&found)[1], row("vp8", 1, "\"A white star moves down.\""), "quotes are text");
        assert_eq!(found.items.len(), 4);
    }

    #[test]
    fn many_captions() {
        for set in [Set::MsrvttFull, Set::Msvd, Set::Vatex] {
            let found = load(set, None, &fixture(set)).unwrap();
            let expected = [
                row("h264", 2, "an orange heart moves to the left"),
                row("vp8", 3, "a white star moves down"),
                row("turned", 1, "a purple triangle shrinks"),
            ];
            assert_eq!(brief(&found), expected, "{set:?}");
            assert!(found.many_captions);
            assert_eq!(found.without_caption, ["nothing-said"], "{set:?}");
        }
        assert_eq!(load(Set::Vatex, Some("test"), &fixture(Set::Vatex)).unwrap().items.len(), 1);
    }

    #[test]
    fn paragraphs() {
        let found = load(Set::Didemo, None, &fixture(Set::Didemo)).unwrap();
        assert_eq!(brief(&found)[0], row("tape.mp4", 1, "a yellow square and an orange star move apart a red circle"));
        assert_eq!(found.items[0].span, Some(ClipSpan { start_s: 0.0, end_s: 31.0 }));
        let found = load(Set::Activitynet, None, &fixture(Set::Activitynet)).unwrap();
        assert_eq!(found.items[0].names, ["tape", "v_tape"]);
        assert_eq!(found.items[0].span, Some(ClipSpan { start_s: 0.0, end_s: 157.0 }));
        assert_eq!(found.items[0].captions, ["a yellow square and an orange star move apart. a red circle"]);
        assert!(!found.many_captions && found.split == "val1");
    }

    #[test]
    fn the_file_that_lists_a_split_names_it_too() {
        let found = load(Set::Msvd, None, &fixture(Set::Msvd).join("val_list.txt")).unwrap();
        assert_eq!(brief(&found), [row("vp9", 1, "a black crescent chases an orange circle to the right")]);
        assert_eq!(found.split, "val");
    }

    #[test]
    fn lines_of_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            load(Set::Jsonl, None, &path).map_err(|error| error.to_string())
        };
        let found = read(
            "\u{feff}{\"video\": \"a.mp4\", \"caption\": \"one\"}\n\n\
             {\"video\": \"a.mp4\", \"caption\": \"part\", \"start_s\": 1, \"end_s\": 2.5}\n\
             {\"clip_id\": \"b/c\", \"text\": [\"two\", \"three\"]}\n{\"video\": \"a.mp4\", \"caption\": \"four\"}\n",
        )
        .unwrap();
        assert_eq!(brief(&found), [row("a.mp4", 2, "one"), row("a.mp4", 1, "part"), row("b/c", 2, "two")]);
        assert_eq!(found.items[1].span, Some(ClipSpan { start_s: 1.0, end_s: 2.5 }));
        assert!(found.many_captions);
        let found = read(r#"[{"video": "a.mp4", "caption": "one"}]"#).unwrap();
        assert!(found.items.len() == 1 && !found.many_captions);

        let error = read("{\"video\": \"a\", \"caption\": \"x\"}\n{\"video\": \"a\"}").unwrap_err();
        assert!(error.contains("a.jsonl:2:") && error.contains("caption"), "{error}");
        let error = read(r#"{"video": "a", "caption": "x", "start_s": 3, "end_s": 3}"#).unwrap_err();
        assert!(error.contains("must end after it starts"), "{error}");
        let error = load(Set::Jsonl, None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("a folder; name the file"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let missing = load(Set::Msvd, None, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere") && missing.contains("no such file"), "{missing}");
        let split = load(Set::Didemo, Some("tset"), &fixture(Set::Didemo)).unwrap_err().to_string();
        assert!(split.contains("didemo has no split tset, it has: test, val, train"), "{split}");
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("LSMDC16_challenge_1000_publictect.csv");
        std::fs::write(&list, "a\t1\t2\t3\t4\tfine\nb\tno\n").unwrap();
        let error = load(Set::Lsmdc, None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("publictect.csv:2: six columns"), "{error}");
        std::fs::write(dir.path().join("test_list.txt"), "a\n").unwrap();
        std::fs::write(dir.path().join("raw-captions.pkl"), "cos\nsystem\n(S'true'\ntR.").unwrap();
        let error = load(Set::Msvd, None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("raw-captions.pkl: not a pickle of id"), "{error}");
    }
}
