//! Completions against a scripted server: the good answer split at every position, and each kind of failure.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod common;

use std::time::Duration;

use common::{DONE, Step, answer, end, piece, send, serve, stream_head, tokens, usage};
use vllm_client::{
    Client, ClientConfig, Completion, FinishReason, FirstToken, Received, Remark, RequestBody, StreamError,
    TimeoutKind, Timeouts, TokenPolicy, TokenSource,
};

fn body() -> bytes::Bytes {
    RequestBody::from_token_ids("m", &[1, 2, 3]).max_tokens(4).build()
}

/// Short limits, so that a test of one of them ends soon.
fn config(url: &str) -> ClientConfig {
    ClientConfig {
        timeouts: Timeouts {
            first_token: Duration::from_millis(80),
            between_chunks: Duration::from_millis(80),
            request: Duration::from_secs(20),
            ..Timeouts::default()
        },
        ..ClientConfig::new(url)
    }
}

/// Long limits: a slow machine must not turn another failure into a timeout.
fn patient(url: &str) -> ClientConfig {
    ClientConfig::new(url)
}

async fn ask(config: ClientConfig) -> (Result<Completion, StreamError>, Vec<FirstToken>) {
    let mut firsts = Vec::new();
    let result = Client::new(config)
        .unwrap()
        .complete(body(), |first| firsts.push(first))
        .await;
    if let Err(error) = &result {
        assert_eq!(error.had_first_token(), !firsts.is_empty(), "{error}");
    }
    (result, firsts)
}

async fn run(steps: Vec<Step>) -> (Result<Completion, StreamError>, Vec<FirstToken>) {
    let server = serve(move |_, _| steps.clone()).await;
    ask(patient(&server.url)).await
}

fn whole() -> String {
    [
        tokens(&[11], ""),
        tokens(&[12, 13], ""),
        tokens(&[14], "length"),
        usage(4),
        DONE.to_owned(),
    ]
    .concat()
}

#[tokio::test]
async fn a_whole_answer() {
    let (result, firsts) = run(vec![stream_head(), piece(whole()), end()]).await;
    let done = result.unwrap();
    assert_eq!(done.token_ids, [11, 12, 13, 14]);
    assert_eq!(done.token_bytes()[..8], [11, 0, 0, 0, 12, 0, 0, 0]);
    assert_eq!(
        (done.n_tokens(), done.token_source, done.chunks),
        (4, TokenSource::Ids, 3)
    );
    assert_eq!(done.finish_reason, Some(FinishReason::Length));
    assert_eq!(done.usage_agrees(), Some(true));
    assert_eq!(done.usage.unwrap().prompt_tokens, 3);
    assert_eq!(done.request_id.as_deref(), Some("cmpl-7"));
    let metrics = done.server_metrics.unwrap();
    assert_eq!(
        (metrics.queue_time_ms, metrics.time_to_first_token_ms),
        (Some(0.25), Some(12.5))
    );
    assert_eq!(firsts.len(), 1);
    assert_eq!((firsts[0].token_id, firsts[0].tokens_in_chunk), (Some(11), 1));
    assert_eq!(done.first_token_at, Some(firsts[0].at));
    assert!(done.sent_at <= firsts[0].at && firsts[0].at <= done.finished_at);
    assert_eq!(done.text, None);
}

#[tokio::test]
async fn cuts_line_ends_and_comments_do_not_matter() {
    let text = format!(": ping\r\n\r\n{}", whole().replace('\n', "\r\n"));
    for size in [1, 7, 64] {
        let mut steps = vec![stream_head()];
        steps.extend(text.as_bytes().chunks(size).map(piece));
        steps.push(end());
        let (result, firsts) = run(steps).await;
        assert_eq!(result.unwrap().token_ids, [11, 12, 13, 14]);
        assert_eq!(firsts.len(), 1);
    }
}

#[tokio::test]
async fn odd_but_valid_shapes_are_parsed_in_full() {
    let spaced = "data: {\"choices\": [{\"text\": \"\", \"token_ids\": [5, 6],\ndata: \"index\": 0}], \"usage\": null}\n\n";
    let (result, firsts) = run(vec![stream_head(), piece([spaced, DONE].concat()), end()]).await;
    let done = result.unwrap();
    assert_eq!(
        (done.token_ids.as_slice(), done.finish_reason, done.usage),
        ([5, 6].as_slice(), None, None)
    );
    assert_eq!((firsts[0].token_id, firsts[0].tokens_in_chunk), (Some(5), 2));
}

