//! Captions: the filter by words, BM25, and both lists fused.

use super::*;

fn captioned(n: u64, media: u64, caption: &str) -> Record {
    let mut record = record(n, media, 8);
    record.payload.caption = Some(caption.into());
    record
}

fn text(words: &str, limit: usize) -> Query {
    Query { wanted: Wanted::Text(words.into()), limit, filter: Filter::default() }
}

fn with_words(words: &str) -> Filter {
    Filter { caption: Some(words.into()), ..Filter::default() }
}

async fn ids(store: &dyn VectorStore, query: &Query) -> Vec<Uuid> {
    store.search(query).await.unwrap().iter().map(|hit| hit.id).collect()
}

pub(super) async fn filters_by_words_of_the_caption(place: &dyn Place) {
    let store = place.open(&spec("words", 8)).await.unwrap();
    let captions = [
        "A dog catches a red frisbee.",
        "two DOGS are running on the beach",
        "Zwei Hunde in der KÜCHE",
        "猫が窓で寝ている",
        "a red-haired man's bicycle",
        "",
    ];
    let mut records: Vec<Record> = (0..).zip(captions).map(|(n, caption)| captioned(n, n / 2, caption)).collect();
    records.push(record(6, 3, 8));
    store.upsert(&records).await.unwrap();
    for (words, expected) in [
        ("dog", &[0u64, 1][..]),
        ("DOGS", &[0, 1]),
        ("dog red", &[0]),
        ("red, the frisbees & the DOG", &[0]),
        ("red", &[0, 4]),
        ("red dog man", &[]),
        ("do", &[]),
        ("küche", &[2]),
        ("Küche hunde", &[2]),
        ("kuche", &[]),
        ("猫", &[3]),
        ("窓 猫", &[3]),
        ("犬", &[]),
        ("man", &[4]),
        ("the", &[]),
        ("", &[]),
        ("!?", &[]),
    ] {
        let query = Query { wanted: Wanted::Vector(vector(1, 8)), limit: 10, filter: with_words(words) };
        let found: BTreeSet<Uuid> = ids(store.as_ref(), &query).await.into_iter().collect();
        let expected: BTreeSet<Uuid> = expected.iter().map(|n| records[*n as usize].id).collect();
        assert_eq!(found, expected, "{words:?}");
    }
    let filter = Filter { media: Some(vec![medium(0)]), ..with_words("red") };
    let query = Query { wanted: Wanted::Vector(vector(1, 8)), limit: 10, filter };
    assert_eq!(ids(store.as_ref(), &query).await, [records[0].id], "with another filter");
    for record in &records {
        assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
    }
    let annotation = Annotation { label: Some("b".into()), tags: vec![] };
    store.annotate(medium(0), &annotation).await.unwrap();
    let query = Query { wanted: Wanted::Vector(vector(1, 8)), limit: 10, filter: with_words("dogs") };
    assert_eq!(ids(store.as_ref(), &query).await.len(), 2, "annotating leaves the caption");
}

/// Words as a language has them: few are frequent, many are rare.
const VOCABULARY: u64 = 400;

fn some_caption(random: &mut Random) -> String {
    let length = 1 + random.below(14);
    let words: Vec<String> = (0..length).map(|_| some_word(random)).collect();
    words.join(" ")
}

fn some_word(random: &mut Random) -> String {
    let (a, b) = (random.below(VOCABULARY), random.below(VOCABULARY));
    format!("w{}", a * b / VOCABULARY)
}

