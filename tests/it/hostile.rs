//! Clients that mean harm, against the server as a process of its own. Each test says what becomes of
//! them, that a well-behaved client is answered meanwhile, that the process stays small, and that the
//! connections are given back.

mod bodies;
mod crowds;
mod doors;
mod floods;
mod frames;
mod heads;
mod malformed;
mod server;
mod slow;
mod unread;
