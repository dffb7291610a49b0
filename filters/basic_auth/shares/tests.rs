use std::pin::Pin;

use futures_util::FutureExt;

use super::*;

fn client(n: u8) -> Client {
    Client(Some([192, 0, 2, n].into()), true)
}

type Asking = Pin<Box<dyn Future<Output = Option<Turn>>>>;

/// Asks for a turn; the future has been polled once.
fn ask(shares: &Arc<Shares>, n: u8) -> Result<Option<Turn>, Asking> {
    let shares = Arc::clone(shares);
    let mut asking: Asking = Box::pin(async move { shares.turn(client(n)).await });
    match (&mut asking).now_or_never() {
        Some(turn) => Ok(turn),
        None => Err(asking),
    }
}

fn got(asked: Result<Option<Turn>, Asking>) -> Turn {
    match asked {
        Ok(Some(turn)) => turn,
        Ok(None) => panic!("refused"),
        Err(_) => panic!("has to wait"),
    }
}

fn waits(asked: Result<Option<Turn>, Asking>) -> Asking {
    match asked {
        Err(asking) => asking,
        Ok(turn) => panic!("does not wait; got a turn: {}", turn.is_some()),
    }
}

fn guesses(shares: &Shares, n: u8, times: u32) {
    for _ in 0..times {
        shares.guessed_wrong(client(n), Instant::now());
    }
}

#[tokio::test]
async fn one_address_has_half_of_the_places() {
    let shares = Shares::new(4);
    let _both = [got(ask(&shares, 1)), got(ask(&shares, 1))];
    let _third = waits(ask(&shares, 1));
    let _others = [got(ask(&shares, 2)), got(ask(&shares, 3))];
    assert!(ask(&shares, 4).is_err(), "all four are taken");
    let single = Shares::new(1);
    drop(got(ask(&single, 1)));
    drop(got(ask(&single, 1)));
}

#[tokio::test]
async fn a_newcomer_comes_before_the_crowd_of_another_address() {
    let shares = Shares::new(2);
    let busy = [got(ask(&shares, 1)), got(ask(&shares, 2))];
    let mut crowd: Vec<_> = (0..10).map(|_| waits(ask(&shares, 1))).collect();
    let mut newcomer = waits(ask(&shares, 3));
    let [first, second] = busy;
    drop(second);
    let _turn = (&mut newcomer).now_or_never().flatten().expect("its turn");
    assert!((&mut crowd[0]).now_or_never().is_none());
    drop(first);
    assert!((&mut crowd[0]).now_or_never().flatten().is_some());
}

#[tokio::test]
async fn eight_guessers_do_not_lock_anybody_out() {
    let shares = Shares::new(4);
    for guesser in 1..=8 {
        guesses(&shares, guesser, GUESSES);
    }
    let mut hashing: Vec<_> = (1..=4).map(|n| got(ask(&shares, n))).collect();
    let mut waiting: Vec<_> = (0..8 * 8).map(|n| waits(ask(&shares, 1 + n % 8))).collect();
    let mut ann = waits(ask(&shares, 99));
    hashing.pop();
    assert!((&mut ann).now_or_never().flatten().is_some(), "at once");
    assert!(
        waiting
            .iter_mut()
            .any(|w| w.now_or_never().flatten().is_some())
    );
}

#[tokio::test]
async fn mistyping_is_no_guessing_and_guesses_are_forgiven() {
    let now = Instant::now();
    let shares = Shares::new(4);
    let guesser = |shares: &Shares, at| shares.lock().guesses(client(1), at);
    guesses(&shares, 1, GUESSES - 1);
    assert!(!guesser(&shares, now));
    guesses(&shares, 1, 1);
    assert!(guesser(&shares, Instant::now()));
    assert!(!guesser(&shares, Instant::now() + FORGIVEN_AFTER));
    shares.guessed_wrong(client(1), Instant::now() + FORGIVEN_AFTER * 2);
    assert!(!guesser(&shares, now + FORGIVEN_AFTER * 2), "counted anew");
}

#[tokio::test]
async fn nothing_grows_without_bound() {
    let shares = Shares::new(2);
    let _busy = [got(ask(&shares, 253)), got(ask(&shares, 252))];
    let mut waiting = Vec::new();
    for n in 0..=255 {
        for _ in 0..MAX_WAITING_EACH {
            waiting.push(waits(ask(&shares, n)));
        }
        assert!(
            ask(&shares, n).is_ok_and(|turn| turn.is_none()),
            "its own bound"
        );
        if shares.lock().waiting.len() == MAX_WAITING {
            break;
        }
    }
    // The queue is full: a newcomer takes the place of one who waits often.
    let _newcomer = waits(ask(&shares, 255));
    assert_eq!(shares.lock().waiting.len(), MAX_WAITING);
    let parted = |asking: &mut Asking| asking.now_or_never().is_some_and(|turn| turn.is_none());
    let gone = waiting.iter_mut().map(parted).filter(|gone| *gone);
    assert_eq!(gone.count(), 1);
    // Those who gave up count no more.
    waiting.clear();
    let _next = waits(ask(&shares, 254));
    assert_eq!(shares.lock().waiting.len(), 2);
    for n in 0..=MAX_COUNTED as u32 + 10 {
        let network = Client(Some(std::net::Ipv4Addr::from(n).into()), true);
        shares.guessed_wrong(network, Instant::now());
    }
    assert_eq!(shares.lock().wrong.len(), MAX_COUNTED);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let shares = Shares::new(1);
    let turn = got(ask(&shares, 1));
    let late = waits(ask(&shares, 2));
    assert!(late.await.is_none());
    drop(turn);
    drop(got(ask(&shares, 2)));
    assert!(shares.lock().hashing.is_empty());
}