pub(super) async fn orders_captions_like_the_judge(place: &dyn Place) {
    let collection = spec("bm25", 8);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let mut random = Random(11);
    let mut records: Vec<Record> = (0..900).map(|n| record(n, n / 30, 8)).collect();
    for record in &mut records {
        // A third has none: they count for nothing.
        record.payload.caption = (random.below(3) > 0).then(|| some_caption(&mut random));
        record.payload.label = LABELS.get(random.below(4) as usize).map(|label| label.to_string());
    }
    fill(&[store.as_ref(), &judge], &records).await;
    let captions = records.iter().filter(|record| record.payload.caption.is_some()).count() as u64;
    assert_eq!((store.captions().await.unwrap(), judge.captions().await.unwrap()), (captions, captions));
    let mut answered = 0;
    for n in 0..40 {
        let words: Vec<String> = (0..1 + random.below(4)).map(|_| some_word(&mut random)).collect();
        let filter = match n % 4 {
            0 => Filter { label: Some(LABELS[0].into()), ..Filter::default() },
            1 => Filter { media: Some((0..9).map(medium).collect()), ..with_words(&words[0]) },
            _ => Filter::default(),
        };
        let query = Query { wanted: Wanted::Text(words.join(" ")), limit: 20, filter };
        let found = store.search(&query).await.unwrap();
        answered += usize::from(!found.is_empty());
        assert_agrees(&found, &query, &judge).await;
    }
    assert!(answered > 20, "{answered} answers to compare");
}

pub(super) async fn forgets_captions_that_are_gone(place: &dyn Place) {
    let store = place.open(&spec("forgets", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..30).map(|n| captioned(n, n / 10, "a dog")).collect();
    store.upsert(&records).await.unwrap();
    assert_eq!(store.captions().await.unwrap(), 30);
    records[3].payload.caption = Some("a cat".into());
    records[4].payload.caption = None;
    store.upsert(&records[3..5]).await.unwrap();
    let selection = Selection::medium(medium(2));
    store.delete(&selection).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.captions().await.unwrap(), 19);
    assert_eq!(ids(store.as_ref(), &text("dog", 50)).await.len(), 18);
    assert_eq!(ids(store.as_ref(), &text("cats", 50)).await, [records[3].id]);
    let both = store.search(&text("dog cat", 50)).await.unwrap();
    assert_eq!((both.len(), both[0].id), (19, records[3].id), "the rare word says more");
    store.optimize().await.unwrap();
    assert_eq!(ids(store.as_ref(), &text("dog", 50)).await.len(), 18);
    assert_eq!(store.get(records[4].id).await.unwrap().unwrap().payload.caption, None);
}

pub(super) async fn finds_no_caption_where_there_are_no_words(place: &dyn Place) {
    let store = place.open(&spec("wordless", 8)).await.unwrap();
    for wordless in ["", "the", " … "] {
        assert_eq!(store.search(&text(wordless, 5)).await.unwrap(), [], "{wordless:?} in an empty collection");
    }
    assert_eq!(store.search(&text("dog", 5)).await.unwrap(), []);
    let records: Vec<Record> = (0..).zip(["", "…", "the", "dog"]).map(|(n, text)| captioned(n, 1, text)).collect();
    store.upsert(&records).await.unwrap();
    store.upsert(&[record(9, 1, 8)]).await.unwrap();
    assert_eq!(store.captions().await.unwrap(), 1);
    assert_eq!(ids(store.as_ref(), &text("dog", 5)).await, [records[3].id]);
    for wordless in ["", "the", " … "] {
        assert_eq!(store.search(&text(wordless, 5)).await.unwrap(), [], "{wordless:?}");
        let hybrid = Wanted::Hybrid(vector(2, 8), wordless.into());
        let hybrid = Query { wanted: hybrid, limit: 9, filter: Filter::default() };
        let vector = Query { wanted: Wanted::Vector(vector(2, 8)), ..hybrid.clone() };
        assert_eq!(ids(store.as_ref(), &hybrid).await, ids(store.as_ref(), &vector).await, "the vector alone");
    }
    assert_eq!(store.search(&text("dog", 0)).await.unwrap(), []);
}

