//! Datasets in every format give the same prompts; a pickle that wants to call anything is refused before the
//! call.
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
            // This file's rows were picked as 2, 1, 0 from the reversed table followed by the table.
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
    assert!(fails("pkl", b"\x1f\x8b\x08").contains("cannot be unpacked"));
    let missing = Dataset::load(Path::new("no/such.json"), &Columns::default())
        .unwrap_err()
        .to_string();
    assert!(missing.contains("no/such.json"), "{missing}");
}

/// A text in protocol 4.
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
    // By name in the older form, as a class, and hidden in the state of an allowed object.
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
    // Ways to build objects without a name on the stack, and to read outside the file.
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

/// Files as other tools write them, in `data/tools`; each name states what is special about the file.
#[test]
fn files_of_other_tools_are_read() {
    for (name, rows) in [
        ("bom.json", 6),
        ("bom.jsonl", 6),
        ("lines.json", 6),
        ("nan.json", 2),
        ("floats.json", 2),
        ("surrogate.json", 1),
        ("pandas3_plain.pkl", 6),
        ("proto2.pkl", 6),
        ("stringdtype_pyarrow.pkl", 6),
        ("gzip.parquet", 6),
        ("lz4.parquet", 6),
        ("binary.parquet", 6),
        ("ref_dict.parquet", 6),
        ("part_dict.parquet", 6),
        ("part_plain.parquet", 6),
        ("plain.pkl.gz", 6),
        ("datetime.pkl", 6),
        ("category.pkl", 6),
        ("nullint.pkl", 6),
        ("bigint.pkl", 6),
        ("floatidx.pkl", 6),
    ] {
        let prompts = load(&format!("tools/{name}"));
        assert_eq!(prompts.len(), rows, "{name}");
        assert!(
            prompts.iter().all(|prompt| !prompt.token_ids.is_empty()),
            "{name}"
        );
    }
    let ids: Vec<i32> = load("tools/pandas3_plain.pkl")[1].token_ids.clone();
    assert_eq!(load("tools/plain.pkl.gz")[1].token_ids, ids);
    let part = |name: &str| -> Vec<Option<String>> {
        load(&format!("tools/{name}"))
            .into_iter()
            .map(|prompt| prompt.part)
            .collect()
    };
    assert_eq!(part("part_dict.parquet"), part("part_plain.parquet"));
    assert_eq!(
        part("category.pkl")[..2],
        [Some("aime".to_owned()), Some("gpqa".to_owned())]
    );
}

#[test]
fn what_is_not_read_has_a_way_out() {
    let error = |name: &str| {
        Dataset::load(&data(&format!("tools/{name}")), &Columns::default())
            .unwrap_err()
            .to_string()
    };
    for (name, told) in [
        ("brotli.parquet", "compression=\"zstd\""),
        ("wrapped.json", "orient=\"records\""),
        ("split.json", "orient=\"records\""),
    ] {
        assert!(error(name).contains(told), "{name}: {}", error(name));
    }
}

/// Small files that would exhaust memory, or that once crashed the program.
#[test]
fn hostile_files_are_refused() {
    let refused = |name: &str| {
        Dataset::load(&data(&format!("tools/{name}")), &Columns::default())
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused("zz_bomb_null.parquet").contains("as large as the file"),
        "{}",
        refused("zz_bomb_null.parquet")
    );
    for name in [
        "dtype_multibyte.pkl",
        "hostile_positions_i0.pkl",
        "hostile_positions_of_nothing.pkl",
    ] {
        assert!(refused(name).contains(name));
    }
    for (name, told) in [
        ("hostile_children_2g.parquet", "footer"),
        ("hostile_chunk_size_minus_1.parquet", "footer"),
        ("hostile_dictionary_8mb_packed.parquet", "as large as the file"),
        ("hostile_encoding_7.parquet", "damaged"),
        ("hostile_nested.parquet", "nested"),
        ("hostile_offset_minus_1.parquet", "footer"),
        (
            "hostile_page_size_1073741824.parquet",
            "a page of 1073741824 bytes",
        ),
        ("hostile_rows_9999999.parquet", "states 9999999 rows"),
    ] {
        let error = refused(name);
        assert!(error.contains(name) && error.contains(told), "{error}");
    }
    // 40,000 references to one block cost nothing if they are not followed.
    assert_eq!(load("tools/bomb_slice_blocks.pkl").len(), 2);
}

