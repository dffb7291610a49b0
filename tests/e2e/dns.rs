//! A real DNS server for the tests: dnsmasq on a free port, with names of our own under `.test`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, Command};

use crate::harness::{eventually, write};

/// A running dnsmasq. Answers are good for one second; a name under `.test` that it does not know does not exist.
pub struct Dns {
    pub address: SocketAddr,
    child: Option<Child>,
    dir: TempDir,
}

impl Dns {
    /// With these lines of a hosts file.
    pub async fn start(hosts: &str) -> Dns {
        Dns::start_with(hosts, &[]).await
    }

    /// And with further options, such as `--srv-host=...`.
    pub async fn start_with(hosts: &str, options: &[&str]) -> Dns {
        let dir = tempfile::tempdir().unwrap();
        let mut dns = Dns {
            address: free_port().await,
            child: None,
            dir,
        };
        write(&dns.hosts(), hosts);
        dns.revive(options).await;
        dns
    }

    fn hosts(&self) -> PathBuf {
        self.dir.path().join("hosts")
    }

    /// From now on it has these lines.
    pub fn set(&self, hosts: &str) {
        write(&self.hosts(), hosts);
        let pid = self.child.as_ref().unwrap().id().unwrap().to_string();
        let done = std::process::Command::new("kill")
            .args(["-s", "HUP", &pid])
            .status();
        assert!(done.unwrap().success());
    }

    /// Nobody answers any more.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// On the same port again.
    pub async fn revive(&mut self, options: &[&str]) {
        let user = |flag: &str| {
            let out = std::process::Command::new("id").arg(flag).output().unwrap();
            String::from_utf8(out.stdout).unwrap().trim().to_owned()
        };
        let has_ttl = options.iter().any(|one| one.starts_with("--local-ttl"));
        let ttl = (!has_ttl).then_some("--local-ttl=1");
        let child = Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null"])
            .args(["--no-resolv", "--no-hosts", "--pid-file="])
            .args(["--local=/test/", "--bind-interfaces"])
            .args(ttl)
            .arg(format!("--listen-address={}", self.address.ip()))
            .arg(format!("--port={}", self.address.port()))
            .arg(format!("--addn-hosts={}", self.hosts().display()))
            .arg(format!("--user={}", user("-un")))
            .arg(format!("--group={}", user("-gn")))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("dnsmasq is missing: run scripts/install test");
        self.child = Some(child);
        let address = self.address;
        eventually("dnsmasq listens", || async move {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
    }
}

/// Free for UDP and for TCP.
async fn free_port() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        if TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
}

/// Lines of a hosts file: each address is one of `name`.
pub fn named(name: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    let line = |address: SocketAddr| format!("{} {name}\n", address.ip());
    addresses.into_iter().map(line).collect()
}
