//! HTTP, by axum.

use axum::Router;

use super::{Listener, Shared};

/// The routes of a listener.
pub fn router(_shared: Shared, _listener: Listener) -> Router {
    Router::new()
}