#[tokio::test]
async fn text_is_kept_when_asked_for() {
    let server = serve(|_, _| vec![stream_head(), piece(whole()), end()]).await;
    let (result, _) = ask(ClientConfig {
        keep_text: true,
        ..patient(&server.url)
    })
    .await;
    let done = result.unwrap();
    assert_eq!((done.text.as_deref(), done.token_ids.len()), (Some(" x x x"), 4));
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = serve(|_, _| vec![stream_head(), piece(whole()), end()]).await;
    let client = Client::new(patient(&server.url)).unwrap();
    for _ in 0..5 {
        client.complete(body(), |_| {}).await.unwrap();
    }
    assert_eq!(*server.connections.lock().unwrap(), 1);
    assert_eq!(server.seen.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn the_key_is_sent() {
    let server = serve(|_, _| vec![stream_head(), piece(whole()), end()]).await;
    let key = Some(vllm_client::ApiKey::new("k1"));
    ask(ClientConfig {
        api_key: key,
        ..patient(&server.url)
    })
    .await
    .0
    .unwrap();
    let (head, sent) = server.seen.lock().unwrap()[0].clone();
    assert!(head.starts_with("POST /v1/completions HTTP/1.1"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("authorization: bearer k1"),
        "{head}"
    );
    assert_eq!(sent, body());
}

#[tokio::test]
async fn refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (result, _) = ask(patient(&url)).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, StreamError::Refused { reason, .. } if reason.contains("refused")),
        "{error}"
    );
    assert!(error.is_retryable() && error.to_string().contains(&url));
}

#[tokio::test]
async fn reset_before_and_after_the_first_token() {
    let (result, _) = run(vec![Step::Break]).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StreamError::Reset { .. }), "{error}");
    assert!(error.is_retryable());

    let (result, _) = run(vec![stream_head(), Step::Break]).await;
    assert!(matches!(result.unwrap_err(), StreamError::Reset { received, .. } if !received.first_token));

    // An ordered close inside the body is a broken answer too.
    let (result, firsts) = run(vec![stream_head(), piece(tokens(&[1, 2], "")), Step::Close]).await;
    let error = result.unwrap_err();
    let expected = Received {
        first_token: true,
        tokens: 2,
    };
    assert!(
        matches!(error, StreamError::Reset { received, .. } if received == expected),
        "{error}"
    );
    assert!(!error.is_retryable());
    assert_eq!(firsts[0].token_id, Some(1));
}

