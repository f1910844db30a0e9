//! What the targets do: with a model's file ([`models`]), and with a request ([`requests`]).

pub mod models;
pub mod requests;
