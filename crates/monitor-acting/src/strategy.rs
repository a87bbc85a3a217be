//! The trait for actions, and the registry for custom ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::arm::{ArmSpec, Catalogue, NOTHING, StepAction};
use crate::error::{Error, Result};
use crate::{Action, Plan, Situation};

/// An action that may be taken against a failure.
///
/// A strategy plans and does no I/O. Actuators execute plans, so the same guardrails, verification and audit
/// apply to every strategy.
///
/// ```
/// use std::borrow::Cow;
/// use monitor_acting::{Action, Plan, Situation};
/// use monitor_acting::arm::ArmSpec;
/// use monitor_acting::strategy::MitigationStrategy;
///
/// #[derive(Debug)]
/// struct CallAPerson(ArmSpec);
///
/// impl MitigationStrategy for CallAPerson {
///     fn spec(&self) -> &ArmSpec {
///         &self.0
///     }
///
///     fn plan(&self, failure: &str, _: &Situation) -> Result<Plan, Cow<'static, str>> {
///         let against = self.0.against.get(failure).ok_or("not against this failure")?;
///         Ok(Plan {
///             actions: vec![Action::Own { payload: "page".into() }],
///             revert: Vec::new(),
///             ttl_secs: None,
///             effect: against.effect.clone(),
///         })
///     }
/// }
/// ```
pub trait MitigationStrategy: std::fmt::Debug + Send + Sync {
    /// Its requirements, effects, costs and promises.
    fn spec(&self) -> &ArmSpec;

    /// What to do now against this failure.
    ///
    /// # Errors
    /// Why its precondition does not hold in this situation.
    fn plan(&self, failure: &str, situation: &Situation) -> std::result::Result<Plan, Cow<'static, str>>;
}

/// A strategy described only by data.
#[derive(Debug, Clone, PartialEq)]
pub struct DataStrategy {
    spec: ArmSpec,
}

impl MitigationStrategy for DataStrategy {
    fn spec(&self) -> &ArmSpec {
        &self.spec
    }

    fn plan(&self, failure: &str, situation: &Situation) -> std::result::Result<Plan, Cow<'static, str>> {
        let against = self
            .spec
            .against
            .get(failure)
            .ok_or(Cow::Borrowed("it is not against this failure"))?;
        let ttl_secs = self.spec.ttl_secs.unwrap_or(0.0);
        let plan = |steps: &[StepAction]| {
            steps
                .iter()
                .map(|step| step.plan(|name| situation.signal(name), ttl_secs))
                .collect::<std::result::Result<Vec<_>, _>>()
        };
        let actions = plan(&self.spec.steps)?;
        let mut revert: Vec<Action> = actions
            .iter()
            .rev()
            .filter_map(|action| match action {
                Action::SetLever { lever, .. } => Some(Action::ResetLever { lever: lever.clone() }),
                _ => None,
            })
            .collect();
        revert.extend(plan(&self.spec.revert)?);
        Ok(Plan {
            actions,
            revert,
            ttl_secs: self.spec.ttl_secs,
            effect: against.effect.clone(),
        })
    }
}

/// All strategies by name.
#[derive(Debug, Clone)]
pub struct Strategies {
    catalogue: Catalogue,
    by_name: BTreeMap<Arc<str>, Arc<dyn MitigationStrategy>>,
}

impl Default for Strategies {
    fn default() -> Self {
        Self::new(Catalogue::built_in())
    }
}

impl Strategies {
    /// The strategies of a catalogue.
    pub fn new(catalogue: Catalogue) -> Self {
        let by_name = catalogue
            .arms
            .iter()
            .map(|spec| {
                let strategy: Arc<dyn MitigationStrategy> = Arc::new(DataStrategy { spec: spec.clone() });
                (Arc::clone(&spec.name), strategy)
            })
            .collect();
        Self { catalogue, by_name }
    }

    /// Adds a custom strategy. Its failures may be new ones; their rewards are measured over
    /// [`crate::ActorConfig::default_window_secs`].
    ///
    /// # Errors
    /// [`Error::Strategy`] if the name is empty, taken, or not that of its spec.
    pub fn register(&mut self, name: &str, strategy: Arc<dyn MitigationStrategy>) -> Result<()> {
        let wrong = |problem: &str| Error::Strategy {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        if name.is_empty() || name.len() > 100 {
            return Err(wrong("a name has 1 to 100 bytes"));
        }
        if strategy.spec().name.as_ref() != name {
            return Err(wrong("its spec has another name"));
        }
        if self.by_name.contains_key(name) {
            return Err(wrong("the name is taken"));
        }
        self.by_name.insert(name.into(), strategy);
        Ok(())
    }

    /// One by name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn MitigationStrategy>> {
        self.by_name.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn MitigationStrategy>> {
        self.by_name.values()
    }

    /// Those against a failure, except doing nothing.
    pub fn against<'a>(&'a self, failure: &'a str) -> impl Iterator<Item = &'a Arc<dyn MitigationStrategy>> {
        self.iter().filter(move |strategy| {
            let spec = strategy.spec();
            spec.name.as_ref() != NOTHING && spec.against.contains_key(failure)
        })
    }

    /// The catalogue of the built-in ones.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
}
