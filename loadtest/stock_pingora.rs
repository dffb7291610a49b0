//! Pingora as it comes, for comparison: round robin over the origins, `X-Forwarded-For`, one thread. HTTP/1.1 in clear
//! text, or with `TLS_CERT` and `TLS_KEY` set, TLS with HTTP/1.1 and HTTP/2. `stock_pingora LISTEN ORIGIN ...`
// A program for load tests: one that can not start should say where and end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

struct Stock {
    origins: Vec<String>,
    next: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Stock {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let n = self.next.fetch_add(1, Ordering::Relaxed) % self.origins.len();
        Ok(Box::new(HttpPeer::new(
            &self.origins[n],
            false,
            String::new(),
        )))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        let client = session
            .client_addr()
            .and_then(|a| a.as_inet())
            .map(|a| a.ip());
        let client = client.map(|ip| ip.to_string()).unwrap_or_default();
        request.insert_header("X-Forwarded-For", client)
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let listen = args.next().expect("LISTEN ORIGIN ORIGIN");
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let stock = Stock {
        origins: args.collect(),
        next: AtomicUsize::new(0),
    };
    let mut proxy = http_proxy_service(&server.configuration, stock);
    match (std::env::var("TLS_CERT"), std::env::var("TLS_KEY")) {
        (Ok(cert), Ok(key)) => {
            let mut tls = TlsSettings::intermediate(&cert, &key).unwrap();
            tls.enable_h2();
            proxy.add_tls_with_settings(&listen, None, tls);
        }
        _ => proxy.add_tcp(&listen),
    }
    server.add_service(proxy);
    server.run_forever();
}
