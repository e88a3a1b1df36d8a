//! Behaviour of the floor; policies and probes on paused time, the rest through sockets on loopback.

mod epoch;
mod flights;
mod loop_search;
mod loops;
mod policy;
mod probes;
mod race;
mod rules;
mod script;
mod sockets;
mod target;
mod verdicts;
