//! gRPC, by tonic.

use axum::Router;

use super::Shared;

/// The services as one router.
pub fn router(_shared: Shared) -> Router {
    Router::new()
}
