//! Finds the family of a sample: almost always the one declared last, otherwise any declared before.

use std::collections::HashMap;

use crate::kind::{Kind, Role};

/// The `# TYPE` lines read so far.
#[derive(Debug, Default)]
pub(crate) struct Families<'a> {
    current: &'a [u8],
    current_kind: Kind,
    declared: Vec<(&'a [u8], Kind)>,
    /// Built only when a sample does not follow its `# TYPE` line, which never happens on well-formed pages.
    index: HashMap<&'a [u8], Kind>,
    indexed: usize,
}

/// The family of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership<'a> {
    pub(crate) family: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) role: Role,
}

impl<'a> Families<'a> {
    /// Records a `# TYPE` line.
    pub(crate) fn declare(&mut self, family: &'a [u8], kind: Kind) {
        self.current = family;
        self.current_kind = kind;
        self.declared.push((family, kind));
    }

    /// The family of the sample called `name`.
    #[inline]
    pub(crate) fn resolve(&mut self, name: &'a [u8]) -> Membership<'a> {
        if let Some(suffix) = name.strip_prefix(self.current)
            && let Some(role) = Role::resolve(self.current_kind, suffix)
            && !self.current.is_empty()
        {
            return Membership {
                family: self.current,
                kind: self.current_kind,
                role,
            };
        }
        self.resolve_apart(name)
    }

    #[cold]
    fn resolve_apart(&mut self, name: &'a [u8]) -> Membership<'a> {
        // A hash table instead of a list search, so that a hostile page cannot cause quadratic time.
        for &(family, kind) in &self.declared[self.indexed..] {
            self.index.insert(family, kind);
        }
        self.indexed = self.declared.len();

        const SUFFIXES: [&[u8]; 9] = [
            b"",
            b"_bucket",
            b"_sum",
            b"_count",
            b"_total",
            b"_created",
            b"_info",
            b"_gsum",
            b"_gcount",
        ];
        for suffix in SUFFIXES {
            let Some(base) = name.strip_suffix(suffix) else {
                continue;
            };
            let Some((family, &kind)) = self.index.get_key_value(base) else {
                continue;
            };
            if let Some(role) = Role::resolve(kind, suffix) {
                return Membership { family, kind, role };
            }
        }
        Membership {
            family: name,
            kind: Kind::Unknown,
            role: Role::Value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(families: &mut Families<'static>, name: &'static str, family: &str, kind: Kind, role: Role) {
        let found = families.resolve(name.as_bytes());
        assert_eq!(
            found,
            Membership {
                family: family.as_bytes(),
                kind,
                role
            },
            "{name}"
        );
    }

    #[test]
    fn a_histogram_may_be_called_total() {
        let mut f = Families::default();
        f.declare(b"iteration_tokens_total", Kind::Histogram);
        check(
            &mut f,
            "iteration_tokens_total_bucket",
            "iteration_tokens_total",
            Kind::Histogram,
            Role::Bucket,
        );
        check(
            &mut f,
            "iteration_tokens_total_count",
            "iteration_tokens_total",
            Kind::Histogram,
            Role::Count,
        );
        f.declare(b"iteration_tokens_total_created", Kind::Gauge);
        check(
            &mut f,
            "iteration_tokens_total_created",
            "iteration_tokens_total_created",
            Kind::Gauge,
            Role::Value,
        );
    }

    #[test]
    fn samples_apart_from_their_type_line_find_it() {
        let mut f = Families::default();
        f.declare(b"a", Kind::Histogram);
        f.declare(b"b", Kind::Counter);
        check(&mut f, "a_sum", "a", Kind::Histogram, Role::Sum);
        check(&mut f, "b", "b", Kind::Counter, Role::Value);
        check(&mut f, "b_total", "b", Kind::Counter, Role::Total);
        check(&mut f, "a", "a", Kind::Unknown, Role::Value);
        check(&mut f, "c", "c", Kind::Unknown, Role::Value);
        f.declare(b"c", Kind::Gauge);
        f.declare(b"d", Kind::Summary);
        check(&mut f, "c", "c", Kind::Gauge, Role::Value);
        check(&mut f, "d", "d", Kind::Summary, Role::Quantile);
    }
}
