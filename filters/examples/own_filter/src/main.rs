//! Tidegate with one more filter: everything else is as in the stock binary.

mod country;

use std::process::ExitCode;

use tidegate_filters::entry;

fn main() -> ExitCode {
    let filters = tidegate_filters::table().with(entry::<country::Country>());
    start(filters)
}

#[cfg(feature = "server")]
fn start(filters: tidegate_filters::Table) -> ExitCode {
    tidegate::run(filters)
}

/// Without the server: what `tidegate filters` would list.
#[cfg(not(feature = "server"))]
fn start(filters: tidegate_filters::Table) -> ExitCode {
    for entry in filters.iter() {
        println!("{:18} {}", entry.name, entry.about());
    }
    ExitCode::SUCCESS
}
