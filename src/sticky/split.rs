//! Sticky sessions inside a weighted split: one cookie for both levels, the pool and the backend.

use super::{Claim, Sticky, clamp};
use crate::pool::State;

/// The choice that the client belongs to, as an index; `None`: let the split choose. `choices` are the pools of the split
/// with their weights. The cookie comes before the weights, so a change of weight moves nobody. A pool of weight 0 drains:
/// it keeps the sessions it has, at most until their `ttl`, which nothing extends, and gives one up as soon as its backend
/// does not serve.
pub fn choose<'a>(
    claim: &Claim,
    choices: impl IntoIterator<Item = (&'a Sticky, u32)>,
    unix: u64,
) -> Option<usize> {
    let Claim::Ticket(ticket) = claim else {
        return None;
    };
    let keeps = |(sticky, weight): (&Sticky, u32)| {
        let balance = sticky.balance.load();
        match sticky.check(ticket, &balance, clamp(unix)) {
            Ok(_) if weight > 0 => true,
            Ok(seat) => balance.backend(seat).is_some_and(|backend| {
                let state = backend.state();
                state.in_rotation() || state == State::Draining
            }),
            Err(_) => false,
        }
    };
    choices.into_iter().position(keeps)
}
