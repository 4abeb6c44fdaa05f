//! Where the socket of a data folder's daemon is.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const NAME: &str = "clipseek.sock";
/// Bytes of a socket's path, without the zero at its end (`sun_path` has 108).
const MOST: usize = 107;

/// In the data folder; where that path is too long for a socket, in `$XDG_RUNTIME_DIR` under a name made of the path.
pub fn path(data_dir: &Path) -> Result<PathBuf, String> {
    place(data_dir, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))
}

fn place(data_dir: &Path, runtime_dir: Option<PathBuf>) -> Result<PathBuf, String> {
    let fits = |path: &Path| path.as_os_str().len() <= MOST;
    let usual = data_dir.join(NAME);
    if fits(&usual) {
        return Ok(usual);
    }
    let too_long = |more: &str| {
        let length = usual.as_os_str().len();
        format!("{} is too long for a socket ({length} bytes, at most {MOST}), and {more}", usual.display())
    };
    let runtime_dir =
        runtime_dir.filter(|dir| dir.is_absolute()).ok_or_else(|| too_long("XDG_RUNTIME_DIR is not set"))?;
    let digest = Sha256::digest(data_dir.as_os_str().as_bytes());
    let short: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let other = runtime_dir.join(format!("clipseek-{short}.sock"));
    if fits(&other) { Ok(other) } else { Err(too_long("so is the path of XDG_RUNTIME_DIR")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_is_replaced() {
        let run = Some(PathBuf::from("/run/user/1000"));
        assert_eq!(place(Path::new("/data"), run.clone()).unwrap(), Path::new("/data/clipseek.sock"));
        let long = PathBuf::from(format!("/{}", "x".repeat(MOST - NAME.len() - 2)));
        assert_eq!(place(&long, run.clone()).unwrap(), long.join(NAME), "just short enough");
        let longer = PathBuf::from(format!("/{}", "x".repeat(MOST - NAME.len() - 1)));
        let other = place(&longer, run.clone()).unwrap();
        assert!(other.starts_with("/run/user/1000") && other != place(&longer.join("y"), run).unwrap());
        assert!(place(&longer, None).unwrap_err().contains("XDG_RUNTIME_DIR is not set"));
    }
}
