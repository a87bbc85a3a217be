//! Configuration as users write it: sessions, selections, versions, formats. Any input may be rejected, none
//! may panic, and accepted values must be usable.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vllm_metrics::catalog::{self, Version};
use vllm_metrics::{Error, SelectionConfig, SessionConfig, StoreFormat};

fuzz_target!(|text: &str| {
    if let Ok(config) = SessionConfig::from_json(text) {
        match config.check() {
            Ok(()) => {}
            Err(Error::Config { problems }) => assert!(!problems.is_empty()),
            Err(other) => panic!("a problem of the configuration told as {other}"),
        }
    }

    let mut lines = text.lines().map(str::to_owned);
    let exclude: Vec<String> = lines.next().into_iter().collect();
    let include: Vec<String> = lines.collect();
    if let Ok(selector) = (SelectionConfig { include: include.clone(), exclude }).resolve() {
        for name in include.iter().map(String::as_str).chain(["vllm:num_requests_running", ""]) {
            let _ = selector.selects(name, name);
        }
        let _ = selector.unused([("a", "a_bucket")]);
    }

    let version = text.parse::<Version>().ok();
    let drift = catalog::drift(version, text.split_whitespace());
    assert_eq!(drift.is_empty(), drift.sentences().len() == usize::from(drift.beyond_catalogue));
    for name in text.split_whitespace() {
        if let Some(entry) = catalog::vllm_entry(name) {
            assert!(name.starts_with(entry.name) || entry.name.starts_with(name.trim_end_matches("_created")));
        }
        let _ = (catalog::exported(name), catalog::promised(name), catalog::unit_of(name));
    }
    if let Ok(format) = text.parse::<StoreFormat>() {
        assert_eq!(format.as_str().parse(), Ok(format));
    }
});
