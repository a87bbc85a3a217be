//! Peak rates of GPUs, and the ridge: how many tokens in a step make arithmetic take as long as reading the weights.

use serde::Deserialize;

use super::rules::TableError;
use crate::input::{Experts, MathFormat, RunFacts};

const BUILT_IN: &str = include_str!("gpus.toml");

/// One GPU's peak rates, dense.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// What sentences call it.
    pub name: String,
    /// Words of the driver's name for it, in lower case.
    pub words: Vec<String>,
    /// Operations per second in bfloat16.
    pub bf16_flops: f64,
    /// Operations per second in 8-bit floating point, where the GPU has it.
    pub fp8_flops: Option<f64>,
    /// Bytes per second from its memory.
    pub memory_bytes_per_sec: f64,
}

impl Gpu {
    /// Operations per second in a format, if the GPU has it.
    pub fn flops(&self, format: MathFormat) -> Option<f64> {
        match format {
            MathFormat::Bf16 => Some(self.bf16_flops),
            MathFormat::Fp8 => self.fp8_flops,
        }
    }

    /// Tokens in a step at which reading the weights and the arithmetic take equal time.
    ///
    /// A token costs two operations per weight, and each weight is read once a step: peak operations × bytes per
    /// weight / (2 × peak bytes). In a mixture of experts a step reads the weights of all experts that any of its
    /// tokens uses, while a token computes with its own few, which multiplies the ridge by their ratio. `None` if the
    /// GPU lacks the format.
    ///
    /// ```
    /// use run_diagnosis::bound::GpuTable;
    /// use run_diagnosis::input::MathFormat;
    /// let table = GpuTable::built_in();
    /// let h100 = table.find("NVIDIA H100 80GB HBM3").unwrap();
    /// assert_eq!(h100.ridge_tokens(MathFormat::Bf16, 2.0, None).unwrap().round(), 295.0);
    /// // 4-bit weights, 16-bit arithmetic.
    /// assert_eq!(h100.ridge_tokens(MathFormat::Bf16, 0.5, None).unwrap().round(), 74.0);
    /// ```
    pub fn ridge_tokens(
        &self,
        format: MathFormat,
        weight_bytes: f64,
        experts: Option<Experts>,
    ) -> Option<f64> {
        let dense = self.flops(format)? * weight_bytes / (2.0 * self.memory_bytes_per_sec);
        Some(dense * experts.map_or(1.0, |experts| experts.touched_per_step / experts.per_token))
    }
}

/// The known GPUs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuTable {
    #[serde(rename = "gpu")]
    gpus: Vec<Gpu>,
}

impl GpuTable {
    /// The table of this crate.
    pub fn built_in() -> Self {
        Self::from_toml(BUILT_IN).expect("the built-in GPU table is tested to be readable")
    }

    /// A table of the same form as `gpus.toml`.
    ///
    /// # Errors
    /// For text that is no such table; the message names line and key.
    pub fn from_toml(text: &str) -> Result<Self, TableError> {
        Ok(toml::from_str(text)?)
    }

    /// The first GPU of which all words occur in the driver's name.
    pub fn find(&self, driver_name: &str) -> Option<&Gpu> {
        let name = driver_name.to_lowercase();
        // Whole words: "L40" is no "L4", and "GH200" no "H200".
        let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).collect();
        self.gpus
            .iter()
            .find(|gpu| gpu.words.iter().all(|word| words.contains(&word.as_str())))
    }

    /// The ridge for a run, or why there is none.
    pub(super) fn ridge_tokens(&self, facts: &RunFacts) -> Result<f64, String> {
        let gpu = self.of_run(facts)?;
        let format = facts
            .math
            .ok_or("the number format of the arithmetic is not known")?;
        let weight_bytes = facts.weight_bytes.ok_or("the bytes per weight are not known")?;
        gpu.ridge_tokens(format, weight_bytes, facts.experts)
            .ok_or_else(|| {
                format!(
                    "{} has no peak rate for that number format in the table",
                    gpu.name
                )
            })
    }

    pub(super) fn of_run(&self, facts: &RunFacts) -> Result<&Gpu, String> {
        let name = facts.gpu_name.as_deref().ok_or("the GPU's name is not known")?;
        self.find(name)
            .ok_or_else(|| format!("the GPU {name} is not in the table of peak rates"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_the_driver_gives_them_find_their_entry() {
        let table = GpuTable::built_in();
        for (driver, name, ridge) in [
            ("NVIDIA A100-SXM4-80GB", "A100 80 GB SXM", 153.0),
            ("NVIDIA A100 80GB PCIe", "A100 80 GB PCIe", 161.0),
            ("NVIDIA A100-SXM4-40GB", "A100 40 GB", 201.0),
            ("NVIDIA H100 80GB HBM3", "H100 SXM", 295.0),
            ("NVIDIA H100 PCIe", "H100 PCIe", 378.0),
            ("NVIDIA H100 NVL", "H100 NVL", 214.0),
            ("NVIDIA H200", "H200", 206.0),
            ("NVIDIA B200", "B200", 281.0),
            ("NVIDIA L4", "L4", 403.0),
            ("NVIDIA L40S", "L40S", 419.0),
        ] {
            let gpu = table
                .find(driver)
                .unwrap_or_else(|| panic!("{driver} is not found"));
            assert_eq!(gpu.name, name);
            let found = gpu.ridge_tokens(MathFormat::Bf16, 2.0, None).unwrap();
            assert!((found - ridge).abs() < 1.0, "{driver}: {found}");
        }
        for unknown in ["NVIDIA GeForce RTX 3090", "NVIDIA L40", "NVIDIA GH200 480GB"] {
            assert_eq!(table.find(unknown), None);
        }
    }

    #[test]
    fn eight_bit_arithmetic_needs_a_gpu_that_has_it() {
        let table = GpuTable::built_in();
        let ridge = |name| table.find(name).unwrap().ridge_tokens(MathFormat::Fp8, 1.0, None);
        assert_eq!(ridge("NVIDIA H100 80GB HBM3").unwrap().round(), 295.0);
        assert_eq!(ridge("NVIDIA A100-SXM4-80GB"), None);
    }

    #[test]
    fn experts_raise_the_ridge() {
        let table = GpuTable::built_in();
        let experts = Experts {
            touched_per_step: 64.0,
            per_token: 8.0,
        };
        let h200 = table.find("NVIDIA H200").unwrap();
        let dense = h200.ridge_tokens(MathFormat::Bf16, 2.0, None).unwrap();
        assert_eq!(
            h200.ridge_tokens(MathFormat::Bf16, 2.0, Some(experts)),
            Some(8.0 * dense)
        );
    }

    #[test]
    fn a_missing_fact_is_named() {
        let table = GpuTable::built_in();
        let mut facts = RunFacts::new("run", crate::input::Scenario::Server);
        assert_eq!(
            table.ridge_tokens(&facts).unwrap_err(),
            "the GPU's name is not known"
        );
        facts.gpu_name = Some("Some GPU".into());
        assert!(table.ridge_tokens(&facts).unwrap_err().contains("Some GPU"));
    }
}
