//! Rules as a rule file of Prometheus.

use std::fmt::Write as _;
use std::time::Duration;

use crate::rules::RuleFile;

/// Writes the rules as one group. Expressions are taken over as they are.
///
/// `no data` has no counterpart: Prometheus treats missing series as a condition that does not hold.
pub fn rule_file(file: &RuleFile, group: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "groups:\n  - name: {}\n    rules:", quoted(group));
    for rule in &file.rules {
        let _ = writeln!(out, "      - alert: {}", rule.name);
        let _ = writeln!(out, "        expr: {}", quoted(&rule.condition.to_string()));
        for (key, duration) in [
            ("for", rule.timing.hold),
            ("keep_firing_for", rule.timing.keep_firing),
        ] {
            if !duration.is_zero() {
                let _ = writeln!(out, "        {key}: {}", written(duration));
            }
        }
        let _ = writeln!(
            out,
            "        labels:\n          severity: {}",
            rule.severity.as_str()
        );
        for (name, value) in &rule.labels {
            let _ = writeln!(out, "          {name}: {}", quoted(value));
        }
        let summary = rule.summary.as_ref().map(|text| ("summary", text.prometheus()));
        let runbook = rule.runbook.clone().map(|text| ("runbook_url", text));
        if summary.is_some() || runbook.is_some() {
            out.push_str("        annotations:\n");
        }
        for (name, text) in summary.into_iter().chain(runbook) {
            let _ = writeln!(out, "          {name}: {}", quoted(&text));
        }
    }
    out
}

/// A JSON string, which is a YAML string, too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn written(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written() {
        let file = RuleFile::parse(
            "r.toml",
            r#"
            [[rule]]
            name = "A"
            expression = 'x{a="b"} > 1'
            for = "1m"
            keep-firing-for = "1500ms"
            severity = "critical"
            labels = { team = "serving" }
            summary = "{{a}} is {{value}}"
            runbook = "https://example.org/a"

            [[rule]]
            name = "B"
            expression = "absent(x)"
            "#,
        )
        .unwrap();
        let wanted = r#"groups:
  - name: "recorder"
    rules:
      - alert: A
        expr: "x{a=\"b\"} > 1"
        for: 60s
        keep_firing_for: 1500ms
        labels:
          severity: critical
          team: "serving"
        annotations:
          summary: "{{ $labels.a }} is {{ $value | humanize }}"
          runbook_url: "https://example.org/a"
      - alert: B
        expr: "absent(x)"
        labels:
          severity: warning
"#;
        assert_eq!(rule_file(&file, "recorder"), wanted);
    }
}
