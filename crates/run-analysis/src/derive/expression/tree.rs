//! The tree of an expression.

use std::collections::BTreeSet;

use regex::Regex;
use run_model::labels::Labels;

/// A part of an expression with its start column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) column: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Number(f64),
    Select(Selector),
    /// From sample to sample.
    Rate(Selector),
    /// From sample to sample.
    Increase(Selector),
    /// Over the observations between two samples.
    Quantile(f64, Selector),
    /// Over the samples of the last nanoseconds.
    Window(Over, Selector, i64),
    HistogramQuantile(f64, Box<Node>),
    Aggregate(Aggregation, Option<Grouping>, Box<Node>),
    Absent(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Option<Grouping>, Box<Node>, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
    Unless,
}

/// What a window is reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Rate,
    Increase,
    Delta,
    Average,
    Minimum,
    Maximum,
    Sum,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregation {
    Sum,
    /// Spelled `mean`, which PromQL does not have.
    Mean,
    /// Spelled `avg`.
    Average,
    Minimum,
    Maximum,
    Count,
}

/// `by (…)` and `on (…)`, or `without (…)` and `ignoring (…)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grouping {
    pub(super) keeps: bool,
    pub(super) labels: Vec<String>,
}

impl Grouping {
    /// The labels that count.
    pub(super) fn of(&self, labels: &Labels) -> Labels {
        let named = |name: &String| self.labels.contains(name);
        labels
            .iter()
            .filter(|(name, _)| named(name) == self.keeps)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// Series selected by name and labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) labels: Vec<Matcher>,
}

impl Selector {
    pub(super) fn fits(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|matcher| matcher.fits(labels))
    }
}

/// A condition on one label. A series without the label has an empty value, as in PromQL.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matcher {
    pub(super) name: String,
    pub(super) wanted: Wanted,
    /// `!=` and `!~`.
    pub(super) negated: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Text(String),
    Pattern(Regex),
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Pattern(a), Self::Pattern(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Matcher {
    fn fits(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        let fits = match &self.wanted {
            Wanted::Text(text) => value == text,
            Wanted::Pattern(pattern) => pattern.is_match(value),
        };
        fits != self.negated
    }
}

impl Operator {
    pub(super) fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(
            self,
            Greater | GreaterOrEqual | Less | LessOrEqual | Equal | NotEqual
        )
    }

    pub(super) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Result of an arithmetic operator.
    pub(super) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            _ => f64::from(u8::from(self.holds(left, right))),
        }
    }

    /// Result of a comparison.
    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            _ => false,
        }
    }
}

impl Node {
    /// Calls `visit` for this node and all below it.
    pub(super) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match &self.kind {
            Kind::Aggregate(_, _, inner)
            | Kind::HistogramQuantile(_, inner)
            | Kind::Absent(inner)
            | Kind::Negate(inner) => inner.walk(visit),
            Kind::Binary(_, _, left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            _ => {}
        }
    }

    /// The selector of this node itself.
    pub(super) fn selector(&self) -> Option<&Selector> {
        match &self.kind {
            Kind::Select(selector)
            | Kind::Rate(selector)
            | Kind::Increase(selector)
            | Kind::Quantile(_, selector)
            | Kind::Window(_, selector, _) => Some(selector),
            _ => None,
        }
    }

    /// Names of all selected series.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.walk(&mut |node| names.extend(node.selector().map(|s| s.name.as_str())));
        names
    }

    /// The longest window in nanoseconds; 0 without one.
    pub(super) fn longest_window_ns(&self) -> i64 {
        let mut longest = 0;
        self.walk(&mut |node| {
            if let Kind::Window(_, _, ns) = node.kind {
                longest = longest.max(ns);
            }
        });
        longest
    }
}