/// A pickled frame whose 60,000 columns share one name of a megabyte, and one whose text column is one chunk
/// 60,000 times: small files that must not exhaust memory.
#[test]
fn a_pickle_may_not_name_one_thing_without_limit() {
    let text = |text: &str| {
        let mut op = vec![b'X'];
        op.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        op.extend(text.as_bytes());
        op
    };
    let int = |n: i32| {
        let mut op = vec![b'J'];
        op.extend(n.to_le_bytes());
        op
    };
    let name = |module: &str, name: &str| format!("c{module}\n{name}\n").into_bytes();
    let array = |items: Vec<u8>, count: i32| {
        [
            name("numpy.core.multiarray", "_reconstruct"),
            b")R(".to_vec(),
            int(1),
            int(count),
            vec![0x85],
            name("numpy", "dtype"),
            text("O8"),
            vec![0x85, b'R', 0x89],
            items,
            b"tb".to_vec(),
        ]
        .concat()
    };
    let index = |class: Vec<u8>, dict: Vec<u8>| {
        [
            name("pandas.core.indexes.base", "_new_Index"),
            class,
            b"}(".to_vec(),
            dict,
            b"u\x86R".to_vec(),
        ]
        .concat()
    };
    let frame = |values: Vec<u8>, names: Vec<u8>| {
        let rows = [text("start"), int(0), text("stop"), int(1), text("step"), int(1)].concat();
        [
            vec![0x80, 2],
            name("pandas.core.frame", "DataFrame"),
            vec![b')', 0x81, b'}', b'('],
            text("_mgr"),
            name("pandas.core.internals.managers", "BlockManager"),
            b"](".to_vec(),
            name("pandas._libs.internals", "_unpickle_block"),
            values,
            name("builtins", "slice"),
            int(0),
            int(1),
            int(1),
            vec![0x87, b'R'],
            int(2),
            vec![0x87, b'R'],
            b"e](".to_vec(),
            index(
                name("pandas.core.indexes.base", "Index"),
                [text("data"), names].concat(),
            ),
            index(name("pandas.core.indexes.range", "RangeIndex"), rows),
            vec![b'e', 0x86, b'R', b'u', b'b', b'.'],
        ]
        .concat()
    };
    let list = |first: Vec<u8>, count: usize| {
        let again: Vec<u8> = std::iter::repeat_n(b"h\x07", count - 1)
            .flatten()
            .copied()
            .collect();
        [b"](".to_vec(), first, b"q\x07".to_vec(), again, b"e".to_vec()].concat()
    };
    let one_name = |name: &str, count: usize| array(list(text(name), count), i32::try_from(count).unwrap());
    let cells = array([b"](".to_vec(), text("hello"), b"e".to_vec()].concat(), 1);
    // The builder's frames are readable, so a refusal is caused by the size.
    let good = load_bytes(
        "pkl",
        &frame(cells.clone(), one_name("input", 1)),
        &Columns::default(),
    );
    assert_eq!(good.unwrap()[0].text.as_deref(), Some("hello"));
    let long = "x".repeat(1 << 20);
    let error = fails("pkl", &frame(cells, one_name(&long, 60_000)));
    assert!(error.contains("64 times as large"), "{error}");

    let buffer = |bytes: &[u8]| {
        let mut op = vec![0x8e];
        op.extend((bytes.len() as u64).to_le_bytes());
        op.extend(bytes);
        [name("pyarrow.lib", "py_buffer"), op, vec![0x85, b'R']].concat()
    };
    let rows = 50_000;
    let chunk = [
        name("pyarrow.lib", "_restore_array"),
        b"(".to_vec(),
        name("pyarrow.lib", "type_for_alias"),
        text("string"),
        vec![0x85, b'R'],
        int(rows),
        int(0),
        int(0),
        b"](N".to_vec(),
        buffer(&vec![0; 4 * (usize::try_from(rows).unwrap() + 1)]),
        buffer(b""),
        b"eNNt\x85R".to_vec(),
    ]
    .concat();
    let texts = [
        name("pandas.arrays", "ArrowStringArray"),
        vec![b')', 0x81, b'}', b'('],
        text("_pa_array"),
        name("pyarrow.lib", "chunked_array"),
        list(chunk, 60_000),
        vec![0x85, b'R'],
        b"ub".to_vec(),
    ]
    .concat();
    let error = fails("pkl", &frame(texts, one_name("input", 1)));
    assert!(error.contains("64 times as large"), "{error}");
}

#[test]
fn a_packed_file_may_not_grow_without_limit() {
    use std::io::Write as _;
    let packed = |bytes: usize| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"[{\"tok_input\": [1]}]").unwrap();
        packer.write_all(&vec![b' '; bytes]).unwrap();
        packer.finish().unwrap()
    };
    assert!(load_bytes("json.gz", &packed(1000), &Columns::default()).is_ok());
    // Named as if it were not compressed.
    assert!(load_bytes("json", &packed(1000), &Columns::default()).is_ok());
    let error = fails("json.gz", &packed(64 << 20));
    assert!(error.contains("100 times its size"), "{error}");
}
