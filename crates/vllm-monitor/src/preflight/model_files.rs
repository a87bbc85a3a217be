//! Parses a model's files: `config.json`, the index of its weights, and the headers of its safetensors files. Reading
//! is behind a trait.

use std::io;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The files of a model folder.
pub trait ModelFiles {
    /// Names and sizes of the files in the folder.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// The first `bytes` of a file, or all of it if it is shorter.
    fn read(&self, name: &str, bytes: usize) -> io::Result<Vec<u8>>;
}

/// What a model folder holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelFacts {
    /// The folder.
    pub path: String,
    /// `config.json`, if it can be understood.
    pub config: Option<ModelConfig>,
    /// Bytes of all tensors, from the headers; `None` without safetensors files.
    pub weight_bytes: Option<f64>,
    /// Files with weights.
    pub weight_files: usize,
    /// The largest of them, in bytes.
    pub largest_file_bytes: f64,
    /// Files that the index names and that are not there.
    pub missing_files: Vec<String>,
    /// Files that are cut short or not what they should be, with what is wrong.
    pub broken_files: Vec<String>,
}

/// A header is never longer in practice; the format allows no more than this.
const LONGEST_HEADER: u64 = 100_000_000;

/// Index of a model whose weights are in several files.
const INDEX: &str = "model.safetensors.index.json";

impl ModelFacts {
    /// Looks at a folder.
    ///
    /// # Errors
    /// [`Error::Model`] if the folder cannot be listed. Files that cannot be read are facts, not errors.
    pub fn gather(path: &str, files: &dyn ModelFiles) -> Result<Self> {
        let listed = files.list().map_err(|e| Error::Model {
            file: path.to_owned(),
            problem: e.to_string(),
        })?;
        let mut facts = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        facts.config = files
            .read("config.json", 16 << 20)
            .ok()
            .and_then(|bytes| ModelConfig::parse(&bytes).ok());
        if let Ok(bytes) = files.read(INDEX, 256 << 20) {
            for name in index_files(&bytes) {
                if !listed.iter().any(|(known, _)| *known == name) {
                    facts.missing_files.push(name);
                }
            }
        }
        for (name, size) in listed.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
            facts.weight_files += 1;
            facts.largest_file_bytes = facts.largest_file_bytes.max(*size as f64);
            let header = files.read(name, 8).map_err(|e| e.to_string()).and_then(|start| {
                let length = SafetensorsHeader::length(&start)?;
                let bytes = files.read(name, 8 + length as usize).map_err(|e| e.to_string())?;
                SafetensorsHeader::parse(&bytes)
            });
            match header {
                Ok(header) if header.file_bytes > *size => facts.broken_files.push(format!(
                    "{name} has {size} bytes and should have {}",
                    header.file_bytes
                )),
                Ok(header) => {
                    *facts.weight_bytes.get_or_insert(0.0) += header.tensor_bytes as f64;
                }
                Err(problem) => facts.broken_files.push(format!("{name}: {problem}")),
            }
        }
        Ok(facts)
    }
}

/// Names of the files that an index names.
fn index_files(bytes: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let Ok(index) = serde_json::from_slice::<Index>(bytes) else {
        return Vec::new();
    };
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The header of a safetensors file.
///
/// ```
/// use vllm_monitor::preflight::SafetensorsHeader;
///
/// let json = br#"{"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
/// let mut file = (json.len() as u64).to_le_bytes().to_vec();
/// file.extend_from_slice(json);
/// let header = SafetensorsHeader::parse(&file).unwrap();
/// assert_eq!((header.tensors, header.parameters, header.tensor_bytes), (1, 6, 12));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafetensorsHeader {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements in all of them.
    pub parameters: u64,
    /// Bytes of all of them.
    pub tensor_bytes: u64,
    /// Bytes that the whole file must have.
    pub file_bytes: u64,
}

