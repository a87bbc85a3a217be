use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn problems(flags: &Flags, variables: &[(&str, &str)]) -> String {
    match Resolved::new(flags, &environment(variables)) {
        Err(Error::Settings(problems)) => problems.join("\n"),
        other => panic!("refused, not {other:?}"),
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.toml");
    let text = "interval_secs = 2.0\nlog_file = \"from-file\"\nenable_learning = true\n\
                [serve]\nlisten = \"127.0.0.1:1\"\n[[target]]\nname = \"a\"\nurl = \"http://gpu1:8000/v1\"\n";
    std::fs::write(&path, text).expect("written");
    let flags = Flags {
        config: Some(path),
        listen: Some("127.0.0.1:3".into()),
        targets: vec![TargetFlags {
            url: "b=http://gpu2".into(),
            ..TargetFlags::default()
        }],
        ..Flags::default()
    };
    let variables = environment(&[
        ("VLLM_MONITOR_LISTEN", "127.0.0.1:2"),
        ("VLLM_MONITOR_LOG_FILE", "from-environment"),
        ("VLLM_MONITOR_LEARNING", "false"),
        ("VLLM_MONITOR_MITIGATION_THRESHOLD", "0.7"),
        ("HOME", "/home/u"),
    ]);
    let resolved = Resolved::new(&flags, &variables).expect("they fit together");
    assert_eq!(resolved.listen, Some("127.0.0.1:3".parse().expect("an address")));
    assert_eq!(resolved.journal, Destination::File("from-environment".into()));
    assert_eq!(resolved.interval, Duration::from_secs(2));
    assert!(!resolved.core.features.enable_learning && resolved.core.features.enable_monitoring);
    let names: Vec<&str> = resolved.targets.iter().map(|target| &*target.name).collect();
    assert_eq!(names, ["a", "b"]);
    let printed = resolved.print();
    for line in [
        "serve.listen = 127.0.0.1:3  # flag --listen",
        "log_file = from-environment  # environment VLLM_MONITOR_LOG_FILE",
        "target.b = http://gpu2:80  # flag --url",
        "enable_learning = false  # environment VLLM_MONITOR_LEARNING",
        "state_file = /home/u/.local/state/vllm-monitor/state  # default",
        "mitigation_threshold = 0.7  # environment VLLM_MONITOR_MITIGATION_THRESHOLD",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let url = |url: &str| TargetFlags {
        url: url.into(),
        ..TargetFlags::default()
    };
    let flags = Flags {
        listen: Some("nowhere".into()),
        interval_secs: Some(0.0),
        token_file: Some("/no/such/token".into()),
        webhooks: vec!["ftp://x".into()],
        targets: vec![
            url("http://a"),
            url("http://a"),
            url("gopher://a"),
            TargetFlags {
                canary_secs: Some(1.0),
                ..url("http://b")
            },
        ],
        core: vec![("mitigation_threshold".into(), "2".into())],
        ..Flags::default()
    };
    let said = problems(&flags, &[("VLLM_MONITOR_LISSTEN", "x")]);
    for words in [
        "listen = nowhere",
        "interval_secs = 0",
        "/no/such/token",
        "ftp://x",
        "two targets `http://a:80`",
        "gopher",
        "canary_secs = 1",
        "mitigation_threshold = 2",
        "VLLM_MONITOR_LISSTEN",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn a_port_is_on_loopback_and_off_is_off() {
    let with = |listen: &str| {
        let flags = Flags {
            listen: Some(listen.into()),
            state_file: Some("off".into()),
            ..Flags::default()
        };
        let resolved = Resolved::new(&flags, &[]).expect("possible");
        assert_eq!(resolved.state_file, None);
        resolved.listen
    };
    assert_eq!(
        with("7000").map(|a| a.to_string()).as_deref(),
        Some("127.0.0.1:7000")
    );
    assert_eq!(with("off"), None);
}

#[test]
fn a_file_that_is_not_there_or_has_a_wrong_key_is_named() {
    let missing = Flags {
        config: Some("/no/such/file.toml".into()),
        ..Flags::default()
    };
    assert!(problems(&missing, &[]).contains("/no/such/file.toml"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.toml");
    std::fs::write(&path, "enable_everything = true").expect("written");
    let flags = Flags {
        config: Some(path),
        ..Flags::default()
    };
    let said = problems(&flags, &[]);
    assert!(
        said.contains("enable_everything") && said.contains("m.toml"),
        "{said}"
    );
}

#[test]
fn variables_of_the_python_package_are_no_mistake() {
    let flags = Flags::default();
    let said = problems(
        &flags,
        &[
            ("VLLM_MONITOR_TOKEN", "secret"),
            ("VLLM_MONITOR_NODES", "a,b"),
            ("VLLM_MONITOR_OUTPUT_DIR", "/tmp"),
            ("VLLM_MONITOR_TOKENS", "x"),
        ],
    );
    assert!(
        said.contains("VLLM_MONITOR_TOKENS: not a variable") && !said.contains("secret"),
        "{said}"
    );
}

#[test]
fn the_plugin_folder_comes_from_flag_environment_or_file_in_this_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let sub = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).expect("made");
        text(&path)
    };
    let (by_flag, by_variable, by_file) = (sub("flag"), sub("variable"), sub("file"));
    let config = folder.path().join("m.toml");
    std::fs::write(&config, format!("plugin_folder = {by_file:?}")).expect("written");
    let mut flags = Flags {
        config: Some(config),
        state_file: Some("off".into()),
        plugin_folder: Some(by_flag.clone()),
        ..Flags::default()
    };
    let variable = [("VLLM_MONITOR_PLUGIN_FOLDER".to_owned(), by_variable.clone())];
    let resolved = |flags: &Flags, environment: &[(String, String)]| {
        let resolved = Resolved::new(flags, environment).expect("possible");
        let printed = resolved.print();
        let line = printed.lines().find(|line| line.starts_with("plugin_folder"));
        let line = line.expect("it is printed").to_owned();
        (resolved.plugins.folder.map(text), line)
    };
    let (found, line) = resolved(&flags, &variable);
    assert_eq!(found, Some(by_flag));
    assert!(line.ends_with("# flag --plugin-folder"), "{line}");
    flags.plugin_folder = None;
    let (found, line) = resolved(&flags, &variable);
    assert_eq!(found, Some(by_variable));
    assert!(line.contains("VLLM_MONITOR_PLUGIN_FOLDER"), "{line}");
    let (found, line) = resolved(&flags, &[]);
    assert_eq!(found, Some(by_file));
    assert!(line.contains("m.toml"), "{line}");
    flags.plugin_folder = Some("off".into());
    assert_eq!(resolved(&flags, &variable).0, None);
    flags.plugin_folder = Some("/no/such/folder".into());
    let said = problems(&flags, &[]);
    assert!(
        said.contains("--plugin-folder") && said.contains("/no/such/folder"),
        "{said}"
    );
}
