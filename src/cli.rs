//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, Subcommand};
use serde_json::Value;
use tidegate_filters::Table;

use crate::config::{self, FilterCatalog, ProcessEnv};
use crate::doctor::{self, Demand};
use crate::kernel::Kernel;
use crate::listener::Tls;
use crate::observe::metrics::{self, BuildInfo, Metrics};
use crate::{app, demo_backends, healthcheck, snapshot};

const DEFAULT_CONFIG: &str = "/etc/tidegate/tidegate.yaml";

/// A programmable layer 7 load balancer.
#[derive(Parser)]
#[command(name = "tidegate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve. SIGHUP or a changed file reloads, SIGTERM drains and ends.
    Run(ConfigFile),
    /// Check a configuration: every problem on a line of its own; exit code 0 or 1.
    Check(ConfigFile),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print a page of the reference, as Markdown.
    Reference {
        /// Which page.
        #[arg(value_enum, default_value_t = Page::Configuration)]
        page: Page,
    },
    /// List the filters, each with its configuration keys.
    Filters,
    /// Ask an instance whether it is ready; exit code 0 or 1. For HEALTHCHECK in images without a shell.
    Healthcheck {
        /// What to ask.
        #[arg(long, env = "TIDEGATE_HEALTHCHECK_URL", default_value = healthcheck::DEFAULT_URL)]
        url: String,
    },
    /// Hold the kernel, the limits and the container against what a configuration asks of them. Exit code 0: nothing
    /// would break, though there may be warnings; 1: the configuration can't be used; 2: something would break.
    Doctor(Doctor),
    /// Run sample backends on loopback, and a control address to make each one slow, failing or dead.
    DemoBackends {
        /// An address for each backend.
        #[arg(long, required = true, num_args = 1..)]
        listen: Vec<SocketAddr>,
        /// Where the switch of each backend is.
        #[arg(long)]
        control: SocketAddr,
    },
}

/// A page of the reference that is made from the code.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Page {
    /// Every configuration key.
    Configuration,
    /// Every metric.
    Metrics,
}

#[derive(clap::Args)]
struct Doctor {
    /// The configuration file; without it, /etc/tidegate/tidegate.yaml if that is there, or else the defaults.
    #[arg(short, long, env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Look at the limits of this process, such as a running instance; default: at those of this command.
    #[arg(long)]
    pid: Option<u32>,
    /// The folder that holds proc and sys, such as the host's, mounted into a container.
    #[arg(long, default_value = "/")]
    root: PathBuf,
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(
        short,
        long,
        env = "TIDEGATE_CONFIG",
        default_value = DEFAULT_CONFIG
    )]
    config: PathBuf,
}

/// Parses the command line and does what it says, with these filters.
pub fn run(filters: Table) -> ExitCode {
    match Cli::parse().command {
        Command::Run(file) => app::run(file.config, filters),
        Command::Check(file) => check(&file.config, &filters),
        Command::Schema => print(&pretty(&config::schema(&FilterCatalog::of(&filters)))),
        Command::Reference { page } => print(&match page {
            Page::Configuration => config::reference(&FilterCatalog::of(&filters)),
            Page::Metrics => metrics::reference(),
        }),
        Command::Filters => print(&list(&filters)),
        Command::Healthcheck { url } => match healthcheck::run(&url) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Doctor(options) => examine(&options, &filters),
        Command::DemoBackends { listen, control } => demo(listen, control),
    }
}

/// The same code as start and reload, up to the point where sockets would be opened.
fn check(path: &std::path::Path, filters: &Table) -> ExitCode {
    let catalog = FilterCatalog::of(filters);
    let loaded = match config::load(path, &ProcessEnv, &catalog) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems),
    };
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let faults = faults(&loaded.config);
    if !faults.is_empty() {
        let lines = faults.iter();
        let lines: Vec<_> = lines
            .map(|fault| format!("{}: error: {fault}", path.display()))
            .collect();
        return fail(&lines.join("\n"));
    }
    let metrics = Arc::new(Metrics::new(BuildInfo::default()));
    let built = snapshot::build(loaded.config, None, filters, &metrics, Instant::now());
    let snapshot = match built {
        Ok(snapshot) => snapshot,
        Err(error) => return fail(&format!("{}: error: {error}", path.display())),
    };
    for (shadowed, by) in snapshot.shadowed_routes() {
        let path = path.display();
        eprintln!(
            "{path}: warning: route {shadowed:?} never matches: {by:?} takes all its requests"
        );
    }
    for crowd in snapshot.crowded_regexes() {
        eprintln!("{}: warning: {crowd}", path.display());
    }
    print(&format!("{}: ok\n", path.display()))
}

/// What files hold that the configuration names, where it is not what it has to be: all of it at once.
fn faults(config: &config::Config) -> Vec<String> {
    let mut faults: Vec<String> = snapshot::faults(config)
        .iter()
        .map(ToString::to_string)
        .collect();
    for (i, listener) in config.listeners.iter().enumerate() {
        let checked = listener.tls.as_ref().map_or(Ok(()), Tls::check);
        faults.extend(
            checked
                .err()
                .map(|error| format!("listeners[{i}].tls: {error}")),
        );
    }
    faults
}

fn examine(options: &Doctor, filters: &Table) -> ExitCode {
    let default = PathBuf::from(DEFAULT_CONFIG);
    let path = options.config.clone();
    let demand = match path.or_else(|| default.exists().then_some(default)) {
        None => Demand::of_defaults(config::cpus()),
        Some(path) => match config::load(&path, &ProcessEnv, &FilterCatalog::of(filters)) {
            Ok(loaded) => Demand::of(&path.display().to_string(), &loaded.config),
            Err(problems) => return fail(&problems),
        },
    };
    let report = doctor::examine(&Kernel::at(&options.root, options.pid), demand);
    let text = match options.json {
        true => pretty(&serde_json::to_value(&report).unwrap_or_default()),
        false => report.to_string(),
    };
    let printed = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(printed.map_or(1, |()| report.exit_code()))
}

fn list(filters: &Table) -> String {
    let mut text = String::new();
    for entry in filters.iter() {
        text.push_str(&format!("{:20} {}\n", entry.name, entry.about()));
        let schema = entry.schema();
        let keys = schema.get("properties").and_then(Value::as_object);
        for (key, schema) in keys.into_iter().flatten() {
            let told = schema.get("description").and_then(Value::as_str);
            let told = told.unwrap_or_default().replace('\n', " ");
            text.push_str(&format!("    {key}: {told}\n"));
        }
    }
    text
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(problem: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::from(app::EXIT_CONFIG)
}

fn demo(listen: Vec<SocketAddr>, control: SocketAddr) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime.and_then(|r| r.block_on(demo_backends::run(listen, control)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
