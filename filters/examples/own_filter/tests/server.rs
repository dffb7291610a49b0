//! The filter in the whole load balancer: the process, a listener, a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

const CONFIG: &str = r#"
version: 1
listeners: [{ name: public, listen: "127.0.0.1:0" }]
routes:
  - match: { path_prefix: / }
    respond: { body: "hello" }
    filters:
      - country: { header: cf-ipcountry, deny: [AQ] }
"#;

fn config(name: &str, text: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, text).unwrap();
    path
}

fn own_filter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_own-filter"));
    command.args(args);
    command
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process, and where it listens.
fn start(config: &str) -> (Running, String) {
    let mut command = own_filter(&["run", "-c", config]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let events = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    for line in events.lines() {
        let line = line.unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).expect(&line);
        if event["listener"] == "public" && event["state"] == "listening" {
            return (running, event["address"].as_str().unwrap().to_owned());
        }
    }
    panic!("it ended before it listened");
}

fn get(address: &str, country: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncf-ipcountry: {country}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn the_filter_serves() {
    let (_running, address) = start(&config("good.yaml", CONFIG));
    let refused = get(&address, "AQ");
    assert!(refused.starts_with("HTTP/1.1 451 "), "{refused}");
    let passed = get(&address, "NZ");
    assert!(
        passed.starts_with("HTTP/1.1 200 ") && passed.ends_with("hello"),
        "{passed}"
    );
}

#[test]
fn it_is_listed_and_its_config_is_checked() {
    let listed = own_filter(&["filters"]).output().unwrap();
    let text = said(&listed);
    assert!(
        text.contains("\ncountry              Refuses requests"),
        "{text}"
    );
    assert!(text.contains("\njwt "), "{text}");
    let wrong = config("wrong.yaml", &CONFIG.replace("[AQ]", "[Aq]"));
    let checked = own_filter(&["check", "-c", &wrong]).output().unwrap();
    assert_eq!(checked.status.code(), Some(1));
    let text = said(&checked);
    let problem = "wrong.yaml:8:49: error: routes[0].filters[0].country.deny[0]: write two upper-case letters";
    assert!(text.contains(problem), "{text}");
}
