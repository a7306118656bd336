//! A body whose frames are looked at as they pass.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// What asking a body for its next frame gives.
pub type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

struct Tapped<F> {
    body: Body,
    tap: F,
}

/// The same body, with `tap` between it and its reader until the reader drops it.
pub fn tapped(
    body: Body,
    tap: impl FnMut(&mut Context<'_>, Polled) -> Polled + Send + Unpin + 'static,
) -> Body {
    Body::new(Tapped { body, tap })
}

impl<F: FnMut(&mut Context<'_>, Polled) -> Polled + Unpin> HttpBody for Tapped<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        (self.tap)(cx, polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
