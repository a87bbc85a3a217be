//! Unstreamed answers: one prompt, or a batch of prompts in one request.

use std::time::Instant;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::Client;
use crate::answer::{Completion, MaybeUsage, Usage};
use crate::chunk::Chunk;
use crate::completion::{CompletionAssembler, Expected};
use crate::error::{Received, StreamError, TimeoutKind, excerpt};

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// The answers to a request of several prompts, in the order of the prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchCompletion {
    /// One for each prompt. Their `usage` is `None`: the server counts a batch as a whole.
    pub answers: Vec<Completion>,
    /// The server's counts over all prompts.
    pub usage: Option<Usage>,
}

impl BatchCompletion {
    /// Whether the server's count is that of all ids; `None` when it sent none.
    pub fn usage_agrees(&self) -> Option<bool> {
        let ids: usize = self.answers.iter().map(|answer| answer.token_ids.len()).sum();
        self.usage.map(|usage| usage.completion_tokens == ids as u64)
    }
}

impl Client {
    /// Posts a body made with [`RequestBody::streaming(false)`](crate::RequestBody::streaming) and reads the
    /// whole answer. The `first_token` and `between_chunks` limits do not apply.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn complete_unstreamed(&self, body: Bytes) -> Result<Completion, StreamError> {
        let sent_at = Instant::now();
        let expected = Expected::of(&body);
        let (chunk, data): (Chunk, _) = self.answer(sent_at, body).await?;
        let finished_at = Instant::now();
        let mut assembler = CompletionAssembler::new(self.config.keep_text, expected);
        assembler.chunk(chunk, &data, finished_at)?;
        let mut completion = assembler.into_completion(self.config.token_policy, sent_at, finished_at)?;
        completion.first_token_at = None;
        Ok(completion)
    }

    /// Like [`Client::complete_unstreamed`] for a body of `prompts` prompts
    /// ([`RequestBody::from_batch`](crate::RequestBody::from_batch)). There are exactly as many answers as prompts,
    /// or none: if a server answers fewer, the batch fails.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn complete_batch(&self, body: Bytes, prompts: usize) -> Result<BatchCompletion, StreamError> {
        self.complete_batch_since(Instant::now(), body, prompts).await
    }

    /// As [`Client::complete_batch`], with the limit of the whole request counted from `begun_at`.
    pub(crate) async fn complete_batch_since(
        &self,
        begun_at: Instant,
        body: Bytes,
        prompts: usize,
    ) -> Result<BatchCompletion, StreamError> {
        let sent_at = Instant::now();
        let asked = body.clone();
        let (mut chunk, data): (Chunk, _) = self.answer(begun_at, body).await?;
        let finished_at = Instant::now();
        let mut choices = chunk.choices.take().unwrap_or_default();
        let usage = match chunk.usage.take() {
            Some(MaybeUsage::Told(usage)) => Some(usage),
            Some(MaybeUsage::Odd(_)) | None => None,
        };
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            // Reports the server's error, as for a single prompt.
            CompletionAssembler::new(false, Expected::default()).chunk(chunk, &data, finished_at)?;
            choices.clear();
        }
        choices.sort_by_key(|choice| choice.index);
        let complete =
            choices.len() == prompts && choices.iter().zip(0..).all(|(choice, at)| choice.index == at);
        if !complete {
            let indexes: Vec<u32> = choices.iter().map(|choice| choice.index).collect();
            let reason = format!(
                "{} answers (numbers {indexes:?}) to {prompts} prompts",
                choices.len()
            );
            return Err(StreamError::Malformed {
                reason,
                line: excerpt(&data),
                received: Received::default(),
            });
        }
        let answers = choices.into_iter().map(|mut choice| {
            choice.index = 0;
            let mut assembler = CompletionAssembler::new(self.config.keep_text, Expected::of(&asked));
            assembler.chunk(Chunk::of(choice), &data, finished_at)?;
            let mut answer = assembler.into_completion(self.config.token_policy, sent_at, finished_at)?;
            answer.first_token_at = None;
            Ok(answer)
        });
        Ok(BatchCompletion {
            answers: answers.collect::<Result<_, StreamError>>()?,
            usage,
        })
    }

    /// Posts and reads the whole answer within the request's limit.
    async fn answer<T: DeserializeOwned>(
        &self,
        begun_at: Instant,
        body: Bytes,
    ) -> Result<(T, Vec<u8>), StreamError> {
        let limit = self.config.timeouts.request;
        let timeout = StreamError::Timeout {
            kind: TimeoutKind::Request,
            limit,
            received: Received::default(),
        };
        let data = tokio::time::timeout(limit.saturating_sub(begun_at.elapsed()), self.whole(body))
            .await
            .map_err(|_| timeout)??;
        match serde_json::from_slice(&data) {
            Ok(answer) => Ok((answer, data)),
            Err(e) => Err(malformed(format!("not a completion: {e}"), &data)),
        }
    }

    async fn whole(&self, body: Bytes) -> Result<Vec<u8>, StreamError> {
        let (mut response, _) = self
            .send(self.request(body))
            .await
            .map_err(|e| self.send_error(&e))?;
        if response.status() != 200 {
            return Err(self.status_error(response).await);
        }
        let mut data = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|e| self.broken(&e, Received::default()))?
        {
            if data.len() + piece.len() > MAX_ANSWER {
                return Err(malformed(
                    format!("an answer of more than {MAX_ANSWER} bytes"),
                    &data,
                ));
            }
            data.extend_from_slice(&piece);
        }
        self.keeps_connection();
        Ok(data)
    }
}

fn malformed(reason: String, data: &[u8]) -> StreamError {
    StreamError::Malformed {
        reason,
        line: excerpt(data),
        received: Received::default(),
    }
}