/// Neither list has ties, whose order is the engine's affair.
pub(super) async fn fuses_both_lists_like_the_judge(place: &dyn Place) {
    let collection = spec("fuses", 8);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let mut records: Vec<Record> = (0..120).map(|n| record(n, n / 10, 8)).collect();
    for (n, record) in records.iter_mut().enumerate() {
        let others: Vec<String> = (0..n / 2).map(|m| format!("other{n}x{m}")).collect();
        record.payload.caption = (n % 2 == 0).then(|| format!("dog {}", others.join(" ")));
    }
    fill(&[store.as_ref(), &judge], &records).await;
    for seed in 0..20 {
        let filter = match seed % 3 {
            0 => Filter { media: Some((0..6).map(medium).collect()), ..Filter::default() },
            1 => with_words("dogs"),
            _ => Filter::default(),
        };
        let query = Query { wanted: Wanted::Hybrid(vector(seed, 8), "a dog".into()), limit: 25, filter };
        let (found, expected) = (store.search(&query).await.unwrap(), judge.search(&query).await.unwrap());
        // Where sums are the same, either may be the one that is cut off.
        let scores = |hits: &[Hit]| hits.iter().map(|hit| hit.score).collect::<Vec<_>>();
        for (found, expected) in scores(&found).into_iter().zip(scores(&expected)) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        let last = expected.last().map_or(0.0, |hit| hit.score) + 1e-6;
        let sure = |hits: &[Hit]| hits.iter().filter(|hit| hit.score > last).map(|hit| hit.id).collect::<BTreeSet<_>>();
        assert_eq!((found.len(), sure(&found)), (expected.len(), sure(&expected)));
    }
}

pub(super) async fn brings_up_what_either_list_has(place: &dyn Place) {
    let store = place.open(&spec("either", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..300).map(|n| captioned(n, n / 10, "an empty street")).collect();
    records[7].payload.caption = Some("a dog catches a frisbee".into());
    store.upsert(&records).await.unwrap();
    // 7 by its caption, 200 by its vector.
    let wanted = Wanted::Hybrid(records[200].vector.clone(), "the dog".into());
    let query = Query { wanted, limit: 50, filter: Filter::default() };
    let found = store.search(&query).await.unwrap();
    let first: BTreeSet<Uuid> = found[..2].iter().map(|hit| hit.id).collect();
    assert_eq!(first, BTreeSet::from([records[7].id, records[200].id]));
    assert!(found.is_sorted_by(|a, b| a.score > b.score || (a.score == b.score && a.id < b.id)));
    assert!((found[0].score - 1.0 / 61.0).abs() < 0.02, "{}", found[0].score);
}

/// Enough for the engines to build their indexes of captions.
pub(super) async fn searches_ten_thousand_captions(place: &dyn Place) {
    let collection = spec("tenthousand", 64);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let mut random = Random(5);
    let mut records: Vec<Record> = (0..10_000).map(|n| record(n, n / 100, 64)).collect();
    for record in &mut records {
        record.payload.caption = Some(some_caption(&mut random));
    }
    for part in records.chunks(2000) {
        fill(&[store.as_ref(), &judge], part).await;
    }
    store.optimize().await.unwrap();
    for own in &records[..10] {
        let words = format!("{} {} {}", some_word(&mut random), some_word(&mut random), some_word(&mut random));
        let query = text(&words, 30);
        assert_agrees(&store.search(&query).await.unwrap(), &query, &judge).await;
        let filter = Filter { media: Some((0..20).map(medium).collect()), ..with_words(&some_word(&mut random)) };
        let query = Query { wanted: Wanted::Text(words.clone()), limit: 30, filter };
        assert_agrees(&store.search(&query).await.unwrap(), &query, &judge).await;
        let wanted = Wanted::Hybrid(own.vector.clone(), words);
        let found = store.search(&Query { wanted, limit: 30, filter: Filter::default() }).await.unwrap();
        assert!(found.iter().take(2).any(|hit| hit.id == own.id));
    }
}
