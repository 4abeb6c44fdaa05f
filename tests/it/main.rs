//! The only integration binary, a file per subject; it drives the real parts.

mod decode;
