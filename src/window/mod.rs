//! Which frames one vector stands for. Pure: no clock, no I/O; time comes only from the frames.
use std::time::Duration;

/// The span one vector stands for, with what lies in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window<T> {
    pub start: Duration,
    pub end: Duration,
    pub items: Vec<T>,
}
