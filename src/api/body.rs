//! Bodies: of requests, read up to a limit and within a time, and of responses.

use std::future::poll_fn;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use crate::error::{Code, Error};

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// All of it; `None` when there is none, or when it is sent.
    Whole(Option<Bytes>),
    /// One gRPC message, then its trailers.
    Message(Option<Bytes>, Option<HeaderMap>),
    /// Of a route for operators, or of a stream.
    Routed(axum::body::Body),
}

/// Memory that large bodies, of requests or of answers, may take together.
#[derive(Debug)]
pub struct Budget {
    /// The setting that limits it.
    key: &'static str,
    bytes_max: usize,
    used: AtomicUsize,
    refused: AtomicU64,
}

/// A body's part of a [`Budget`]. Given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Bodies up to this size are not charged: the number of connections and their streams bounds them.
const SMALL: usize = 4 << 10;
/// Packed bodies up to this size are unpacked on the serving thread.
const PACKED_SMALL: usize = 16 << 10;
/// Memory taken at once for a body that says it is this large or larger.
const RESERVED_MAX: usize = 1 << 20;
/// Bytes of an answer that a connection gets at a time, and of what is unpacked before it is charged.
const PIECE: usize = 64 << 10;

impl Budget {
    /// Room for this many bytes, by this setting.
    pub fn new(key: &'static str, bytes_max: usize) -> Budget {
        Budget {
            key,
            bytes_max,
            used: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bodies were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Charge {
    /// Nothing yet.
    pub fn new(budget: &Arc<Budget>) -> Charge {
        Charge {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Charges a body of `bytes` in all.
    ///
    /// # Errors
    /// [`Code::Overloaded`] when other bodies take the room.
    pub fn raise(&mut self, bytes: usize) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        if bytes <= SMALL || more == 0 {
            return Ok(());
        }
        // Counted first and given back by the drop: two bodies cannot both take the last room.
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if before.saturating_add(more) > self.budget.bytes_max {
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::overloaded(format!(
                "there is no room left of {}, {} bytes",
                self.budget.key, self.budget.bytes_max
            )));
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request's body and its room, for as long as any of its clones.
#[derive(Clone, Debug)]
pub struct Held {
    bytes: Bytes,
    _charge: Option<Arc<Charge>>,
}

impl Held {
    /// A body with what it was charged.
    pub fn new(bytes: Bytes, charge: Charge) -> Held {
        Held {
            bytes,
            _charge: (charge.bytes > 0).then(|| Arc::new(charge)),
        }
    }
}

impl std::ops::Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Unpacks gzip, up to `limit` bytes. What comes out is charged piece by piece.
///
/// # Errors
/// [`Code::InvalidArgument`] when it is not whole, [`Code::TooLarge`], [`Code::Overloaded`] without
/// room.
pub fn gunzip(bytes: &[u8], limit: usize, charge: &mut Charge) -> Result<Bytes, Error> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(limit as u64 + 1);
    loop {
        let mut piece = decoder.by_ref().take(PIECE as u64);
        let read = piece
            .read_to_end(&mut out)
            .map_err(|_| Error::invalid("the body is not whole gzip data"))?;
        if out.len() > limit {
            return Err(too_large(limit));
        }
        if read == 0 {
            return Ok(out.into());
        }
        charge.raise(out.len())?;
    }
}

/// Unpacks a small body on the spot, if little comes out; `None` for all that is to be unpacked aside,
/// broken ones among them.
///
/// # Errors
/// [`Code::Overloaded`] without room.
pub fn gunzip_small(
    bytes: &[u8],
    limit: usize,
    charge: &mut Charge,
) -> Result<Option<Bytes>, Error> {
    if bytes.len() > PACKED_SMALL {
        return Ok(None);
    }
    match gunzip(bytes, limit.min(super::LARGE), charge) {
        Ok(out) => Ok(Some(out)),
        Err(error) if error.code == Code::Overloaded => Err(error),
        Err(_) => Ok(None),
    }
}

/// Reads a whole body. `charge` holds its room for as long as the caller keeps it.
///
/// # Errors
/// [`Code::TooLarge`] above `limit` bytes, [`Code::DeadlineExceeded`] after `deadline`,
/// [`Code::Draining`] when the server `leaves`, [`Code::Overloaded`] without room,
/// [`Code::InvalidArgument`] when the client stops sending.
pub async fn read<B>(
    body: B,
    limit: usize,
    deadline: Option<Instant>,
    leaves: impl Future<Output = ()>,
    charge: &mut Charge,
) -> Result<Bytes, Error>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let mut collecting = pin!(collect(body, limit, charge));
    // Most bodies came together with their head: no timer for them.
    let first = poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await;
    if let Poll::Ready(read) = first {
        return read;
    }
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        read = collecting => read,
        () = late => Err(Error::new(
            Code::DeadlineExceeded,
            "the body did not arrive within server.request_timeout_ms",
        )),
        () = leaves => Err(Error::new(
            Code::Draining,
            "the server is shutting down, and the body did not arrive",
        )),
    }
}

async fn collect<B>(mut body: B, limit: usize, charge: &mut Charge) -> Result<Bytes, Error>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large(limit));
    }
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_ended| Error::invalid("the body ended early"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let so_far = first.len() + rest.len() + data.len();
        if so_far > limit {
            return Err(too_large(limit));
        }
        charge.raise(so_far)?;
        if so_far == data.len() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            // No more than this on a client's word alone.
            rest.reserve((announced as usize).clamp(so_far, RESERVED_MAX.max(so_far)));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    if rest.is_empty() {
        return Ok(first);
    }
    Ok(rest.into())
}

/// The same answer with its body as a whole: of a route that does not stream.
///
/// # Errors
/// [`Code::Internal`] when the body fails.
pub async fn whole(response: Response<axum::body::Body>) -> Result<Response<Body>, Error> {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await;
    let collected = collected.map_err(|_| Error::internal("the answer broke off"))?;
    let trailers = collected.trailers().cloned();
    let bytes = Some(collected.to_bytes()).filter(|bytes| !bytes.is_empty());
    let body = match trailers {
        Some(_) => Body::Message(bytes, trailers),
        None => Body::Whole(bytes),
    };
    Ok(Response::from_parts(parts, body))
}

/// Takes all, or of many bytes the first: a connection then buffers no more than it has room for.
fn piece(bytes: &mut Option<Bytes>) -> Option<Bytes> {
    match bytes {
        Some(rest) if rest.len() > PIECE => Some(rest.split_to(PIECE)),
        _ => bytes.take(),
    }
}

/// The error for a body above the limit.
pub fn too_large(limit: usize) -> Error {
    Error::new(
        Code::TooLarge,
        format!("the body is larger than server.body_bytes_max, {limit} bytes"),
    )
}

impl From<axum::body::Body> for Body {
    fn from(body: axum::body::Body) -> Body {
        Body::Routed(body)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match self.get_mut() {
            Body::Routed(body) => return Pin::new(body).poll_frame(context),
            Body::Whole(bytes) => piece(bytes).map(Frame::data),
            Body::Message(bytes, trailers) => match piece(bytes) {
                Some(bytes) => Some(Frame::data(bytes)),
                None => trailers.take().map(Frame::trailers),
            },
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Routed(body) => body.is_end_stream(),
            Body::Whole(bytes) => bytes.is_none(),
            Body::Message(bytes, trailers) => bytes.is_none() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Routed(body) => body.size_hint(),
            Body::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            // Without it no content-length is sent, which gRPC does not use.
            Body::Message(..) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Frames, one after the other; then it ends, fails, or never ends.
    struct Frames(VecDeque<&'static [u8]>, End);

    #[derive(Clone, Copy, PartialEq)]
    enum End {
        Ended,
        Broken,
        Open,
    }

    impl hyper::body::Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            match (self.0.pop_front(), self.1) {
                (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
                (None, End::Ended) => Poll::Ready(None),
                (None, End::Broken) => Poll::Ready(Some(Err("reset"))),
                (None, End::Open) => Poll::Pending,
            }
        }
    }

    async fn reading(frames: &[&'static [u8]], end: End, room: usize) -> Result<Bytes, Code> {
        let budget = Arc::new(Budget::new("server.bodies_bytes_max", room));
        let mut charge = Charge::new(&budget);
        let body = Frames(frames.iter().copied().collect(), end);
        let deadline = Instant::now() + std::time::Duration::from_secs(1);
        let leaves = std::future::pending();
        let read = read(body, 200_000, Some(deadline), leaves, &mut charge).await;
        drop(charge);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        read.map_err(|error| error.code)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_its_frames_in_order_or_an_error() {
        static LARGE: [u8; 150_000] = [7; 150_000];
        let room = 1 << 20;
        let parts: [&[u8]; 3] = [b"ab", b"", b"c"];
        assert_eq!(reading(&parts, End::Ended, room).await.unwrap(), "abc");
        assert_eq!(reading(&[], End::Ended, room).await.unwrap(), "");
        let read = reading(&[&LARGE, b"x"], End::Ended, room).await.unwrap();
        assert_eq!((read.len(), read[150_000]), (150_001, b'x'));
        for (frames, end, room, code) in [
            (
                &[b"ab" as &[u8]][..],
                End::Broken,
                room,
                Code::InvalidArgument,
            ),
            (&[b"ab"], End::Open, room, Code::DeadlineExceeded),
            (&[&LARGE, &LARGE], End::Ended, room, Code::TooLarge),
            (&[&LARGE], End::Ended, 100_000, Code::Overloaded),
        ] {
            assert_eq!(reading(frames, end, room).await, Err(code));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_given_up_when_the_server_leaves() {
        let budget = Arc::new(Budget::new("server.bodies_bytes_max", 100));
        let mut charge = Charge::new(&budget);
        let mut read = async |end| {
            let body = Frames([b"ab" as &[u8]].into(), end);
            read(body, 100, None, std::future::ready(()), &mut charge).await
        };
        assert_eq!(read(End::Ended).await.unwrap(), "ab");
        assert_eq!(read(End::Open).await.unwrap_err().code, Code::Draining);
    }

    #[test]
    fn what_comes_out_of_gzip_is_charged_before_all_of_it_is_there() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        std::io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        let unpacked = |packed: &[u8], room| {
            let budget = Arc::new(Budget::new("server.bodies_bytes_max", room));
            let mut charge = Charge::new(&budget);
            let out = gunzip(packed, 2 << 20, &mut charge).map(|out| out.len());
            let charged = budget.used();
            drop(charge);
            assert_eq!(budget.used(), 0);
            (out.map_err(|error| error.code), charged)
        };
        assert_eq!(unpacked(&packed, 1 << 20), (Ok(1 << 20), 1 << 20));
        // There is no room long before the end, which is missing.
        let cut = &packed[..packed.len() - 1];
        let (out, charged) = unpacked(cut, 100_000);
        assert_eq!((out, charged), (Err(Code::Overloaded), 2 * PIECE));
        assert_eq!(unpacked(cut, 2 << 20).0, Err(Code::InvalidArgument));
    }

    #[tokio::test]
    async fn an_answer_comes_in_pieces_of_which_none_is_lost() {
        let all: Vec<u8> = (0..2 * PIECE + 1).map(|index| index as u8).collect();
        let trailers = HeaderMap::new();
        let mut body = Body::Message(Some(all.clone().into()), Some(trailers));
        let mut got = Vec::new();
        for length in [PIECE, PIECE, 1] {
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data.len(), length);
            got.extend_from_slice(&data);
        }
        assert_eq!(got, all);
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        assert!(body.frame().await.is_none());
    }
}
