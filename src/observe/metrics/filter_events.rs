//! What filters count themselves, summed over all places where a filter of that name stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::families::Families;

/// Different events of one filter that have series; further ones have none.
const MAX_EVENTS: usize = 64;

/// The filters of one loaded config.
pub trait FilterEvents: Send + Sync {
    /// Filter, event and count; one entry for each place where the filter stands.
    fn counts(&self) -> Vec<(&'static str, &'static str, u64)>;
}

type Sums = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// The filters in force, and what was counted by those that they have replaced.
#[derive(Default)]
pub(super) struct EventCounts {
    source: Option<Arc<dyn FilterEvents>>,
    gone: Sums,
}

impl EventCounts {
    /// From now on these filters count. A filter that has adopted the counts of the one before is not counted twice, and
    /// no sum goes down: that would look like a restart.
    pub fn follow(&mut self, source: Arc<dyn FilterEvents>) {
        let before = self.sums();
        let adopted = sums(&*source);
        self.source = Some(source);
        for (filter, events) in before {
            for (event, count) in events {
                let kept = adopted.get(filter).and_then(|events| events.get(event));
                let gone = count.saturating_sub(kept.copied().unwrap_or(0));
                self.gone.entry(filter).or_default().insert(event, gone);
            }
        }
    }

    /// Forgets filters that are not named here.
    pub fn retain(&mut self, filters: &BTreeSet<String>) {
        self.gone.retain(|filter, _| filters.contains(*filter));
    }

    fn sums(&self) -> Sums {
        let mut all = self.source.as_deref().map(sums).unwrap_or_default();
        for (filter, events) in &self.gone {
            for (event, count) in events {
                *all.entry(filter).or_default().entry(event).or_default() += count;
            }
        }
        all
    }

    pub fn collect(&self, out: &mut Families) {
        for (filter, events) in self.sums() {
            for (event, count) in events.into_iter().take(MAX_EVENTS) {
                out.counter(
                    "tidegate_filter_events_total",
                    "What filters count themselves.",
                    &[("filter", filter), ("event", event)],
                    count,
                );
            }
        }
    }
}

fn sums(source: &dyn FilterEvents) -> Sums {
    let mut sums = Sums::new();
    for (filter, event, count) in source.counts() {
        *sums.entry(filter).or_default().entry(event).or_default() += count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Fixed(Mutex<Vec<(&'static str, &'static str, u64)>>);

    impl FilterEvents for Fixed {
        fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
            self.0.lock().unwrap().clone()
        }
    }

    fn fixed(counts: &[(&'static str, &'static str, u64)]) -> Arc<Fixed> {
        Arc::new(Fixed(Mutex::new(counts.to_vec())))
    }

    #[test]
    fn sums_never_go_down_and_adopted_counts_count_once() {
        let mut events = EventCounts::default();
        let first = fixed(&[("jwt", "checked", 7), ("jwt", "checked", 3), ("a", "b", 5)]);
        events.follow(first);
        assert_eq!(events.sums()["jwt"]["checked"], 10);
        // One jwt has begun anew, the other has adopted its 3; `a` is gone.
        let second = fixed(&[("jwt", "checked", 0), ("jwt", "checked", 3)]);
        events.follow(second.clone());
        assert_eq!(events.sums()["jwt"]["checked"], 10);
        second.0.lock().unwrap()[0].2 = 4;
        assert_eq!(events.sums()["jwt"]["checked"], 14);
        assert_eq!(events.sums()["a"]["b"], 5);
        events.follow(fixed(&[("jwt", "checked", 0)]));
        assert_eq!(events.sums()["jwt"]["checked"], 14);
        events.retain(&BTreeSet::from(["jwt".to_owned()]));
        assert!(!events.sums().contains_key("a"));
    }
}
