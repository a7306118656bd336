//! Waits for a condition; a failure shows the end of a console.

/// Looks at a condition until it holds; fails the test when it does not within the limit (scaled by `PATIENCE`).
///
/// `eventually!("the server is listed", limit, console, async { Ok::<Option<T>, E>(…) })`: the block gives
/// `Ok(Some(value))` when the condition holds, `Ok(None)` or `Err` when it does not yet. The value of the whole is
/// `Result<T, Impatient>`. `console` is an `Option<&Console>` whose last lines go into the failure.
#[macro_export]
macro_rules! eventually {
    ($condition:expr, $limit:expr, $console:expr, $look:expr) => {{
        let started = ::tokio::time::Instant::now();
        let limit = $crate::patience::scaled($limit);
        loop {
            // A look that hangs ends with the wait; one that began late still gets its time.
            let rest = limit.saturating_sub(started.elapsed()).max($crate::patience::LAST_LOOK);
            let last = match ::tokio::time::timeout(rest, $look).await {
                Ok(Ok(Some(value))) => break Ok(value),
                Ok(Ok(None)) => ::std::string::String::from("not yet"),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no answer for {:.1} s", rest.as_secs_f64()),
            };
            if started.elapsed() >= limit {
                let console: Option<&$crate::console::Console> = $console;
                break Err($crate::patience::Impatient {
                    condition: ::std::string::String::from($condition),
                    elapsed: started.elapsed(),
                    last,
                    tail: console.map($crate::console::Console::tail).unwrap_or_default(),
                });
            }
            ::tokio::time::sleep($crate::patience::POLL).await;
        }
    }};
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn look_that_hangs_ends_with_the_wait() {
        let result: Result<(), _> = eventually!("the oracle speaks", Duration::from_mins(1), None, async {
            std::future::pending::<()>().await;
            Ok::<_, std::convert::Infallible>(None)
        });
        let text = result.expect_err("the look never ends").to_string();
        assert!(text.contains("last seen: no answer for"), "{text}");
    }

    #[tokio::test]
    async fn failure_says_condition_and_last_value() {
        let result: Result<(), _> = eventually!("the moon is blue", Duration::ZERO, None, async {
            Err::<Option<()>, _>("it is grey")
        });
        let text = result.expect_err("the condition never holds").to_string();
        assert!(text.starts_with("the moon is blue did not happen within"), "{text}");
        assert!(text.ends_with("last seen: it is grey"), "{text}");
    }
}
