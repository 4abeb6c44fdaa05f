//! What a search costs among many windows (`CLIPSEEK_SCALE_SEARCH` says how many; `make soak`): in the store alone, and over
//! HTTP, idle and while something is indexed. Times are printed, not asserted; what is found is.
//!
//! The windows are mixtures of what a real model makes of real clips, with so much noise that the tenth neighbour is as far
//! away as among the real ones: vectors that are too far from each other, or too near, would make the graph look better or worse than
//! it is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clipseek::config::Settings;
use clipseek::embed::bundle::{Bundle, Outline};
use clipseek::embed::text::{OnnxTextEncoder, TextTokenizer};
use clipseek::embed::{Embedding, TextEncoder};
use clipseek::parts::Parts;
use clipseek::source::{MediaId, Stat};
use clipseek::store::{DayTime, Filter, Payload, Query, Record, Tally, VectorStore, Wanted};
use serde_json::json;
use uuid::Uuid;

use super::super::scale::{PLAN, put, size};
use super::super::support::{shared, text};
use super::{Command, begin, world};

const WINDOWS_PER_MEDIUM: usize = 10;
const NEIGHBOUR: usize = 10;
/// Windows of which the neighbours are looked for to choose the noise.
const SAMPLED: usize = 100;
const QUESTIONS: usize = 300;
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_search_among_many_windows() {
    let windows = size("CLIPSEEK_SCALE_SEARCH", 0);
    if windows == 0 {
        return;
    }
    let (Some(model), Some(clips)) = (shared("bundles/photos-mini"), shared("media/clips")) else { return };
    let (world, videos) = world();
    world.ok(&["model", "import", text(&model), "--name", "photos-mini"]);
    world.ok(&["index", text(&clips), "--model", "photos-mini", "-q"]);
    let parts = Parts { settings: Settings { data_dir: world.data(), ..Settings::default() } };
    let archive = Arc::new(parts.existing_archive().await.unwrap().unwrap());
    let outline = parts.bundles().outline("photos-mini").unwrap();
    let store = archive.existing(&outline.collection()).await.unwrap().unwrap();

    let real: Vec<Embedding> =
        store.scan(None, None, 100_000).await.unwrap().items.into_iter().map(|record| record.vector).collect();
    let mixed = Mixed::like(real, windows);
    let vectors: Vec<Embedding> = (0..windows).map(|number| mixed.vector(number as u64)).collect();
    fill(&world.data(), &outline, store.as_ref(), &vectors).await;
    let begun = Instant::now();
    store.optimize().await.unwrap();
    println!("{windows} windows × {}: the graph in {:.1?}", outline.dim(), begun.elapsed());

    let captions = captions(&clips);
    let mut questions = encoded(&outline, &captions);
    let of_texts = questions.len();
    questions.extend((questions.len()..QUESTIONS).map(|number| mixed.vector((windows + number) as u64)));
    in_the_store(store.as_ref(), &vectors, &questions, of_texts).await;

    drop((store, archive, vectors, questions));
    let config = world.dir.path().join("clipseek.toml");
    std::fs::write(&config, "[serve]\nrate_per_sec = 0\n").unwrap();
    let daemon = begin(&world, &["--config", text(&config), text(&videos)]);
    let mut address = None;
    daemon.until("it listens", || {
        let said = daemon.said();
        address = said.split("http://").nth(1).map(|rest| rest.split_whitespace().next().unwrap().to_owned());
        address.is_some() && daemon.get("/readyz").is_some_and(|(status, _)| status == 200)
    });
    let address = format!("http://{}", address.unwrap());
    over_http(&address, &captions, "idle").await;
    // The same clips in other windows, as often as it takes.
    for number in 0..60 {
        let settings = json!({"window": {"secs": 2.0 + f64::from(number) / 100.0}});
        let job = json!({"kind": "index", "paths": [text(&clips)], "settings": settings}).to_string();
        assert_eq!(daemon.ask("POST", "/v1/jobs", &job).unwrap().0, 202);
    }
    over_http(&address, &captions, "while clips are indexed").await;
    let jobs = daemon.json("/v1/jobs");
    assert!(jobs["jobs"].as_array().unwrap().iter().any(|job| job["state"] == "queued"), "it ended too soon: {jobs}");
    drop(daemon);
    // For other measurements.
    if let Some(kept) = std::env::var_os("CLIPSEEK_SCALE_KEEP") {
        assert!(Command::new("cp").arg("-r").arg(world.data()).arg(kept).status().unwrap().success());
    }
}

/// Mixtures of real vectors.
struct Mixed {
    real: Vec<Embedding>,
    /// Length of the noise; that of a vector is 1.
    noise: f64,
}

