//! `overload`: the order of the steps.

use super::Checker;
use crate::config::model::{self, OverloadSteps};
use crate::config::path::Path;
use crate::config::raw::{self, text};

impl Checker<'_> {
    pub(super) fn overload(&mut self, raw: &raw::Overload) -> model::Overload {
        let path = Path::ROOT.key("overload");
        let percent = |percent: &u32| format!("{percent}");
        model::Overload {
            descriptors: self.shares(&raw.descriptors, percent, &path.key("descriptors")),
            memory: self.shares(&raw.memory, percent, &path.key("memory")),
            lag: self.delays(&raw.lag, &path.key("lag")),
            hold: raw.hold.0,
        }
    }

    fn shares(
        &mut self,
        raw: &raw::OverloadShares,
        show: impl Fn(&u32) -> String,
        path: &Path<'_>,
    ) -> OverloadSteps {
        self.ascending([raw.cut_keep_alive, raw.shed, raw.pause_accept], show, path);
        OverloadSteps {
            cut_keep_alive: f64::from(raw.cut_keep_alive) / 100.0,
            shed: f64::from(raw.shed) / 100.0,
            pause_accept: f64::from(raw.pause_accept) / 100.0,
        }
    }

    fn delays(&mut self, raw: &raw::OverloadDelays, path: &Path<'_>) -> OverloadSteps {
        let steps = [raw.cut_keep_alive.0, raw.shed.0, raw.pause_accept.0];
        self.ascending(steps, text::show_duration, path);
        OverloadSteps {
            cut_keep_alive: raw.cut_keep_alive.0.as_secs_f64(),
            shed: raw.shed.0.as_secs_f64(),
            pause_accept: raw.pause_accept.0.as_secs_f64(),
        }
    }

    fn ascending<T: PartialOrd>(
        &mut self,
        [first, second, third]: [T; 3],
        show: impl Fn(&T) -> String,
        path: &Path<'_>,
    ) {
        let clear = |keys: [&str; 2]| !self.unclear(path, &keys);
        let (key, below, named) = if second < first && clear(["shed", "cut_keep_alive"]) {
            ("shed", first, "cut_keep_alive")
        } else if third < second && clear(["pause_accept", "shed"]) {
            ("pause_accept", second, "shed")
        } else {
            return;
        };
        let message = format!("comes before {named:?}, which is {}", show(&below));
        self.error(&path.key(key), message);
    }
}
