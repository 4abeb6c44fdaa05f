//! A search request: flags of the command line and JSON become the same value.

use chrono::{DateTime, Local, NaiveDate, NaiveTime, SecondsFormat, TimeZone};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::SearchError;
use crate::store::{DayTime, has_words};

/// Most moments in one request.
pub const MOST_MOMENTS: u16 = 1000;
/// Texts that one request may have, wanted and unwanted ones each.
const MOST_TEXTS: usize = 32;
/// Windows that may be judged again: each costs a run of the model.
const MOST_RERANKED: u16 = 1000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::IntoParams, utoipa::ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// Query text: what happens.
    pub text: Option<String>,
    /// Several texts for the same thing, of which the average is looked for.
    #[schema(max_items = 32)]
    pub texts: Vec<String>,
    /// Query picture: the bytes of a JPEG, PNG or WebP file. Not part of the JSON.
    #[serde(skip)]
    pub picture: Option<Vec<u8>>,
    /// Query moment by its id: finds similar ones.
    #[serde(deserialize_with = "moment")]
    pub like: Option<Uuid>,
    /// Texts describing what the moments should not show.
    #[schema(max_items = 32)]
    pub not: Vec<String>,
    /// What `text` is compared with.
    pub mode: Mode,
    /// How many of the best windows to score again by the text and their frames together.
    #[schema(minimum = 1, maximum = 1000)]
    pub rerank: Option<u16>,
    /// Most moments to return, from 1 to 1000.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: u16,
    /// Least confidence of a moment, from 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub min_confidence: f32,
    /// Name of a source: a watched folder or a stream.
    pub source: Option<String>,
    pub label: Option<String>,
    /// Moments must have all of these tags.
    pub tags: Vec<String>,
    /// A pattern over paths: `*` stands for anything within a name, `**` for folders too; without a leading `/` it
    /// matches at any depth.
    pub path: Option<String>,
    /// Recorded at or after this time.
    pub after: Option<WallTime>,
    /// Recorded before this time.
    pub before: Option<WallTime>,
    /// Recorded at this time of the day, in the zone of this machine; it may go over midnight.
    pub between: Option<Between>,
    /// The caption must have all of these words.
    pub caption: Option<String>,
    /// How much moments should differ from each other, from 0 (not at all) to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub diversity: f32,
    /// Answer also which media the moments are of.
    pub group: bool,
    /// Where an earlier answer goes on (its `next`). Beside it only `limit` may stand.
    pub cursor: Option<String>,
    /// Name of a bundle, or its folder; without it the bundle that everything was indexed with.
    pub model: Option<String>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            text: None,
            texts: Vec::new(),
            picture: None,
            like: None,
            not: Vec::new(),
            mode: Mode::Vector,
            rerank: None,
            limit: 10,
            min_confidence: 0.0,
            source: None,
            label: None,
            tags: Vec::new(),
            path: None,
            after: None,
            before: None,
            between: None,
            caption: None,
            diversity: 0.0,
            group: false,
            cursor: None,
            model: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Compares with the pictures, by the model. Scores are cosine similarities.
    #[default]
    Vector,
    /// Compares with the words of captions. Scores are BM25.
    Text,
    /// Both. Scores are fused reciprocal ranks.
    Hybrid,
}

/// Unix milliseconds, parsed from a date or a time; without a zone, in this machine's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WallTime(pub i64);

impl std::str::FromStr for WallTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(time.timestamp_millis()));
        }
        let formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let local = formats
            .iter()
            .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
            .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN)));
        let time = local.and_then(|time| Local.from_local_datetime(&time).earliest());
        time.map(|time| Self(time.timestamp_millis()))
            .ok_or_else(|| "a time such as 2026-05-01 or 2026-05-01T14:00:00Z".to_owned())
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = DateTime::from_timestamp_millis(self.0).ok_or_else(|| serde::ser::Error::custom("no such time"))?;
        serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl TryFrom<String> for WallTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|expected| format!("{text:?}: not {expected}"))
    }
}

/// A time of the day such as `22:00-06:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Between(pub DayTime);

impl std::str::FromStr for Between {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| {
            let (hours, minutes) = text.trim().split_once(':')?;
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            let minute = hours.checked_mul(60)?.checked_add(minutes)?;
            (minutes < 60 && minute <= 24 * 60).then_some(minute)
        };
        let times = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        times
            .filter(|(from, to)| from != to && *from < 24 * 60)
            .map(|(from, to)| Self(DayTime { from, to }))
            .ok_or_else(|| "a time of the day such as 22:00-06:00".to_owned())
    }
}