impl Mixed {
    /// With so much noise that among so many of them the tenth neighbour is as far away as among the real ones.
    fn like(real: Vec<Embedding>, count: usize) -> Self {
        let wanted = tenth(&real);
        let mut mixed = Self { real, noise: 0.0 };
        let (mut least, mut most, mut found) = (0.0, 4.0, 0.0);
        for _ in 0..10 {
            mixed.noise = f64::midpoint(least, most);
            let vectors: Vec<Embedding> = (0..count as u64).map(|number| mixed.vector(number)).collect();
            found = tenth(&vectors);
            if (found / wanted - 1.0).abs() < 0.05 {
                break;
            }
            *(if found < wanted { &mut least } else { &mut most }) = mixed.noise;
        }
        let (of, noise) = (mixed.real.len(), mixed.noise);
        println!(
            "median distance to neighbour {NEIGHBOUR}: {wanted:.4} among {of} real windows, {found:.4} (noise {noise:.3})"
        );
        assert!((found / wanted - 1.0).abs() < 0.1);
        mixed
    }

    fn vector(&self, seed: u64) -> Embedding {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66);
        let one = self.real[random.below(self.real.len())].as_slice();
        let other = self.real[random.below(self.real.len())].as_slice();
        let share = random.unit();
        let noise: Vec<f64> = one.iter().map(|_| random.normal()).collect();
        let length = noise.iter().map(|value| value * value).sum::<f64>().sqrt();
        let value = |((one, other), noise): ((&f32, &f32), &f64)| {
            (f64::from(*one) * share + f64::from(*other) * (1.0 - share) + noise / length * self.noise) as f32
        };
        Embedding::new(one.iter().zip(other).zip(&noise).map(value).collect()).unwrap()
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    /// Box and Muller, 1958.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Median distance (1 − cosine) to the tenth neighbour.
fn tenth(vectors: &[Embedding]) -> f64 {
    let step = (vectors.len() / SAMPLED).max(1);
    let mut distances: Vec<f64> = vectors
        .iter()
        .step_by(step)
        .map(|vector| {
            let mut all: Vec<f32> = vectors.iter().map(|other| 1.0 - vector.dot(other)).collect();
            // The nearest is the vector itself.
            f64::from(*all.select_nth_unstable_by(NEIGHBOUR, f32::total_cmp).1)
        })
        .collect();
    let middle = distances.len() / 2;
    *distances.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// What a window of this number has, so that filters keep a known share.
fn payload(number: usize) -> Payload {
    let tags = [(100, "hundredth"), (1000, "thousandth")];
    Payload {
        media_id: medium(number / WINDOWS_PER_MEDIUM),
        source: Some(if number.is_multiple_of(10) { "door" } else { "yard" }.to_owned()),
        label: Some(if number % 10 == 1 { "tenth" } else { "other" }.to_owned()),
        tags: tags.iter().filter(|(of, _)| number.is_multiple_of(*of)).map(|(_, tag)| (*tag).to_owned()).collect(),
        start: Duration::from_secs((number % WINDOWS_PER_MEDIUM) as u64),
        end: Duration::from_secs((number % WINDOWS_PER_MEDIUM) as u64 + 2),
        wall_ms: Some(number as i64 * 1000),
        minute_of_day: Some((number % 1440) as u16),
        caption: None,
        plan: PLAN.to_owned(),
        complete: None,
    }
}

fn medium(number: usize) -> MediaId {
    MediaId(Uuid::from_u128(number as u128 + 1))
}

async fn fill(data: &Path, bundle: &Outline, store: &dyn VectorStore, vectors: &[Embedding]) {
    let mut db = rusqlite::Connection::open(data.join("ledger.sqlite")).unwrap();
    let transaction = db.transaction().unwrap();
    for (media, some) in vectors.chunks(WINDOWS_PER_MEDIUM * 100).enumerate() {
        let first = media * WINDOWS_PER_MEDIUM * 100;
        let record = |(at, vector): (usize, &Embedding)| {
            Record::new(bundle.hash(), vector.clone(), payload(first + at), Vec::new(), false)
        };
        let records: Vec<Record> = some.iter().enumerate().map(record).collect();
        for of_one in records.chunks(WINDOWS_PER_MEDIUM) {
            let mut tally = Tally::default();
            of_one.iter().for_each(|record| tally.add(record.mark()));
            let media = of_one[0].payload.media_id;
            let path = Path::new("/archive").join(format!("{}.mp4", media.0));
            put(&transaction, bundle, &path, Stat { size: 1, modified_ns: 1 }, media, tally);
        }
        store.upsert(&records).await.unwrap();
    }
    transaction.commit().unwrap();
    store.flush().await.unwrap();
}

fn captions(clips: &Path) -> Vec<String> {
    let listed = std::fs::read_to_string(clips.with_file_name("captions.jsonl")).unwrap();
    let rows = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let of = |row: serde_json::Value| {
        let captions = row["captions"].as_array().unwrap().clone();
        captions.into_iter().map(|caption| caption.as_str().unwrap().to_owned())
    };
    rows.flat_map(of).collect()
}

fn encoded(outline: &Outline, texts: &[String]) -> Vec<Embedding> {
    let bundle = Bundle::check(outline.clone()).unwrap();
    let tokenizer = Arc::new(TextTokenizer::open(&bundle).unwrap());
    let settings = Settings::default().model;
    OnnxTextEncoder::open(&bundle, tokenizer, &settings).unwrap().encode(texts).unwrap()
}

/// p50, p95 and p99 in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort();
    [50, 95, 99].map(|percent| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1000.0)
}

async fn in_the_store(store: &dyn VectorStore, vectors: &[Embedding], questions: &[Embedding], of_texts: usize) {
    let one_percent = vectors.len() / 100;
    let seconds = |number: usize| Some(number as i64 * 1000);
    let some = Filter::default;
    let media = |count: usize| Some((0..count).map(|number| medium(number * 7)).collect());
    let tags = |tag: &str| vec![tag.to_owned()];
    type Keeps = Box<dyn Fn(usize) -> bool>;
    let filters: Vec<(&str, Filter, Keeps)> = vec![
        ("all", some(), Box::new(|_| true)),
        ("10 % by label", Filter { label: Some("tenth".into()), ..some() }, Box::new(|n| n % 10 == 1)),
        (
            "10 % by time of day",
            Filter { between: Some(DayTime { from: 1300, to: 4 }), ..some() },
            Box::new(|n| DayTime { from: 1300, to: 4 }.holds((n % 1440) as u16)),
        ),
        ("1 % by tag", Filter { tags: tags("hundredth"), ..some() }, Box::new(|n| n.is_multiple_of(100))),
        (
            "1 % by time",
            Filter { after_ms: seconds(one_percent), before_ms: seconds(2 * one_percent), ..some() },
            Box::new(move |n| (one_percent..2 * one_percent).contains(&n)),
        ),
        (
            "1 % by media",
            Filter { media: media(one_percent / WINDOWS_PER_MEDIUM), ..some() },
            Box::new(move |n| {
                (n / WINDOWS_PER_MEDIUM).is_multiple_of(7)
                    && n / WINDOWS_PER_MEDIUM / 7 < one_percent / WINDOWS_PER_MEDIUM
            }),
        ),
        ("0.1 % by tag", Filter { tags: tags("thousandth"), ..some() }, Box::new(|n| n.is_multiple_of(1000))),
    ];
    let mut worst = 1.0_f64;
    for (name, filter, keeps) in filters {
        let kept: Vec<usize> = (0..vectors.len()).filter(|number| keeps(*number)).collect();
        let query = |question: &Embedding| Query {
            wanted: Wanted::Vector(question.clone()),
            limit: NEIGHBOUR,
            filter: filter.clone(),
        };
        let mut right = [0; 2];
        for (number, question) in questions.iter().enumerate() {
            let hits = store.search(&query(question)).await.unwrap();
            let mut exact: Vec<f32> = kept.iter().map(|number| question.dot(&vectors[*number])).collect();
            exact.sort_by(|a, b| b.total_cmp(a));
            // Of equal scores either is right; sums differ by the order in which they are made.
            let least = exact[NEIGHBOUR - 1] - 1e-6;
            right[usize::from(number >= of_texts)] += hits.iter().filter(|hit| hit.score >= least).count();
        }
        // Behind the first time: what is not in memory yet takes as long as the disk does. And with nothing between two searches:
        // looking at all vectors, as above, leaves none of the engine's in the caches of the processor.
        let mut times = Vec::new();
        for question in questions {
            let begun = Instant::now();
            store.search(&query(question)).await.unwrap();
            times.push(begun.elapsed());
        }
        let [p50, p95, p99] = percentiles(times);
        let share = |right: usize, of: usize| right as f64 / (of * NEIGHBOUR) as f64;
        println!(
            "store, {name}: {p50:.2} ms, p95 {p95:.2}, p99 {p99:.2}; recall@10 of texts {:.4}, of mixtures {:.4}",
            share(right[0], of_texts),
            share(right[1], questions.len() - of_texts),
        );
        worst = worst.min(share(right[0] + right[1], questions.len()));
    }
    assert!(worst >= 0.99, "recall@10 {worst}");
}

async fn over_http(address: &str, captions: &[String], when: &str) {
    for clients in [1, 8, 32] {
        let until = Instant::now() + MEASURED;
        let mut asking = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (address, captions) = (address.to_owned(), captions.to_vec());
            asking.spawn(async move {
                let http = reqwest::Client::new();
                let mut times = Vec::new();
                for number in 0.. {
                    // No text twice: its vector is not kept from before.
                    let text = format!("{} {client} {number}", captions[(client + number) % captions.len()]);
                    let begun = Instant::now();
                    if begun >= until {
                        break;
                    }
                    let query: String =
                        form_urlencoded::Serializer::new(String::new()).append_pair("text", &text).finish();
                    let answer = http.get(format!("{address}/v1/search?{query}")).send().await.unwrap();
                    let status = answer.status();
                    let body = answer.text().await.unwrap();
                    assert!(status.is_success() && body.contains("\"score\""), "{status}: {body}");
                    times.push(begun.elapsed());
                }
                times
            });
        }
        let times: Vec<Duration> = asking.join_all().await.into_iter().flatten().collect();
        let each_second = times.len() as f64 / MEASURED.as_secs_f64();
        let [p50, p95, p99] = percentiles(times);
        println!("HTTP, {when}, {clients} clients: {p50:.1} ms, p95 {p95:.1}, p99 {p99:.1}; {each_second:.0} a second");
    }
}
