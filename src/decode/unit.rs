//! What the readers of containers of our own hand to the graph.

/// A coded frame, a part of one, or several.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Unit {
    pub(super) data: Vec<u8>,
    /// In nanoseconds, not below zero.
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
    pub(super) duration: Option<i64>,
    /// It needs others before it; where a parser follows, that finds it out itself.
    pub(super) delta: bool,
}
