//! What is seen from outside: the access log, the event log and the metrics. Reads what others found out, decides nothing.

pub mod access_log;
pub mod event_log;
pub mod filter_meter;
pub mod metrics;
pub mod pool_events;
pub mod writer;

mod json;
mod timestamp;