impl SafetensorsHeader {
    fn length(start: &[u8]) -> Result<u64, String> {
        let length: [u8; 8] = start
            .get(..8)
            .and_then(|b| b.try_into().ok())
            .ok_or("it is shorter than its header's length")?;
        let length = u64::from_le_bytes(length);
        if length == 0 || length > LONGEST_HEADER {
            return Err(format!(
                "its header would have {length} bytes: not a safetensors file"
            ));
        }
        Ok(length)
    }

    /// Reads a header from the beginning of a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Tensor {
            shape: Vec<u64>,
            data_offsets: (u64, u64),
        }
        let length = Self::length(bytes)?;
        let json = bytes
            .get(8..8 + length as usize)
            .ok_or("it ends within its header")?;
        let entries: serde_json::Map<String, Value> =
            serde_json::from_slice(json).map_err(|e| format!("its header is not JSON: {e}"))?;
        let mut header = Self {
            tensors: 0,
            parameters: 0,
            tensor_bytes: 0,
            file_bytes: 8 + length,
        };
        let mut end = 0;
        for (name, entry) in entries {
            if name == "__metadata__" {
                continue;
            }
            let tensor: Tensor = serde_json::from_value(entry)
                .map_err(|e| format!("tensor `{name}` is not described: {e}"))?;
            let (from, to) = tensor.data_offsets;
            let size = to
                .checked_sub(from)
                .ok_or_else(|| format!("tensor `{name}` ends before it begins"))?;
            header.tensors += 1;
            header.tensor_bytes += size;
            header.parameters = header.parameters.saturating_add(tensor.shape.iter().product());
            end = end.max(to);
        }
        header.file_bytes += end;
        Ok(header)
    }
}

/// What `config.json` says, as far as memory needs it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelConfig {
    /// `model_type`.
    pub model_type: String,
    /// Layers.
    pub layers: Option<f64>,
    /// Bytes of keys and values that one token takes in one layer at 1 byte per element, over all heads.
    pub kv_elements_per_layer: Option<f64>,
    /// Heads that keys and values are split into; `None` where they cannot be split over GPUs.
    pub kv_heads: Option<f64>,
    /// Longest sequence.
    pub max_position_embeddings: Option<f64>,
    /// Bytes per element of the weights' type as configured.
    pub dtype_bytes: Option<f64>,
    /// Some layers keep less than the whole sequence, so the estimate is an upper bound.
    pub has_windows: bool,
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |problem: String| Error::Model {
            file: "config.json".to_owned(),
            problem,
        };
        let root: Value = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        let root = root
            .as_object()
            .ok_or_else(|| wrong("not a JSON object".to_owned()))?;
        // Models that also see or hear keep their language part in an object of its own.
        let text = ["text_config", "language_config", "llm_config"]
            .iter()
            .find_map(|key| root.get(*key).and_then(Value::as_object))
            .unwrap_or(root);
        let number = |key: &str| {
            text.get(key)
                .or(root.get(key))
                .and_then(Value::as_f64)
                .filter(|n| *n > 0.0)
        };
        let heads = number("num_attention_heads");
        let head_dim = number("head_dim").or_else(|| Some(number("hidden_size")? / heads?));
        // Latent attention keeps one compressed vector and one part with positions for all heads together.
        let latent = number("kv_lora_rank").map(|rank| rank + number("qk_rope_head_dim").unwrap_or(0.0));
        let kv_heads = number("num_key_value_heads").or(heads);
        let kv_elements = latent.or_else(|| Some(2.0 * kv_heads? * head_dim?));
        let dtype = ["dtype", "torch_dtype"]
            .iter()
            .find_map(|key| text.get(*key).or(root.get(*key)).and_then(Value::as_str));
        Ok(Self {
            model_type: root
                .get("model_type")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            layers: number("num_hidden_layers"),
            kv_elements_per_layer: kv_elements,
            kv_heads: if latent.is_some() { None } else { kv_heads },
            max_position_embeddings: number("max_position_embeddings"),
            dtype_bytes: dtype.and_then(dtype_bytes),
            has_windows: text.contains_key("layer_types") || number("sliding_window").is_some(),
        })
    }
}

