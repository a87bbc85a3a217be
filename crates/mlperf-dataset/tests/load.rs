//! Datasets in every format give the same prompts; a pickle that wants to call anything is refused before it does.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::path::{Path, PathBuf};

use mlperf_dataset::{Columns, Dataset, DatasetError, Prompt};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn load(name: &str) -> Vec<Prompt> {
    Dataset::load(&data(name), &Columns::default())
        .unwrap_or_else(|e| panic!("{name}: {e}"))
        .prompts
}

fn load_bytes(extension: &str, bytes: &[u8], columns: &Columns) -> Result<Vec<Prompt>, DatasetError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("set.{extension}"));
    std::fs::write(&path, bytes).unwrap();
    Dataset::load(&path, columns).map(|d| d.prompts)
}

fn fails(extension: &str, bytes: &[u8]) -> String {
    load_bytes(extension, bytes, &Columns::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn every_format_gives_the_same_values() {
    let expected = load("llama2.json");
    assert_eq!(expected.len(), 3);
    assert_eq!(expected[0].token_ids, [1, 518, 25580]);
    assert_eq!(expected[2].token_ids, [1, 518, 25580, 29962, 70002, 255, 256]);
    assert_eq!(expected[1].text.as_deref(), Some("<s>[INST] naïve café [/INST]"));
    assert_eq!(expected[2].reference.as_deref(), Some("日本語 🙂\n\"quoted\""));
    assert_eq!(
        expected[1].reference_ids.as_deref(),
        Some([29871, 1, 2].as_slice())
    );
    for name in [
        "llama2_columns.json",
        "llama2.jsonl",
        "llama2.csv",
        "llama2.parquet",
    ] {
        assert_eq!(load(name), expected, "{name}");
    }
}

#[test]
fn pickles_of_every_pandas_give_the_same_values() {
    let llama2 = load("llama2.json");
    let deepseek = load("deepseek.json");
    assert_eq!(deepseek[0].text.as_deref(), Some("What is 1+1?"));
    assert_eq!(deepseek[1].part.as_deref(), Some("gpqa"));
    assert_eq!(
        (deepseek[1].reference.as_deref(), deepseek[0].token_ids.len()),
        (None, 0)
    );
    for pandas in ["1.1", "1.3", "1.5", "2.3", "3.1"] {
        for kind in ["p2", "p4", "p5", "odd"] {
            let name = format!("llama2_pandas{pandas}_{kind}.pkl");
            // The odd one's rows were picked as 2, 1, 0 out of the reversed table followed by the table.
            assert_eq!(load(&name), llama2, "{name}");
        }
        let name = format!("deepseek_pandas{pandas}.pkl");
        assert_eq!(load(&name), deepseek, "{name}");
    }
}

#[test]
fn columns_can_be_named() {
    let columns = Columns {
        input: Some("system_prompt".to_owned()),
        input_ids: Some("tok_output".to_owned()),
        output: Some("origin".to_owned()),
    };
    for name in [
        "llama2.json",
        "llama2.csv",
        "llama2.parquet",
        "llama2_pandas1.5_p4.pkl",
    ] {
        let prompts = Dataset::load(&data(name), &columns).unwrap().prompts;
        let first = &prompts[0];
        assert_eq!(first.token_ids, [29871, 0, 2], "{name}");
        assert_eq!(
            (first.text.as_deref(), first.reference.as_deref()),
            (Some("You are kind."), Some("flan"))
        );
    }
    let columns = Columns {
        output: Some("nope".to_owned()),
        ..Columns::default()
    };
    let error = Dataset::load(&data("llama2_pandas2.3_p5.pkl"), &columns)
        .unwrap_err()
        .to_string();
    for told in [
        "llama2_pandas2.3_p5.pkl",
        "nope",
        "--output-column",
        "tok_input_length",
    ] {
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn wrong_cells_are_named() {
    for (extension, text, told) in [
        (
            "json",
            r#"[{"tok_input":[1]},{"tok_input":[1,-5]}]"#,
            vec!["row 2", "tok_input", "-5"],
        ),
        (
            "json",
            r#"[{"tok_input":[1]},{"input":"x"}]"#,
            vec!["row 2", "tok_input", "nothing"],
        ),
        (
            "json",
            "[{\"tok_input\":[1]},\n{\"tok_input\":[1,}]",
            vec!["line 2", "column 17"],
        ),
        (
            "json",
            r#"{"tok_input":[[1],[2]],"input":["a"]}"#,
            vec!["input has 1 rows of 2"],
        ),
        ("json", "[]", vec!["no rows"]),
        ("json", "7", vec!["list of objects"]),
        (
            "json",
            r#"[{"a":1,"b":2}]"#,
            vec!["a, b", "--input-ids-column", "--input-column"],
        ),
        (
            "jsonl",
            "{\"tok_input\":[1]}\n\n{\"tok_input\":[]}\n",
            vec!["line 3", "an empty list"],
        ),
        (
            "jsonl",
            "{\"tok_input\":[1]}\n{\"tok_input\":1 2}\n",
            vec!["line 2, column"],
        ),
        (
            "csv",
            "tok_input,output\n\"[1, 2]\",a\n\"1;2\",b\n",
            vec!["line 3", "tok_input", "1;2"],
        ),
        ("csv", "tok_input,output\n1\n", vec!["line: 2", "2 fields"]),
        (
            "csv",
            "input\n\"a\nb\"\n\"\"\n",
            vec!["line 4", "column input", "nothing"],
        ),
        ("parquet", "PAR1 but not really PAR1", vec!["set.parquet"]),
        ("txt", "", vec![".json", ".pkl"]),
        ("pkl", "\u{1f}", vec!["not a pickle"]),
    ] {
        let error = fails(extension, text.as_bytes());
        for part in told {
            assert!(error.contains(part), "{text}: {part}: {error}");
        }
    }
    assert!(fails("pkl", b"\x1f\x8b\x08").contains("gunzip"));
    let missing = Dataset::load(Path::new("no/such.json"), &Columns::default())
        .unwrap_err()
        .to_string();
    assert!(missing.contains("no/such.json"), "{missing}");
}

/// A text of protocol 4.
fn short(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x8c, u8::try_from(text.len()).unwrap()];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn nothing_is_ever_called() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("called");
    let command = format!("touch {}", mark.display());
    let named = |module: &str, name: &str| [short(module), short(name), vec![0x93]].concat();
    let call = |module: &str, name: &str| {
        [
            vec![0x80, 4],
            named(module, name),
            short(&command),
            vec![0x85, b'R', b'.'],
        ]
        .concat()
    };
    let mut attacks = Vec::new();
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("__builtin__", "apply"),
        ("functools", "partial"),
        ("copyreg", "_reconstructor"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy", "load"),
        ("pandas", "eval"),
        ("pandas", "read_pickle"),
        ("pandas.core.frame", "DataFrame.query"),
        ("pandas.io.common", "get_handle"),
        ("_codecs", "lookup"),
    ] {
        attacks.push((call(module, name), format!("{module}.{name}")));
    }
    // By a name in the older form, as a class, and hidden in the state of something that is allowed.
    let text = format!("\u{0}cposix\nsystem\nX{}", "");
    let mut old = vec![0x80, 2];
    old.extend_from_slice(&text.as_bytes()[1..text.len() - 1]);
    old.extend_from_slice(&[b'X', u8::try_from(command.len()).unwrap(), 0, 0, 0]);
    old.extend_from_slice(command.as_bytes());
    old.extend_from_slice(&[0x85, b'R', b'.']);
    attacks.push((old, "posix.system".to_owned()));
    let new = [
        vec![0x80, 4],
        named("subprocess", "Popen"),
        short(&command),
        vec![0x85, 0x81, b'.'],
    ]
    .concat();
    attacks.push((new, "subprocess.Popen".to_owned()));
    let inside = [
        vec![0x80, 4],
        named("pandas.core.frame", "DataFrame"),
        vec![b')', 0x81, b'}'],
        short("_mgr"),
        named("os", "system"),
        short(&command),
        vec![0x85, b'R', b's', b'b', b'.'],
    ];
    attacks.push((inside.concat(), "os.system".to_owned()));
    for (pickle, name) in attacks {
        let error = load_bytes("pkl", &pickle, &Columns::default()).unwrap_err();
        assert!(
            matches!(&error, DatasetError::Refused { name: told, .. } if *told == name),
            "{name}: {error}"
        );
        assert!(!mark.exists());
    }
    // Ways to build objects without a name on the stack, and to reach outside the file.
    for instructions in [
        b"(Vtouch x\nios\nsystem\n.".as_slice(),
        b"(cos\nsystem\nVx\no.",
        b"Vx\nQ.",
        b"\x82\x01.",
        b"\x97.",
        b"I1\n.",
    ] {
        let pickle = [b"\x80\x02", instructions].concat();
        let error = fails("pkl", &pickle);
        assert!(error.contains("refused"), "{error}");
    }
}