#[tokio::test]
async fn status_with_its_body() {
    let server = serve(|_, _| {
        answer(
            "503 Service Unavailable",
            "application/json",
            "{\"error\":\"full\"}",
        )
    })
    .await;
    let (result, _) = ask(patient(&server.url)).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, StreamError::Status { code: 503, body, .. } if body.contains("full")),
        "{error}"
    );
    assert!(error.is_retryable());

    let server = serve(|_, _| answer("400 Bad Request", "application/json", &"y".repeat(100_000))).await;
    let error = ask(patient(&server.url)).await.0.unwrap_err();
    assert!(
        matches!(&error, StreamError::Status { code: 400, body, .. } if body.len() == 512),
        "{error}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn timeouts() {
    for stalled in [
        vec![Step::Stall],
        vec![stream_head(), piece(": ping\n\n"), Step::Stall],
    ] {
        let server = serve(move |_, _| stalled.clone()).await;
        let error = ask(config(&server.url)).await.0.unwrap_err();
        assert!(
            matches!(
                error,
                StreamError::Timeout {
                    kind: TimeoutKind::FirstToken,
                    ..
                }
            ),
            "{error}"
        );
    }
    let server = serve(|_, _| vec![stream_head(), piece(tokens(&[1], "")), Step::Stall]).await;
    let patient_at_first = |mut c: ClientConfig| {
        c.timeouts.first_token = Duration::from_secs(20);
        c
    };
    let error = ask(patient_at_first(config(&server.url))).await.0.unwrap_err();
    let expected = Received {
        first_token: true,
        tokens: 1,
    };
    assert!(
        matches!(error, StreamError::Timeout { kind: TimeoutKind::BetweenChunks, received, .. } if received == expected),
        "{error}"
    );

    let mut hurried = patient(&server.url);
    hurried.timeouts.request = Duration::from_millis(80);
    let error = ask(hurried).await.0.unwrap_err();
    assert!(
        matches!(
            error,
            StreamError::Timeout {
                kind: TimeoutKind::Request,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn truncated() {
    let cut = [tokens(&[1], ""), tokens(&[2], "length"), usage(2)].concat();
    let (result, _) = run(vec![stream_head(), piece(&cut), end()]).await;
    let expected = Received {
        first_token: true,
        tokens: 2,
    };
    assert_eq!(result.unwrap_err(), StreamError::Truncated { received: expected });

    let (result, _) = run(vec![stream_head(), piece("data: {\"choi"), end()]).await;
    assert_eq!(
        result.unwrap_err(),
        StreamError::Truncated {
            received: Received::default()
        }
    );
}

#[tokio::test]
async fn garbage() {
    for (steps, told) in [
        (
            vec![stream_head(), piece("<html>hello</html>\n"), end()],
            "<html>",
        ),
        (
            vec![
                stream_head(),
                piece("data: {\"choices\":[{\"index\":0,\"token_ids\":[1}]}\n\n"),
                end(),
            ],
            "token_ids",
        ),
        (
            vec![stream_head(), piece("data: {\"a\":1}\n\n"), end()],
            "neither",
        ),
        (
            vec![
                stream_head(),
                piece(tokens(&[1], "").replace("[1]", "[-4]")),
                end(),
            ],
            "negative",
        ),
        (
            vec![
                stream_head(),
                piece(tokens(&[1], "").replace("\"index\":0", "\"index\":1")),
                end(),
            ],
            "more than one",
        ),
        (answer("200 OK", "text/html", "<p>login</p>"), "login"),
        (vec![send("SSH-2.0-OpenSSH_9\r\n\r\n"), Step::Close], "HTTP"),
    ] {
        let error = run(steps).await.0.unwrap_err();
        assert!(matches!(error, StreamError::Malformed { .. }), "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(!error.is_retryable());
    }
    // The tokens that came before are counted, not kept.
    let (result, _) = run(vec![
        stream_head(),
        piece(tokens(&[1, 2], "")),
        piece("?!\n\n"),
        end(),
    ])
    .await;
    assert_eq!(
        result.unwrap_err().received(),
        Received {
            first_token: true,
            tokens: 2
        }
    );
}

#[tokio::test]
async fn error_objects_in_the_stream() {
    let object =
        "data: {\"error\":{\"message\":\"engine died\",\"type\":\"InternalServerError\",\"code\":500}}\n\n";
    let (result, _) = run(vec![stream_head(), piece([object, DONE].concat()), end()]).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, StreamError::Server { message, code: 500, .. } if message == "engine died"),
        "{error}"
    );
    assert!(error.is_retryable());

    let (result, _) = run(vec![stream_head(), piece(tokens(&[1], "")), piece(object), end()]).await;
    assert_eq!(result.unwrap_err().received().tokens, 1);

    let (result, _) = run(vec![
        stream_head(),
        piece([tokens(&[1], "abort").as_str(), DONE].concat()),
        end(),
    ])
    .await;
    assert!(matches!(result.unwrap_err(), StreamError::Server { kind, .. } if kind == "abort"));
}

#[tokio::test]
async fn servers_without_ids() {
    let text = whole().replace("\"token_ids\":", "\"other\":");
    let steps = vec![stream_head(), piece(text), end()];
    let (result, firsts) = run(steps.clone()).await;
    let error = result.unwrap_err();
    assert_eq!(
        error,
        StreamError::NoTokenIds {
            text_chunks: 3,
            usage_tokens: Some(4)
        }
    );
    assert!(error.to_string().contains("return_token_ids"));
    assert_eq!((firsts[0].token_id, firsts[0].tokens_in_chunk), (None, 0));

    let server = serve(move |_, _| steps.clone()).await;
    let (result, _) = ask(ClientConfig {
        token_policy: TokenPolicy::AllowCountOnly,
        ..patient(&server.url)
    })
    .await;
    let done = result.unwrap();
    assert_eq!((done.n_tokens(), done.token_source), (4, TokenSource::UsageOnly));
    assert!(done.token_ids.is_empty() && done.usage_agrees().is_none());
}

#[tokio::test]
async fn a_count_that_disagrees_is_flagged() {
    let text = [tokens(&[1, 2], "stop"), usage(5), DONE.to_owned()].concat();
    let done = run(vec![stream_head(), piece(text), end()]).await.0.unwrap();
    assert_eq!((done.usage_agrees(), done.n_tokens()), (Some(false), 2));
}

#[tokio::test]
async fn a_body_that_never_ends_after_the_mark_is_complete() {
    let (result, _) = run(vec![stream_head(), piece(whole()), Step::Stall]).await;
    assert_eq!(result.unwrap().n_tokens(), 4);
}

#[tokio::test]
async fn unstreamed() {
    let text = r#"{"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"a b","finish_reason":"stop",
        "token_ids":[4,5]}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let server = serve(move |_, _| answer("200 OK", "application/json", text)).await;
    let client = Client::new(patient(&server.url)).unwrap();
    let done = client.complete_unstreamed(body()).await.unwrap();
    assert_eq!(
        (done.token_ids.as_slice(), done.first_token_at),
        ([4, 5].as_slice(), None)
    );
    assert_eq!(done.usage_agrees(), Some(true));

    let server = serve(|_, _| answer("200 OK", "application/json", "[1]")).await;
    let error = Client::new(patient(&server.url))
        .unwrap()
        .complete_unstreamed(body())
        .await
        .unwrap_err();
    assert!(matches!(error, StreamError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn batches_are_answered_whole_or_not_at_all() {
    let choice = |index: usize, ids: &str| {
        format!("{{\"index\":{index},\"text\":\"\",\"token_ids\":{ids},\"finish_reason\":\"stop\"}}")
    };
    let whole = |choices: &[String], tokens: usize| {
        let usage = format!("{{\"prompt_tokens\":6,\"completion_tokens\":{tokens}}}");
        format!(
            "{{\"id\":\"cmpl-1\",\"choices\":[{}],\"usage\":{usage}}}",
            choices.join(",")
        )
    };
    let batch = || {
        RequestBody::from_batch("m", &[&[1, 2, 3], &[4, 5, 6]])
            .max_tokens(4)
            .build()
    };
    let ask = async |text: String| {
        let server = serve(move |_, _| answer("200 OK", "application/json", &text)).await;
        let result = Client::new(patient(&server.url))
            .unwrap()
            .complete_batch(batch(), 2)
            .await;
        let sent: serde_json::Value = serde_json::from_slice(&server.seen.lock().unwrap()[0].1).unwrap();
        assert_eq!(sent["prompt"], serde_json::json!([[1, 2, 3], [4, 5, 6]]));
        result
    };
    // In whatever order they come.
    let done = ask(whole(&[choice(1, "[8]"), choice(0, "[7,9]")], 3))
        .await
        .unwrap();
    let ids: Vec<_> = done.answers.iter().map(|a| a.token_ids.as_slice()).collect();
    assert_eq!(
        (ids, done.usage_agrees()),
        (vec![[7, 9].as_slice(), &[8]], Some(true))
    );
    for short in [
        vec![choice(0, "[7]")],
        vec![choice(0, "[7]"), choice(0, "[7]")],
        vec![],
    ] {
        let error = ask(whole(&short, 1)).await.unwrap_err();
        assert!(error.to_string().contains("to 2 prompts"), "{error}");
    }
    let error = ask("{\"error\":{\"message\":\"no\",\"code\":500}}".to_owned())
        .await
        .unwrap_err();
    assert!(matches!(error, StreamError::Server { code: 500, .. }), "{error}");
    let error = ask(whole(
        &[
            choice(0, "[7]"),
            choice(1, "null").replace("\"text\":\"\"", "\"text\":\"x\""),
        ],
        2,
    ))
    .await;
    assert!(matches!(error.unwrap_err(), StreamError::NoTokenIds { .. }));
}

/// All in one piece, and one byte per piece: the answer must be the same.
async fn in_every_cut(text: &str) -> Result<Completion, StreamError> {
    let whole = run(vec![stream_head(), piece(text), end()]).await.0;
    let mut steps = vec![stream_head()];
    steps.extend(text.as_bytes().chunks(1).map(piece));
    steps.push(end());
    let cut = run(steps).await.0;
    let facts = |result: &Result<Completion, StreamError>| match result {
        Ok(done) => (done.token_ids.clone(), format!("{:?}", done.remarks)),
        Err(error) => (Vec::new(), error.to_string()),
    };
    assert_eq!(facts(&whole), facts(&cut), "{text}");
    whole
}

fn parts() -> Vec<String> {
    vec![
        tokens(&[11], ""),
        tokens(&[12, 13], ""),
        tokens(&[14], "length"),
        usage(4),
        DONE.to_owned(),
    ]
}

/// The usual answer with something put in before one of its events.
fn with(at: usize, more: &str) -> String {
    let mut parts = parts();
    parts.insert(at, more.to_owned());
    parts.concat()
}

#[tokio::test]
async fn what_the_standard_allows_between_events_changes_nothing() {
    let usual = in_every_cut(&parts().concat()).await.unwrap();
    assert!(usual.remarks.is_empty(), "{:?}", usual.remarks);
    for more in [
        ": ping\n\n",
        ":\n\ndata\n\n",
        "data:\n\n",
        "data: \r\n\r\n",
        "data:   \n\n",
        "data: {}\n\n",
        "x-trace: 7\n\n",
        "retry: 10\nid: 5\n\n",
        "event: message\n",
    ] {
        for at in 0..5 {
            let done = in_every_cut(&with(at, more)).await.unwrap();
            assert_eq!(done.token_ids, usual.token_ids, "{more:?} before event {at}");
            assert_eq!(done.chunks, usual.chunks, "{more:?} before event {at}");
        }
    }
    let start = format!("\u{feff}{}", parts().concat());
    assert_eq!(in_every_cut(&start).await.unwrap().token_ids, usual.token_ids);
    for from_to in [
        ("\n", "\r\n"),
        ("\n", "\r"),
        ("data: ", "data:"),
        ("data: ", "data:  "),
    ] {
        let text = parts().concat().replace(from_to.0, from_to.1);
        assert_eq!(
            in_every_cut(&text).await.unwrap().token_ids,
            usual.token_ids,
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_heartbeat_is_no_first_token() {
    let steps = vec![stream_head(), piece("data:\n\n: a\n\ndata: {}\n\n"), Step::Stall];
    let server = serve(move |_, _| steps.clone()).await;
    let (result, firsts) = ask(config(&server.url)).await;
    assert!(firsts.is_empty());
    assert!(matches!(
        result.unwrap_err(),
        StreamError::Timeout {
            kind: TimeoutKind::FirstToken,
            ..
        }
    ));
}

#[tokio::test]
async fn the_end_mark_counts_however_it_is_written() {
    let without = parts()[..4].concat();
    for mark in [
        "data: [DONE]",
        "data: [DONE]\n",
        "data:[DONE]\r\n",
        "data: [DONE] \n\n",
        "data:  [DONE]\n\n",
        "data: [DONE]\n\ndata: [DONE]\n\n",
        "data: [DONE]\n\n: bye\n\n",
    ] {
        let done = in_every_cut(&format!("{without}{mark}")).await.unwrap();
        assert_eq!(done.token_ids, [11, 12, 13, 14], "{mark:?}");
    }
    let cut = in_every_cut(&format!("{without}data: [DO")).await.unwrap_err();
    assert!(matches!(cut, StreamError::Truncated { .. }), "{cut}");
}

#[tokio::test]
async fn tokens_after_the_end_fail_the_answer_however_they_are_cut() {
    let after_done = parts().concat() + &tokens(&[99], "");
    let after_finish = with(3, &tokens(&[99], ""));
    for text in [&after_done, &after_finish] {
        let error = in_every_cut(text).await.unwrap_err();
        assert!(matches!(error, StreamError::Malformed { .. }), "{error}");
    }
    // In a separate piece, a while later.
    let steps = vec![
        stream_head(),
        piece(parts().concat()),
        piece(tokens(&[99], "")),
        end(),
    ];
    let error = run(steps).await.0.unwrap_err();
    assert!(error.to_string().contains("after the end mark"), "{error}");
}

#[tokio::test]
async fn more_tokens_than_were_asked_for_fail_the_answer_at_once() {
    // `body` asks for 4, and the server never stops.
    let steps = vec![
        stream_head(),
        piece(tokens(&[1, 2, 3, 4], "")),
        piece(tokens(&[5], "")),
        Step::Stall,
    ];
    let error = run(steps).await.0.unwrap_err();
    assert!(error.to_string().contains("more than the 4 tokens"), "{error}");
}

#[tokio::test]
async fn an_odd_usage_is_named_and_fails_no_answer() {
    let usage_of = |usage: &str| {
        let mut parts = parts();
        parts[3] = format!("data: {{\"id\":\"x\",\"choices\":[],\"usage\":{usage}}}\n\n");
        parts.concat()
    };
    for (usage, kinds) in [
        (
            "{\"prompt_tokens\":3.0,\"total_tokens\":7.0,\"completion_tokens\":4.0}",
            &[][..],
        ),
        (
            "{\"prompt_tokens\":3,\"completion_tokens\":7}",
            &["usage_disagrees"],
        ),
        (
            "{\"prompt_tokens\":3,\"completion_tokens\":0}",
            &["usage_disagrees"],
        ),
        ("{\"completion_tokens\":4}", &["usage_unreadable"]),
        (
            "{\"prompt_tokens\":3,\"completion_tokens\":null}",
            &["usage_unreadable"],
        ),
        (
            "{\"prompt_tokens\":3,\"completion_tokens\":1e300}",
            &["usage_unreadable"],
        ),
        ("\"none\"", &["usage_unreadable"]),
        ("null", &[]),
    ] {
        let done = in_every_cut(&usage_of(usage)).await.unwrap();
        assert_eq!(done.token_ids.len(), 4, "{usage}");
        let found: Vec<&str> = done.remarks.iter().map(Remark::kind).collect();
        assert_eq!(found, kinds, "{usage}");
    }
}

#[tokio::test]
async fn another_models_answer_is_named() {
    let other = parts()
        .concat()
        .replace("\"model\":\"m\"", "\"model\":\"other-70b\"");
    let done = in_every_cut(&other).await.unwrap();
    let expected = Remark::OtherModel {
        asked: "m".to_owned(),
        answered: "other-70b".to_owned(),
    };
    assert_eq!(done.remarks, [expected]);
}

#[tokio::test]
async fn errors_in_a_stream_are_the_servers_in_every_form() {
    for event in [
        "event: error\ndata: {\"message\":\"boom\",\"code\":500}\n\n",
        "error: {\"message\":\"boom\",\"code\":500}\n\n",
        "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n",
        "event: error\ndata: boom\n\n",
    ] {
        let error = in_every_cut(&with(2, event)).await.unwrap_err();
        assert!(
            matches!(&error, StreamError::Server { message, .. } if message == "boom"),
            "{event}: {error}"
        );
    }
    // Next to an answer, in the compact form that the quick scan reads.
    for extra in [
        tokens(&[12], "").replace("}]}", "}],\"error\":\"boom\"}"),
        tokens(&[12], "").replace("{\"id\"", "{\"error\":\"boom\",\"id\""),
        tokens(&[12], "").replace("text_completion", "error"),
    ] {
        let error = in_every_cut(&with(1, &extra)).await.unwrap_err();
        assert!(matches!(error, StreamError::Server { .. }), "{extra}: {error}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_answer() {
    // Closes after each answer without announcing it.
    let server = serve(|_, _| {
        let mut steps = vec![stream_head(), piece(whole()), end()];
        steps.push(Step::Close);
        steps
    })
    .await;
    let client = Client::new(patient(&server.url)).unwrap();
    let mut again = 0;
    for _ in 0..20 {
        let done = client.complete(body(), |_| {}).await.unwrap();
        again += done
            .remarks
            .iter()
            .filter(|remark| **remark == Remark::SentAgain)
            .count();
    }
    // Each broken attempt had not been read by the server.
    assert_eq!(server.seen.lock().unwrap().len(), 20, "{again} were sent again");
}

#[tokio::test]
async fn a_request_on_a_connection_that_is_being_closed_is_sent_again_once_and_named() {
    // The second request finds its connection closed.
    let server = serve(|_, before| match before {
        1 => vec![Step::Close],
        _ => vec![stream_head(), piece(whole()), end()],
    })
    .await;
    let client = Client::new(patient(&server.url)).unwrap();
    assert!(client.complete(body(), |_| {}).await.unwrap().remarks.is_empty());
    let done = client.complete(body(), |_| {}).await.unwrap();
    assert_eq!(done.remarks, [Remark::SentAgain]);
    assert_eq!(done.token_ids, [11, 12, 13, 14]);
    assert_eq!(*server.connections.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_server_that_breaks_every_connection_is_asked_twice_at_most() {
    let server = serve(|_, before| {
        if before == 0 {
            vec![stream_head(), piece(whole()), end()]
        } else {
            vec![Step::Break]
        }
    })
    .await;
    let client = Client::new(patient(&server.url)).unwrap();
    client.complete(body(), |_| {}).await.unwrap();
    let error = client.complete(body(), |_| {}).await.unwrap_err();
    assert!(matches!(error, StreamError::Reset { .. }), "{error}");
    assert_eq!(server.seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_control_answer_without_an_end_is_cut_off() {
    let server = serve(|_, _| {
        let mut steps = vec![send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")];
        steps.extend((0..80).map(|_| piece(vec![b' '; 1 << 20])));
        steps
    })
    .await;
    let error = Client::new(patient(&server.url))
        .unwrap()
        .models()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}
