//! Decides which of the two ways of evaluation an expression needs, and checks what PromQL checks.

use super::ExpressionError;
use super::tree::{Aggregation, Kind, Node};

/// What an expression yields at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Number,
    Vector,
}

/// Whether the expression has a part that exists at an instant only: a window, a comparison, a set operator.
pub(super) fn is_instant(node: &Node) -> bool {
    let mut found = false;
    node.walk(&mut |node| {
        found |= match &node.kind {
            Kind::Window(..) | Kind::HistogramQuantile(..) | Kind::Absent(_) => true,
            Kind::Aggregate(how, grouping, _) => {
                grouping.is_some()
                    || matches!(
                        how,
                        Aggregation::Minimum | Aggregation::Maximum | Aggregation::Count
                    )
            }
            Kind::Binary(operator, grouping, ..) => {
                grouping.is_some() || operator.is_comparison() || operator.is_set()
            }
            _ => false,
        };
    });
    found
}

/// Checks that the expression is PromQL with the same meaning.
pub(super) fn promql(node: &Node) -> Result<Type, ExpressionError> {
    let refuse = |reason: String| {
        Err(ExpressionError {
            column: node.column,
            reason,
        })
    };
    match &node.kind {
        Kind::Number(_) => Ok(Type::Number),
        Kind::Select(_) | Kind::Window(..) => Ok(Type::Vector),
        Kind::Rate(selector) | Kind::Increase(selector) => {
            let function = if matches!(node.kind, Kind::Rate(_)) {
                "rate"
            } else {
                "increase"
            };
            refuse(format!(
                "{function} needs a window here: {function}({}[1m])",
                selector.name
            ))
        }
        Kind::Quantile(q, selector) => refuse(format!(
            "quantile over samples is not available here: histogram_quantile({q}, rate({}_bucket[1m]))",
            selector.name
        )),
        Kind::Negate(inner) => promql(inner),
        Kind::Absent(inner) => vector(inner, "absent"),
        Kind::HistogramQuantile(_, inner) => vector(inner, "histogram_quantile"),
        Kind::Aggregate(Aggregation::Mean, ..) => refuse("mean is not available here: avg".into()),
        Kind::Aggregate(_, _, inner) => vector(inner, "an aggregation"),
        Kind::Binary(operator, grouping, left, right) => {
            let types = (promql(left)?, promql(right)?);
            let both = types == (Type::Vector, Type::Vector);
            if operator.is_set() && !both {
                return refuse("and, or, unless need series on both sides".into());
            }
            if operator.is_comparison() && types == (Type::Number, Type::Number) {
                return refuse("both sides of the comparison are numbers: one must select series".into());
            }
            if grouping.is_some() && !both {
                return refuse("on and ignoring need series on both sides".into());
            }
            Ok(if types == (Type::Number, Type::Number) {
                Type::Number
            } else {
                Type::Vector
            })
        }
    }
}

fn vector(node: &Node, what: &str) -> Result<Type, ExpressionError> {
    match promql(node)? {
        Type::Vector => Ok(Type::Vector),
        Type::Number => Err(ExpressionError {
            column: node.column,
            reason: format!("{what} needs series, not a number"),
        }),
    }
}
