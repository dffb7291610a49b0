//! The `tidegate` command with the filters that come with it. A product with filters of its own is this file with
//! another table.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::run(tidegate_filters::table())
}
