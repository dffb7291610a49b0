use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use http::HeaderValue;
use http::header::{HeaderName, WARNING};

use super::*;
use crate::filter::{Build, BuildError, entry};
use crate::testing::{Call, Route};
use serde_json::json;

/// Writes its letter wherever it comes by; answers or panics where told to.
#[derive(Clone, Default)]
struct Letter {
    letter: &'static str,
    trail: Arc<Mutex<String>>,
    answers: Spot,
    panics: Spot,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum Spot {
    #[default]
    Nowhere,
    Request,
    Response,
    Pool,
    Finished,
    Body,
}

impl Letter {
    fn at(&self, phase: &str, here: Spot) -> Verdict {
        self.trail
            .lock()
            .unwrap()
            .push_str(&format!("{}{phase} ", self.letter));
        assert!(self.panics != here, "as the test wants it");
        if self.answers == here {
            return Response::new(StatusCode::IM_A_TEAPOT)
                .text(self.letter)
                .into();
        }
        Verdict::Continue
    }
}

#[async_trait]
impl Filter for Letter {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE | Hooks::RESPONSE_BODY | Hooks::POOL | Hooks::FINISHED
    }
    async fn on_request(&self, _: &mut Exchange) -> Verdict {
        self.at("down", Spot::Request)
    }
    async fn on_pool(&self, _: &mut Exchange, _: &mut PoolChoice) {
        let _ = self.at("pool", Spot::Pool);
    }
    async fn on_response(&self, _: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        head.headers
            .append(WARNING, HeaderValue::from_static(self.letter));
        self.at("up", Spot::Response)
    }
    fn on_response_body(&self, _: &mut Exchange, chunk: &mut Option<Bytes>, _: bool) {
        assert!(self.panics != Spot::Body, "as the test wants it");
        if let Some(chunk) = chunk {
            *chunk = [chunk, self.letter.as_bytes()].concat().into();
        }
    }
    fn on_finished(&self, _: &mut Exchange, _: &Finished) {
        let _ = self.at("end", Spot::Finished);
    }
}

/// Counts calls and panics.
#[derive(Default)]
struct Counting {
    asked: Mutex<Vec<(&'static str, Phase)>>,
    calls: Arc<(AtomicUsize, AtomicUsize)>,
}

struct CountingMeter(Arc<(AtomicUsize, AtomicUsize)>);

impl Observer for Counting {
    fn meter(&self, filter: &'static str, phase: Phase) -> Arc<dyn Meter> {
        self.asked.lock().unwrap().push((filter, phase));
        Arc::new(CountingMeter(Arc::clone(&self.calls)))
    }
}

impl Meter for CountingMeter {
    fn took(&self, _: Duration) {
        self.0.0.fetch_add(1, Relaxed);
    }
    fn panicked(&self) {
        self.0.1.fetch_add(1, Relaxed);
    }
}

/// Chain of a, b and c; `change` sets what they do.
fn abc(change: impl Fn(&mut Letter)) -> (Chain, Arc<Mutex<String>>, Counting) {
    let trail = Arc::new(Mutex::new(String::new()));
    let counting = Counting::default();
    let filters = ["a", "b", "c"].map(|letter| {
        let mut filter = Letter {
            letter,
            trail: Arc::clone(&trail),
            ..Letter::default()
        };
        change(&mut filter);
        (letter, Box::new(filter) as Box<dyn Filter>)
    });
    (Chain::new(filters.into(), None, &counting), trail, counting)
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

#[test]
fn down_in_order_and_up_in_reverse() {
    let (chain, trail, counting) = abc(|_| ());
    let mut exchange = Call::get("/").exchange();
    assert!(now(chain.request(&mut exchange)).is_none());
    let mut head = Response::new(StatusCode::OK).head;
    assert!(now(chain.response(&mut exchange, &mut head)).is_none());
    let mut chunk = Some(Bytes::from("-"));
    chain
        .response_body(&mut exchange, &mut chunk, true)
        .unwrap();
    chain.finished(&mut exchange, &Finished::default());
    assert_eq!(
        *trail.lock().unwrap(),
        "adown bdown cdown cup bup aup cend bend aend "
    );
    assert_eq!(chunk.unwrap(), "-cba");
    assert_eq!(counting.calls.0.load(Relaxed), 12);
}

#[test]
fn a_response_goes_up_through_the_filters_before_it_only() {
    let (chain, trail, _) = abc(|f| {
        if f.letter == "b" {
            f.answers = Spot::Request;
        }
    });
    let mut exchange = Call::get("/").exchange();
    let response = now(chain.request(&mut exchange)).unwrap();
    assert_eq!(*trail.lock().unwrap(), "adown bdown aup ");
    assert_eq!(text(&response), "ba");
    assert_eq!(response.headers()["content-length"], "2");
}

#[test]
fn a_response_put_in_place_of_the_backends_goes_on_up() {
    let (chain, trail, _) = abc(|f| {
        if f.letter == "b" {
            f.answers = Spot::Response;
        }
    });
    let mut exchange = Call::get("/").exchange();
    let mut head = Response::new(StatusCode::OK).head;
    let response = now(chain.response(&mut exchange, &mut head)).unwrap();
    assert_eq!(*trail.lock().unwrap(), "cup bup aup ");
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.headers()[WARNING], "a");
}

#[test]
fn replies_of_the_core_go_up_through_all() {
    let (chain, _, _) = abc(|_| ());
    let mut exchange = Call::get("/").exchange();
    let reply = Response::new(StatusCode::BAD_GATEWAY).text("!");
    assert_eq!(text(&now(chain.reply(&mut exchange, reply))), "!cba");
}

#[test]
fn a_panic_costs_one_request() {
    for phase in [Spot::Request, Spot::Pool, Spot::Response] {
        let (chain, _, counting) = abc(|f| {
            if f.letter == "c" {
                f.panics = phase;
            }
        });
        let mut exchange = Call::get("/").exchange();
        let exchange = &mut exchange;
        let mut choice = PoolChoice {
            pool: "web".into(),
            hash_key: None,
        };
        let mut head = Response::new(StatusCode::OK).head;
        let response = match phase {
            Spot::Request => now(chain.request(exchange)),
            Spot::Pool => now(chain.pool(exchange, &mut choice)),
            _ => now(chain.response(exchange, &mut head)),
        };
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            text(&response).ends_with("ba"),
            "the filters before it still see the 500"
        );
        assert_eq!(counting.calls.1.load(Relaxed), 1);
    }
}

