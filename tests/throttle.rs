//! Wrong passwords: who guesses costs little and gets nowhere, who has the right one goes on.

mod support;

#[path = "throttle/attack.rs"]
mod attack;
#[path = "throttle/decisions.rs"]
mod decisions;
#[path = "throttle/flood.rs"]
mod flood;
#[path = "throttle/log.rs"]
mod log;
#[path = "throttle/upstream.rs"]
mod upstream;