/// Bytes per element of a type by its name in `config.json` or on the command line.
pub(super) fn dtype_bytes(name: &str) -> Option<f64> {
    match name {
        "float32" | "float" => Some(4.0),
        "bfloat16" | "float16" | "half" => Some(2.0),
        "fp8" | "fp8_e4m3" | "fp8_e5m2" | "fp8_inc" | "int8" => Some(1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Folder(BTreeMap<&'static str, Vec<u8>>);

    impl ModelFiles for Folder {
        fn list(&self) -> io::Result<Vec<(String, u64)>> {
            Ok(self
                .0
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64))
                .collect())
        }

        fn read(&self, name: &str, bytes: usize) -> io::Result<Vec<u8>> {
            let file = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(file[..file.len().min(bytes)].to_vec())
        }
    }

    fn safetensors(data: usize) -> Vec<u8> {
        let json = format!(
            r#"{{"__metadata__":{{"format":"pt"}},"w":{{"dtype":"F16","shape":[{}],"data_offsets":[0,{data}]}}}}"#,
            data / 2
        );
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(json.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    const LLAMA: &str = r#"{"model_type":"llama","num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,
        "hidden_size":4096,"max_position_embeddings":131072,"torch_dtype":"bfloat16"}"#;

    #[test]
    fn a_complete_folder() {
        let index = r#"{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}"#;
        let files = Folder(BTreeMap::from([
            ("config.json", LLAMA.into()),
            (INDEX, index.into()),
            ("one.safetensors", safetensors(100)),
            ("two.safetensors", safetensors(60)),
        ]));
        let facts = ModelFacts::gather("/m", &files).expect("it can be listed");
        assert_eq!((facts.weight_bytes, facts.weight_files), (Some(160.0), 2));
        assert!(
            facts.missing_files.is_empty() && facts.broken_files.is_empty(),
            "{facts:?}"
        );
        let config = facts.config.expect("it is understood");
        assert_eq!(config.kv_elements_per_layer, Some(2048.0));
    }

    #[test]
    fn cut_missing_and_foreign_files_are_facts() {
        let index = r#"{"weight_map":{"a":"one.safetensors","b":"gone.safetensors"}}"#;
        let mut cut = safetensors(100);
        cut.truncate(cut.len() - 1);
        let files = Folder(BTreeMap::from([
            (INDEX, index.into()),
            ("one.safetensors", cut),
            (
                "pointer.safetensors",
                b"version https://git-lfs.github.com/spec/v1".to_vec(),
            ),
            ("tiny.safetensors", vec![1, 2]),
        ]));
        let facts = ModelFacts::gather("/m", &files).expect("it can be listed");
        assert_eq!(facts.missing_files, ["gone.safetensors"]);
        assert_eq!(facts.broken_files.len(), 3, "{:?}", facts.broken_files);
        assert_eq!((facts.config, facts.weight_bytes), (None, None));
    }

    #[test]
    fn every_cut_of_a_header_is_an_error_and_no_panic() {
        let file = safetensors(10);
        for length in 0..file.len() - 10 {
            assert!(SafetensorsHeader::parse(&file[..length]).is_err());
        }
    }

    #[test]
    fn nested_and_latent_configurations() {
        let nested = br#"{"model_type":"x","text_config":{"num_hidden_layers":10,"num_attention_heads":8,"hidden_size":512}}"#;
        let config = ModelConfig::parse(nested).expect("JSON");
        assert_eq!(
            (config.layers, config.kv_elements_per_layer),
            (Some(10.0), Some(1024.0))
        );
        let latent = br#"{"model_type":"deepseek_v3","num_hidden_layers":61,"num_attention_heads":128,"kv_lora_rank":512,"qk_rope_head_dim":64}"#;
        let config = ModelConfig::parse(latent).expect("JSON");
        assert_eq!(
            (config.kv_elements_per_layer, config.kv_heads),
            (Some(576.0), None)
        );
        assert!(ModelConfig::parse(b"[]").is_err());
    }
}
