//! Which config is in force and how reloads went.

use super::families::Families;

#[derive(Debug, Default)]
pub struct ConfigMetrics {
    hash: String,
    last_load_unix_seconds: u64,
    last_successful: bool,
    loads: u64,
    refusals: u64,
}

impl ConfigMetrics {
    pub fn loaded(&mut self, hash: &str, unix_seconds: u64) {
        hash.clone_into(&mut self.hash);
        self.last_load_unix_seconds = unix_seconds;
        self.last_successful = true;
        self.loads += 1;
    }

    pub fn refused(&mut self) {
        self.last_successful = false;
        self.refusals += 1;
    }

    pub fn collect(&self, out: &mut Families) {
        let successful = f64::from(self.last_successful);
        let help = "1 if the last config that was read is in force, 0 if it was refused.";
        out.gauge(
            "tidegate_config_last_reload_successful",
            help,
            &[],
            successful,
        );
        let help = "When the config in force was loaded, in seconds since 1970.";
        let at = self.last_load_unix_seconds as f64;
        out.gauge(
            "tidegate_config_last_reload_timestamp_seconds",
            help,
            &[],
            at,
        );
        let labels = [("hash", self.hash.as_str())];
        out.gauge(
            "tidegate_config_hash_info",
            "Always 1; tells configs apart.",
            &labels,
            1.0,
        );
        for (result, count) in [("ok", self.loads), ("refused", self.refusals)] {
            let help = "Configs read, the one at the start too.";
            out.counter(
                "tidegate_config_reloads_total",
                help,
                &[("result", result)],
                count,
            );
        }
    }
}
