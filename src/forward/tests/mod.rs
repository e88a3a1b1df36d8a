//! Behaviour of the floor; the policy on paused time, the rest through sockets on loopback.

mod epoch;
mod flights;
mod loops;
mod policy;
mod rules;
mod sockets;
