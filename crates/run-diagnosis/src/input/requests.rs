//! The times of one request.

/// One request of a run. Times are nanoseconds on the run's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestTimes {
    /// Which sample of the dataset it was.
    pub sample_index: Option<u64>,
    /// When the load generator's schedule wanted it issued; absent where nothing is scheduled.
    pub scheduled_ns: Option<i64>,
    /// When the load generator issued it.
    pub issued_ns: i64,
    /// When the client sent it.
    pub sent_ns: Option<i64>,
    /// When its first content token arrived.
    pub first_token_ns: Option<i64>,
    /// When its answer was complete.
    pub done_ns: Option<i64>,
    /// Tokens of its prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens of its answer.
    pub output_tokens: Option<u32>,
    /// How long it waited in the server's queue, as the server says, in nanoseconds.
    pub server_queue_ns: Option<i64>,
    /// How long its prefill took, as the server says, in nanoseconds.
    pub server_prefill_ns: Option<i64>,
    /// How long it decoded, as the server says, in nanoseconds.
    pub server_decode_ns: Option<i64>,
    /// It ended with an error or was cut; it then counts in no latency.
    pub failed: bool,
}

impl RequestTimes {
    /// Time to first token: from sending to the first content token.
    pub fn ttft_secs(&self) -> Option<f64> {
        self.between(self.sent_ns, self.first_token_ns)
    }

    /// End-to-end latency: from sending to the complete answer.
    pub fn e2e_secs(&self) -> Option<f64> {
        self.between(self.sent_ns, self.done_ns)
    }

    /// Time per output token: (E2E − TTFT) / (output tokens − 1), as LoadGen and vLLM define it. Absent for answers of
    /// fewer than two tokens.
    ///
    /// ```
    /// use run_diagnosis::input::RequestTimes;
    /// let request = RequestTimes {
    ///     sent_ns: Some(0), first_token_ns: Some(40_000_000), done_ns: Some(140_000_000), output_tokens: Some(11),
    ///     ..RequestTimes::default()
    /// };
    /// assert_eq!(request.tpot_secs(), Some(0.01));
    /// ```
    pub fn tpot_secs(&self) -> Option<f64> {
        let gaps = self.output_tokens?.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(self.between(self.first_token_ns, self.done_ns)? / f64::from(gaps))
    }

    /// From the schedule's time to the time it was issued; not below 0.
    pub fn schedule_lag_secs(&self) -> Option<f64> {
        Some((self.issued_ns - self.scheduled_ns?).max(0) as f64 / 1e9)
    }

    /// From issuing to sending.
    pub fn client_queue_secs(&self) -> Option<f64> {
        self.between(Some(self.issued_ns), self.sent_ns)
    }

    /// From the scheduled time, or else the time of issue, to the complete answer: lag, client queue and
    /// [`e2e_secs`](Self::e2e_secs) together.
    ///
    /// ```
    /// use run_diagnosis::input::RequestTimes;
    /// let request = RequestTimes {
    ///     scheduled_ns: Some(0), issued_ns: 5_000_000, sent_ns: Some(25_000_000), done_ns: Some(125_000_000),
    ///     ..RequestTimes::default()
    /// };
    /// assert_eq!((request.e2e_secs(), request.intended_e2e_secs()), (Some(0.1), Some(0.125)));
    /// ```
    pub fn intended_e2e_secs(&self) -> Option<f64> {
        Some(self.schedule_lag_secs().unwrap_or(0.0) + self.client_queue_secs()? + self.e2e_secs()?)
    }

    /// What the server's queue, prefill and decode times leave of the end-to-end latency: network, front end, client.
    pub fn outside_engine_secs(&self) -> Option<f64> {
        let engine_ns = self.server_queue_ns? + self.server_prefill_ns? + self.server_decode_ns?;
        Some((self.e2e_secs()? - engine_ns as f64 / 1e9).max(0.0))
    }

    fn between(&self, from_ns: Option<i64>, to_ns: Option<i64>) -> Option<f64> {
        if self.failed {
            return None;
        }
        Some((to_ns? - from_ns?) as f64 / 1e9).filter(|secs| *secs >= 0.0)
    }
}
