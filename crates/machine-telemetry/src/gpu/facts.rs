//! Constants of a GPU, published once: an info series, the constant gauges, and an event.

use std::collections::BTreeMap;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enum_wrappers::device::TemperatureThreshold::{Shutdown, Slowdown};

use super::calls::Call;
use super::device::{Gpu, hertz};
use super::output::Output;
use super::series::{self, Slot};
use run_model::EventKind;
use run_model::{MetricType, Sample, SampleBatch, SeriesDef, Severity};

impl Gpu<'_> {
    /// Publishes the constants: one info series and the constant gauges.
    pub(crate) fn announce(&mut self, nvml: &Nvml, output: &mut Output<'_>) {
        let start_ns = output.sink.now_ns();
        let device = &self.device;
        let mut values = Vec::new();
        let mut constant = |slot: Slot, value: Option<f64>| values.extend(value.map(|value| (slot.0, value)));
        constant(
            series::MEMORY_TOTAL,
            device.memory_info().ok().map(|memory| memory.total as f64),
        );
        constant(
            series::SM_CLOCK_MAX,
            device.max_clock_info(Clock::SM).ok().map(hertz),
        );
        constant(
            series::MEMORY_CLOCK_MAX,
            device.max_clock_info(Clock::Memory).ok().map(hertz),
        );
        constant(
            series::SLOWDOWN,
            device.temperature_threshold(Slowdown).ok().map(f64::from),
        );
        constant(
            series::SHUTDOWN,
            device.temperature_threshold(Shutdown).ok().map(f64::from),
        );

        let mut facts = BTreeMap::new();
        let mut fact =
            |key: &'static str, value: Option<String>| facts.extend(value.map(|value| (key, value)));
        fact("driver_version", nvml.sys_driver_version().ok());
        fact("nvml_version", nvml.sys_nvml_version().ok());
        fact(
            "cuda_driver_version",
            nvml.sys_cuda_driver_version()
                .ok()
                .map(|v| format!("{}.{}", v / 1000, v % 1000 / 10)),
        );
        fact("pci_bus_id", device.pci_info().ok().map(|pci| pci.bus_id));
        fact("vbios_version", device.vbios_version().ok());
        fact(
            "compute_capability",
            device
                .cuda_compute_capability()
                .ok()
                .map(|c| format!("{}.{}", c.major, c.minor)),
        );
        fact(
            "ecc_enabled",
            device
                .is_ecc_enabled()
                .ok()
                .map(|ecc| ecc.currently_enabled.to_string()),
        );
        fact(
            "persistence_mode",
            device.is_in_persistent_mode().ok().map(|on| on.to_string()),
        );
        fact(
            "mig_enabled",
            device.mig_mode().ok().map(|mode| (mode.current != 0).to_string()),
        );
        fact(
            "pcie_link_generation",
            device
                .current_pcie_link_gen()
                .ok()
                .map(|generation| generation.to_string()),
        );
        fact(
            "pcie_link_width",
            device
                .current_pcie_link_width()
                .ok()
                .map(|width| width.to_string()),
        );
        let info = output.sink.intern(SeriesDef {
            metric_name: "gpu_info".into(),
            labels: self
                .labels(facts.iter().map(|(key, value)| (*key, value.as_str())))
                .into(),
            metric_type: MetricType::Info,
            unit: "".into(),
            source: output.source.clone(),
            endpoint_url: "".into(),
        });
        let mut samples = vec![Sample {
            series: info,
            timestamp_ns: start_ns,
            value: 1.0,
        }];
        for (slot, value) in values {
            samples.push(Sample {
                series: self.id(slot, output),
                timestamp_ns: start_ns,
                value,
            });
        }
        let end_ns = output.sink.now_ns();
        output.sink.samples(SampleBatch {
            start_ns,
            end_ns,
            samples,
            ..SampleBatch::default()
        });
        let attributes = serde_json::json!({
            "gpu": self.identity.index.to_string(), "uuid": self.identity.uuid, "name": self.identity.name,
            "facts": facts,
        });
        let message = format!(
            "GPU {} is {} ({})",
            self.identity.index, self.identity.name, self.identity.uuid
        );
        output.event(EventKind::GpuFound, Severity::Info, message, &attributes);
        self.sample(&[Call::StaticFields], output);
    }
}
