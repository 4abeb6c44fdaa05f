//! The web page: the files of `src/page`, which are part of the program.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use include_dir::{Dir, DirEntry, include_dir};
use sha2::{Digest, Sha256};

use super::error::Problem;

static FOLDER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/page");

struct File {
    bytes: &'static [u8],
    kind: &'static str,
    tag: String,
}

/// By path, without a slash before it.
static FILES: LazyLock<HashMap<&'static str, File>> = LazyLock::new(|| {
    let mut files = HashMap::new();
    let mut folders = vec![&FOLDER];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries() {
            match entry {
                DirEntry::Dir(folder) => folders.push(folder),
                DirEntry::File(file) => {
                    let Some(path) = file.path().to_str() else { continue };
                    let digest: String =
                        Sha256::digest(file.contents())[..12].iter().map(|byte| format!("{byte:02x}")).collect();
                    let tag = format!("\"{digest}\"");
                    files.insert(path, File { bytes: file.contents(), kind: kind(path), tag });
                }
            }
        }
    }
    files
});

/// Whatever no other address answers.
pub(super) async fn file(method: Method, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let path = uri.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = FILES.get(path) else {
        return Err(Problem::not_found("there is nothing at this address"));
    };
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed());
    }
    let tag = HeaderValue::from_str(&file.tag).map_err(|error| Problem::internal(error.to_string()))?;
    // Asked for again each time, and sent again only if the program is another one.
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|known| known.trim().trim_start_matches("W/") == file.tag)) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, file.kind)], file.bytes).into_response())
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "LICENSE" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What a browser may do with any answer: nothing but what the page itself needs, from this server alone.
const RULES: [(header::HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; \
             form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

pub(super) async fn with_rules(mut response: Response) -> Response {
    response.headers_mut().extend(RULES);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_in_the_program_and_asks_nobody_else() {
        let index = std::str::from_utf8(FILES["index.html"].bytes).unwrap();
        assert!(index.contains("<title>clipseek"), "{index}");
        for (path, file) in FILES.iter() {
            assert_ne!(file.kind, "application/octet-stream", "{path}: of a kind that browsers are not told");
        }
    }
}