impl Serialize for Between {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let DayTime { from, to } = self.0;
        serializer.collect_str(&format_args!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60))
    }
}

impl TryFrom<String> for Between {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|expected| format!("{text:?}: not {expected}"))
    }
}

/// They are texts in JSON.
macro_rules! text_schema {
    ($type:ty, $format:expr) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String);
                text.description(Some($format)).into()
            }
        }

        impl utoipa::ToSchema for $type {}
    };
}

text_schema!(WallTime, "a time such as 2026-05-01T14:00:00Z, or a date; without a zone in that of the daemon");
text_schema!(Between, "a time of the day such as 22:00-06:00");

/// The library's own words for a wrong id speak of groups and lengths.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let wrong = || D::Error::custom(format!("like: {text:?} is no id of a moment (`id` in the answer to a search)"));
    text.parse().map(Some).map_err(|_| wrong())
}

impl SearchRequest {
    /// Checks the request without a model.
    pub fn check(&self) -> Result<(), SearchError> {
        let invalid = |problem: &str| Err(SearchError::Invalid(problem.to_owned()));
        if self.cursor.is_some() {
            let alone = Self { cursor: self.cursor.clone(), limit: self.limit, ..Self::default() };
            if *self != alone {
                return invalid("a cursor goes on with the search that it came from: beside it only limit may stand");
            }
            return self.check_limit();
        }
        let text = self.text.as_deref();
        if text.into_iter().chain(self.texts.iter().map(String::as_str)).any(|text| text.trim().is_empty()) {
            return invalid("the query is empty: say what happens, such as \"a dog catches a frisbee\"");
        }
        if self.texts.len() > MOST_TEXTS || self.not.len() > MOST_TEXTS {
            return Err(SearchError::Invalid(format!("at most {MOST_TEXTS} texts, and as many that are not wanted")));
        }
        let asked = [text.is_some(), !self.texts.is_empty(), self.picture.is_some(), self.like.is_some()];
        match asked.into_iter().filter(|asked| *asked).count() {
            1 => {}
            0 => return invalid("nothing to look for: give a text, a picture or the id of a moment"),
            _ => {
                return invalid(
                    "a text, several texts, a picture and the id of a moment exclude each other: give one of them",
                );
            }
        }
        self.check_limit()?;
        if !(0.0..=1.0).contains(&self.diversity) {
            return invalid("diversity must lie between 0 and 1");
        }
        if self.rerank.is_some_and(|count| count > MOST_RERANKED) {
            return Err(SearchError::Invalid(format!("at most {MOST_RERANKED} windows are judged again")));
        }
        if !(0.0..=1.0).contains(&self.min_confidence) {
            return invalid("min_confidence must lie between 0 and 1");
        }
        if self.rerank == Some(0) || self.rerank.is_some() && text.is_none() {
            return invalid("re-ranking compares a text with the frames of at least one window");
        }
        if let Some(caption) = self.caption.as_deref().filter(|caption| !has_words(caption)) {
            return Err(SearchError::Invalid(format!(
                "caption {caption:?}: no word to look for (words such as \"the\" do not count)"
            )));
        }
        self.check_mode()
    }

    fn check_limit(&self) -> Result<(), SearchError> {
        if !(1..=MOST_MOMENTS).contains(&self.limit) {
            return Err(SearchError::Invalid(format!("limit must lie between 1 and {MOST_MOMENTS}")));
        }
        Ok(())
    }

