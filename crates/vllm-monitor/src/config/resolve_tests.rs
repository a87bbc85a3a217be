//! Tests of resolving settings: precedence, spellings, mistakes.

use super::*;

fn problems(builder: SettingsBuilder) -> Vec<String> {
    match builder.resolve() {
        Err(Error::Settings(problems)) => problems,
        other => panic!("refused: {other:?}"),
    }
}

#[test]
fn the_compiled_in_file_has_every_parameter_within_its_range_and_no_other() {
    let root: Value = toml::from_str(DEFAULTS).expect("TOML");
    let groups = root.as_object().expect("a table");
    let written: Vec<String> = groups
        .iter()
        .filter_map(|(group, inner)| Some((group, inner.as_object()?)))
        .flat_map(|(group, inner)| inner.keys().map(move |name| format!("{group}.{name}")))
        .collect();
    assert_eq!(written.len(), KEYS.len(), "{written:?}");
    let mut parameters = Settings::default().parameters;
    for key in KEYS {
        let value = *parameters.value_mut(key.name).expect("in the list");
        assert!(
            (key.smallest..=key.largest).contains(&value),
            "{} = {value}",
            key.name
        );
    }
}

#[test]
fn precedence_is_flag_then_environment_then_file_then_default() {
    let file = "enable_learning = false\nmitigation_threshold = 0.5\nlearning_rate = 0.3\n";
    let settings = Settings::builder()
        .file("a.toml", file)
        .environment([
            ("VLLM_MONITOR_MITIGATION_THRESHOLD", "0.6"),
            ("VLLM_MONITOR_LEARNING", "true"),
            ("PATH", "/usr/bin"),
        ])
        .flag("mitigation_threshold", "0.7")
        .resolve()
        .expect("all is well-formed");
    let f = &settings.features;
    assert_eq!(
        (
            f.mitigation_threshold,
            f.enable_learning,
            f.learning_rate,
            f.enable_predictive
        ),
        (0.7, true, 0.3, true)
    );
    for (key, from) in [
        ("mitigation_threshold", "flag --mitigation-threshold"),
        ("enable_learning", "environment VLLM_MONITOR_LEARNING"),
        ("learning_rate", "file a.toml"),
        ("enable_predictive", "default"),
    ] {
        assert_eq!(
            settings.provenance(key).map(ToString::to_string).as_deref(),
            Some(from)
        );
    }
}

#[test]
fn each_variable_of_the_environment_is_read() {
    for (name, key) in ENVIRONMENT {
        let value = match FEATURES
            .iter()
            .find(|(known, ..)| known == key)
            .expect("a feature")
            .2
        {
            Kind::Switch => "1",
            Kind::Ratio => "0.25",
            _ => "DEBUG",
        };
        let settings = Settings::builder()
            .environment([(*name, value)])
            .resolve()
            .expect("well-formed");
        assert_eq!(
            settings.provenance(key),
            Some(&Provenance::Environment((*name).to_owned()))
        );
    }
}

#[test]
fn the_seeds_keys_are_understood_in_json_and_nested() {
    let text = r#"{"enable_predictive": true, "enable_learning": false, "enable_auto_mitigation": true,
        "mitigation_threshold": 0.8, "learning_rate": 0.1, "plugin_directory": "plugins"}"#;
    let settings = Settings::builder()
        .file("monitor_config.json", text)
        .resolve()
        .expect("well-formed");
    assert!(settings.features.enable_auto_mitigation && !settings.features.enable_learning);
    assert_eq!(settings.features.plugin_directory.as_deref(), Some("plugins"));
    let nested = r#"{"monitor_config": {"enable_predictive_detection": false}}"#;
    let settings = Settings::builder()
        .file("a.json", nested)
        .resolve()
        .expect("well-formed");
    assert!(!settings.features.enable_predictive);
}

#[test]
fn acting_and_monitoring_are_off_unless_asked_for() {
    let features = Settings::default().features;
    assert!(!features.enable_auto_mitigation && !features.enable_monitoring);
}

#[test]
fn all_mistakes_are_named_together() {
    let found = problems(
        Settings::builder()
            .file(
                "a.toml",
                "enable_lerning = true\n[parameters.hang]\nflor_secs = 3\nfloor_secs = -1\n",
            )
            .environment([
                ("VLLM_MONITOR_PREDICTIV", "true"),
                ("VLLM_MONITOR_LEARNING", "maybe"),
            ])
            .flag("log_level", "loud"),
    );
    assert_eq!(found.len(), 6, "{found:#?}");
    let all = found.join("\n");
    for words in [
        "file a.toml: enable_lerning: no such key",
        "hang.flor_secs: no such key; there are hang.floor_secs",
        "hang.floor_secs = -1: 1 to 3600 is possible",
        "VLLM_MONITOR_PREDICTIV: not a variable",
        "environment VLLM_MONITOR_LEARNING: enable_learning = maybe: true or false",
        "flag --log-level: log_level = loud: one of error",
    ] {
        assert!(all.contains(words), "{words}\n{all}");
    }
}

#[test]
fn a_changed_parameter_shows_in_the_models_version() {
    let plain = Settings::default();
    let changed = Settings::builder()
        .flag("hang.floor_secs", "20")
        .resolve()
        .expect("well-formed");
    assert_eq!(changed.model_version, format!("{}+", plain.model_version));
}
