//! The query of an address as a value of the same type as a JSON body: unknown keys are refused, a key that stands
//! several times is a list.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Problem;

/// How the values of a key are read; other keys are texts.
pub(super) enum Kind {
    Number,
    Bool,
    List,
}

pub(super) fn read<T: DeserializeOwned>(query: Option<&str>, kinds: &[(&str, Kind)]) -> Result<T, Problem> {
    let mut object = Map::new();
    for (key, text) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let kind = kinds.iter().find(|(name, _)| *name == key).map(|(_, kind)| kind);
        let wrong = |expected: &str| Problem::bad_request(format!("{key}: {text:?} is not {expected}"));
        let value = match kind {
            None => Value::from(text.as_ref()),
            Some(Kind::List) => {
                let list = object.entry(key.as_ref()).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().into_iter().for_each(|list| list.push(Value::from(text.as_ref())));
                continue;
            }
            Some(Kind::Bool) => Value::from(text.parse::<bool>().map_err(|_| wrong("true or false"))?),
            Some(Kind::Number) => match serde_json::from_str::<Value>(&text) {
                Ok(number @ Value::Number(_)) => number,
                _ => return Err(wrong("a number")),
            },
        };
        if object.insert(key.clone().into_owned(), value).is_some() {
            return Err(Problem::bad_request(format!("{key} is there twice")));
        }
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| Problem::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Asked {
        text: String,
        limit: u16,
        not: Vec<String>,
        failed: bool,
    }

    fn read(query: &str) -> Result<Asked, String> {
        let kinds = [("limit", Kind::Number), ("not", Kind::List), ("failed", Kind::Bool)];
        super::read(Some(query), &kinds).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_query_is_read_like_a_body() {
        let asked = read("text=a+dog%20runs&limit=3&not=rain&not=snow&failed=true").unwrap();
        let not = vec!["rain".into(), "snow".into()];
        assert_eq!(asked, Asked { text: "a dog runs".into(), limit: 3, not, failed: true });
        assert_eq!(read("text=7").unwrap().text, "7");
        assert!(read("txt=a").unwrap_err().contains("unknown field `txt`"));
        assert!(read("limit=many").unwrap_err().contains("not a number"));
        assert!(read("text=a&text=b").unwrap_err().contains("twice"));
    }
}