#[test]
fn a_panic_in_a_body_breaks_it_off_and_one_at_the_end_stays_there() {
    let (chain, _, _) = abc(|f| {
        if f.letter == "b" {
            f.panics = Spot::Body;
        }
    });
    let mut exchange = Call::get("/").exchange();
    let broken = chain.response_body(&mut exchange, &mut Some(Bytes::from("x")), false);
    assert_eq!(broken, Err(BrokenBody { filter: "b" }));
    let (chain, _, counting) = abc(|f| f.panics = Spot::Finished);
    chain.finished(&mut exchange, &Finished::default());
    assert_eq!(counting.calls.1.load(Relaxed), 3);
}

#[test]
fn meters_are_made_only_for_hooks_that_exist() {
    let (_, _, counting) = abc(|_| ());
    let asked = counting.asked.lock().unwrap();
    assert_eq!(asked.len(), 15);
    assert!(asked.iter().all(|(_, phase)| *phase != Phase::RequestBody));
}

#[test]
fn an_empty_chain_does_nothing() {
    let chain = Chain::default();
    let mut exchange = Call::get("/").exchange();
    assert!(chain.is_empty() && !chain.has(Hooks::all()));
    assert!(now(chain.request(&mut exchange)).is_none());
    assert!(chain.response_body(&mut exchange, &mut None, true).is_ok());
}

/// Keeps a number over reloads.
struct Kept(u32);

#[async_trait]
impl Filter for Kept {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE
    }
    async fn on_response(&self, _: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        head.headers
            .append(HeaderName::from_static("x-kept"), self.0.into());
        Verdict::Continue
    }
    fn adopt(&mut self, previous: &dyn Any) {
        if let Some(previous) = previous.downcast_ref::<Kept>() {
            self.0 = previous.0;
        }
    }
}

impl Build for Kept {
    const NAME: &'static str = "kept";
    type Config = u32;
    fn build(number: u32) -> Result<Kept, BuildError> {
        Ok(Kept(number))
    }
}

#[test]
fn a_reload_hands_over_name_by_name_and_in_order() {
    let kept = |n: u32| (entry::<Kept>(), json!(n));
    let before = Route::chain(&[kept(1), kept(2)]);
    let after = before.reloaded(&[kept(7), kept(8), kept(9)]);
    let seen = after.send(Call::get("/"));
    let values: Vec<_> = seen.response.headers.get_all("x-kept").iter().collect();
    assert_eq!(values, ["9", "2", "1"]);
}

/// Has a hook that it does not name.
struct Forgetful;

#[async_trait]
impl Filter for Forgetful {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }
    async fn on_request(&self, _: &mut Exchange) -> Verdict {
        Verdict::Continue
    }
    fn on_response_body(&self, _: &mut Exchange, _: &mut Option<Bytes>, _: bool) {}
}

#[test]
#[should_panic(expected = "does not name Hooks::RESPONSE_BODY")]
fn the_kit_finds_a_hook_that_was_forgotten() {
    crate::testing::check_hooks("forgetful", &Forgetful);
}