    fn check_mode(&self) -> Result<(), SearchError> {
        let name = match self.mode {
            Mode::Vector => return Ok(()),
            Mode::Text => "text",
            Mode::Hybrid => "hybrid",
        };
        let problem = match self.text.as_deref() {
            None => format!("mode {name} looks for words in captions: give it a text instead of a picture or a moment"),
            Some(text) if !has_words(text) => format!(
                "{text:?}: no word to look for in captions (words such as \"the\" do not count): say more, or use mode vector"
            ),
            Some(_) if self.mode == Mode::Text && !self.not.is_empty() => {
                "\"not\" is compared with the pictures, not with captions: use mode vector or hybrid".to_owned()
            }
            Some(_) => return Ok(()),
        };
        Err(SearchError::Invalid(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(request: SearchRequest) -> String {
        request.check().unwrap_err().to_string()
    }

    fn text(text: &str) -> SearchRequest {
        SearchRequest { text: Some(text.into()), ..SearchRequest::default() }
    }

    #[test]
    fn json_becomes_what_flags_become() {
        let json =
            r#"{"text": "a dog", "not": ["rain"], "after": "1970-01-01T00:00:01Z", "mode": "hybrid", "limit": 3}"#;
        let asked: SearchRequest = serde_json::from_str(json).unwrap();
        let expected = SearchRequest {
            not: vec!["rain".into()],
            after: Some(WallTime(1000)),
            mode: Mode::Hybrid,
            limit: 3,
            ..text("a dog")
        };
        assert_eq!(asked, expected);
        let sent = serde_json::to_string(&expected).unwrap();
        assert_eq!(serde_json::from_str::<SearchRequest>(&sent).unwrap(), expected);
        let error = |json: &str| serde_json::from_str::<SearchRequest>(json).unwrap_err().to_string();
        assert!(error(r#"{"txt": "a dog"}"#).contains("unknown field `txt`"));
        assert!(error(r#"{"after": "yesterday"}"#).contains("2026-05-01"));
        assert!(error(r#"{"like": "x"}"#).contains("no id of a moment"));
    }

    #[test]
    fn one_thing_is_looked_for() {
        assert!(text("a dog").check().is_ok());
        assert!(problem(text(" ")).contains("the query is empty"));
        assert!(problem(SearchRequest::default()).contains("nothing to look for"));
        assert!(problem(SearchRequest { like: Some(Uuid::nil()), ..text("a dog") }).contains("exclude each other"));
    }

    #[test]
    fn numbers_have_limits() {
        for limit in [0, 1001] {
            assert!(problem(SearchRequest { limit, ..text("a dog") }).contains("between 1 and 1000"));
        }
        assert!(problem(SearchRequest { min_confidence: f32::NAN, ..text("a dog") }).contains("between 0 and 1"));
        assert!(problem(SearchRequest { rerank: Some(0), ..text("a dog") }).contains("at least one window"));
    }

    #[test]
    fn several_texts_are_one_thing() {
        let texts = |texts: &[&str]| SearchRequest {
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..SearchRequest::default()
        };
        assert!(texts(&["a dog", "a hound"]).check().is_ok());
        assert!(problem(texts(&["a dog", " "])).contains("the query is empty"));
        assert!(problem(texts(&["x"; 33])).contains("at most 32 texts"));
        assert!(problem(SearchRequest { text: Some("a".into()), ..texts(&["b"]) }).contains("exclude each other"));
        assert!(problem(SearchRequest { mode: Mode::Text, ..texts(&["b"]) }).contains("give it a text"));
        assert!(problem(SearchRequest { diversity: 1.1, ..text("a") }).contains("diversity"));
    }

    #[test]
    fn beside_a_cursor_stands_nothing_but_a_limit() {
        let cursor = SearchRequest { cursor: Some("x.1".into()), limit: 5, ..SearchRequest::default() };
        assert!(cursor.check().is_ok());
        assert!(problem(SearchRequest { limit: 0, ..cursor.clone() }).contains("between 1 and 1000"));
        assert!(problem(SearchRequest { text: Some("a".into()), ..cursor }).contains("only limit"));
    }

    #[test]
    fn times_of_the_day() {
        let read = |text: &str| text.parse::<Between>().map(|Between(DayTime { from, to })| (from, to));
        assert_eq!(read("22:00-06:00"), Ok((1320, 360)));
        assert_eq!(read("0:05 - 24:00"), Ok((5, 1440)));
        for wrong in ["", "22-06", "22:00", "22:60-23:00", "24:00-06:00", "25:00-26:00", "10:00-10:00", "-1:00-2:00"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let sent = serde_json::to_string(&"22:00-06:00".parse::<Between>().unwrap()).unwrap();
        assert_eq!(sent, "\"22:00-06:00\"");
        let night = DayTime { from: 1320, to: 360 };
        assert_eq!([1319, 1320, 0, 359, 360].map(|minute| night.holds(minute)), [false, true, true, true, false]);
    }

    #[test]
    fn captions_need_words() {
        assert!(problem(SearchRequest { mode: Mode::Text, ..text("the") }).contains("no word to look for"));
        assert!(problem(SearchRequest { caption: Some("!".into()), ..text("a dog") }).contains("no word to look for"));
        let picture = SearchRequest { picture: Some(vec![1]), mode: Mode::Hybrid, ..SearchRequest::default() };
        assert!(problem(picture).contains("give it a text"));
        let not = SearchRequest { mode: Mode::Text, not: vec!["rain".into()], ..text("a dog") };
        assert!(problem(not).contains("use mode vector"));
    }

    #[test]
    fn times_with_and_without_zone() {
        let ms = |text: &str| text.parse::<WallTime>().map(|time| time.0);
        assert_eq!(ms("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(ms("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(ms("2026-05-02").unwrap() - ms("2026-05-01").unwrap(), 86_400_000);
        assert!(ms("yesterday").is_err());
    }
}
