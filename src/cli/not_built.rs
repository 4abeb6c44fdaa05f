//! Stands in for commands that this build leaves out: accepts any arguments and says which feature is needed.

use std::ffi::OsString;

use anyhow::bail;
use clap::Args;

use super::End;

#[derive(Args)]
pub(super) struct NotBuilt {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    ignored: Vec<OsString>,
}

impl NotBuilt {
    pub(super) fn run(self, command: &str, feature: &str) -> anyhow::Result<End> {
        bail!("{command}: this clipseek was built without the feature \"{feature}\": build it with that feature");
    }
}
