//! Formats values for people.

use std::path::Path;
use std::time::Duration;

/// `1:02:03.4`, `2:03.4`
pub(super) fn clock(time: Duration) -> String {
    let tenths = (time.as_secs_f64() * 10.0).round() as u64;
    let (seconds, tenths) = (tenths / 10, tenths % 10);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}.{tenths}")
    } else {
        format!("{minutes}:{seconds:02}.{tenths}")
    }
}

/// `3 h 20 min`, `12 min 5 s`, `7.5 s`
pub(super) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 3600.. => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        seconds @ 60.. => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1 file`, `2 files`
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A path on one line: control characters are escaped, and it is relative if below the current folder.
pub(super) fn path(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    short.to_string_lossy().chars().flat_map(escape).collect()
}

/// A text on one line, cut to at most `width` characters.
pub(super) fn line(text: &str, width: usize) -> String {
    let line: Vec<char> = text.trim().chars().flat_map(escape).collect();
    if line.len() <= width {
        return line.into_iter().collect();
    }
    let kept: String = line[..width.saturating_sub(1)].iter().collect();
    kept.trim_end().to_owned() + "…"
}

fn escape(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

/// A path quoted for a shell.
pub(super) fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    if text.chars().any(char::is_control) {
        return format!(
            "$'{}'",
            text.replace('\\', "\\\\").replace('\'', "\\'").chars().flat_map(escape).collect::<String>()
        );
    }
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A table with aligned columns; the last column is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(head.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(clock(Duration::from_millis(3_723_440)), "1:02:03.4");
        assert_eq!(clock(Duration::from_millis(59_960)), "1:00.0");
        assert_eq!(span(Duration::from_secs(12_000)), "3 h 20 min");
        assert_eq!(span(Duration::from_millis(7500)), "7.5 s");
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }

    #[test]
    fn shells_take_any_name() {
        assert_eq!(shell(Path::new("/v/a.mp4")), "/v/a.mp4");
        assert_eq!(shell(Path::new("/v/it's.mp4")), r"'/v/it'\''s.mp4'");
        assert_eq!(shell(Path::new("/v/a\nb.mp4")), r"$'/v/a\nb.mp4'");
        assert_eq!(path(Path::new("/v/a\nb.mp4")), r"/v/a\nb.mp4");
    }

    #[test]
    fn long_texts_end_in_dots() {
        assert_eq!(line(" a dog\nruns ", 20), "a dog\\nruns");
        assert_eq!(line("a dog runs", 10), "a dog runs");
        assert_eq!(line("a dog runs", 7), "a dog…");
    }

    #[test]
    fn tables_line_up() {
        let rows = vec![vec!["1".into(), "long name".into(), "x".into()], vec!["12".into(), "b".into(), "y".into()]];
        assert_eq!(table(&["#", "name", "end"], &rows), "#   name       end\n1   long name  x\n12  b          y\n");
    }
}
