//! The load generator's parts that are pure, from bytes to bytes and from counts to numbers. A bench
//! without a harness has no tests of its own.

#[path = "../../loadtests/generator/frames.rs"]
mod frames;
#[path = "../../loadtests/generator/hpack.rs"]
mod hpack;
#[path = "../../loadtests/generator/http1.rs"]
mod http1;
#[path = "../../loadtests/generator/http2.rs"]
mod http2;
#[path = "../../loadtests/generator/schedule.rs"]
mod schedule;
#[path = "../../loadtests/generator/tally.rs"]
mod tally;

mod frames_tests;
mod hpack_tests;
mod http1_tests;
mod http2_tests;
mod schedule_tests;
mod tally_tests;
