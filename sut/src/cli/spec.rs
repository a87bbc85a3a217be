//! Values that are a text on the command line, and a text or a table in the configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use vllm_metrics::config::Secret;
use vllm_metrics::derive::CustomMetric;
use vllm_metrics::{EndpointConfig, SelectionConfig};

/// A value with a short form and a long one.
trait Spec: FromStr<Err = String> {
    /// The long form.
    type Table: DeserializeOwned;
    /// Description of both forms.
    const FORMS: &'static str;

    fn from_table(table: Self::Table) -> Result<Self, String>;
}

struct SpecVisitor<S>(PhantomData<S>);

impl<'de, S: Spec> Visitor<'de> for SpecVisitor<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::FORMS)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<S, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S, A::Error> {
        let table = S::Table::deserialize(MapAccessDeserializer::new(map))?;
        S::from_table(table).map_err(serde::de::Error::custom)
    }
}

/// A metrics endpoint: `URL[,LABEL=VALUE…]`, or a table.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSpec(pub EndpointConfig);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct EndpointTable {
    url: String,
    labels: BTreeMap<String, String>,
    authorization: Option<Secret>,
    timeout: Option<f64>,
    interval: Option<f64>,
    full_interval: Option<f64>,
    partial: Option<Vec<String>>,
    include: Vec<String>,
    exclude: Vec<String>,
    expect: Vec<String>,
    server_version: Option<String>,
    ca_file: Option<PathBuf>,
    insecure_skip_verify: Option<bool>,
}

impl FromStr for EndpointSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mut endpoint = EndpointConfig::new(parts.next().unwrap_or_default());
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!(
                    "{part:?} is not LABEL=VALUE; a URL with a comma in it goes into the configuration file, as a table"
                ));
            };
            endpoint = endpoint.label(name, value);
        }
        Ok(Self(endpoint))
    }
}

impl Spec for EndpointSpec {
    type Table = EndpointTable;
    const FORMS: &'static str = "\"URL,LABEL=VALUE\" or a table with the key url";

    fn from_table(table: EndpointTable) -> Result<Self, String> {
        Ok(Self(EndpointConfig {
            labels: table.labels,
            authorization: table.authorization,
            timeout_secs: table.timeout,
            interval_secs: table.interval,
            full_interval_secs: table.full_interval,
            partial: table.partial,
            select: SelectionConfig {
                include: table.include,
                exclude: table.exclude,
            },
            expect: table.expect,
            server_version: table.server_version,
            ca_file: table.ca_file,
            insecure_skip_verify: table.insecure_skip_verify,
            ..EndpointConfig::new(table.url)
        }))
    }
}

/// A system to send samples to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Receiver {
    /// URL of the system.
    pub url: String,
    /// Label `job`, if it differs from `--metrics-job`.
    pub job: Option<String>,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Value of the `Authorization` header.
    pub authorization: Option<Secret>,
    /// Longest time of one attempt, in seconds.
    pub timeout: Option<f64>,
}

/// A system to send samples to: a URL, or a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReceiverSpec(pub Receiver);

impl FromStr for ReceiverSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(Receiver {
            url: text.to_owned(),
            ..Receiver::default()
        }))
    }
}

impl Spec for ReceiverSpec {
    type Table = Receiver;
    const FORMS: &'static str = "a URL or a table with the key url";

    fn from_table(table: Receiver) -> Result<Self, String> {
        Ok(Self(table))
    }
}

/// A custom metric: `NAME=EXPRESSION`, or a table.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomSpec(pub CustomMetric);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomTable {
    name: String,
    expression: String,
    #[serde(default)]
    unit: String,
}

impl FromStr for CustomSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, expression) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not NAME=EXPRESSION"))?;
        CustomMetric::new(name.trim(), expression, "")
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl Spec for CustomSpec {
    type Table = CustomTable;
    const FORMS: &'static str = "\"NAME=EXPRESSION\" or a table with the keys name and expression";

    fn from_table(table: CustomTable) -> Result<Self, String> {
        CustomMetric::new(table.name, &table.expression, table.unit)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl<'de> Deserialize<'de> for EndpointSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for ReceiverSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for CustomSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor(PhantomData))
    }
}
