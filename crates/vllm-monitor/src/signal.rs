//! A value that is fresh, stale, or absent with a reason.

use std::ops::{Add, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

/// One value of a snapshot. Predictors never see a number whose age they do not know.
///
/// ```
/// use vllm_monitor::{Absence, Signal};
///
/// let used = Signal::fresh(600.0, 0.2);
/// let capacity = Signal::stale(1000.0, 45.0);
/// let usage = used / capacity;
/// assert_eq!(usage, Signal::Stale { value: 0.6, age_secs: 45.0 });
/// assert_eq!(usage.if_fresh(), None);
///
/// let unknown: Signal<f64> = Signal::Absent(Absence::NotExported);
/// assert_eq!(used / unknown, Signal::Absent(Absence::NotExported));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal<T> {
    /// Known, and young enough to act on.
    Fresh {
        /// The value.
        value: T,
        /// Time since it was observed, in seconds.
        age_secs: f64,
    },
    /// Known once, but too long ago to say how things are now.
    Stale {
        /// The last value.
        value: T,
        /// Time since it was observed, in seconds.
        age_secs: f64,
    },
    /// Not known.
    Absent(Absence),
}

/// Why a value is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Absence {
    /// Nothing that would report it is connected.
    NoSource,
    /// The source is connected and has not answered yet.
    NotYetObserved,
    /// The source answers, but does not export this value.
    NotExported,
    /// The device or kernel does not offer it.
    NotSupported,
    /// It takes two observations, and there is only one.
    NeedsTwoSamples,
    /// What was observed is not a number that this value can have.
    Invalid,
}

impl Absence {
    /// In words, for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSource => "no source for it is connected",
            Self::NotYetObserved => "the source has not answered yet",
            Self::NotExported => "the server does not export it",
            Self::NotSupported => "the device does not offer it",
            Self::NeedsTwoSamples => "it takes two samples",
            Self::Invalid => "what was observed is not a valid value",
        }
    }
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self::Absent(Absence::NoSource)
    }
}

impl<T> Signal<T> {
    /// A value observed `age_secs` ago.
    pub fn fresh(value: T, age_secs: f64) -> Self {
        Self::Fresh { value, age_secs }
    }

    /// A value observed too long ago.
    pub fn stale(value: T, age_secs: f64) -> Self {
        Self::Stale { value, age_secs }
    }

    /// Fresh up to `longest_secs`, stale beyond.
    pub fn aged(value: T, age_secs: f64, longest_secs: f64) -> Self {
        if age_secs <= longest_secs {
            Self::Fresh { value, age_secs }
        } else {
            Self::Stale { value, age_secs }
        }
    }

    /// Whether it is fresh.
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh { .. })
    }

    /// Whether there is no value at all.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }

    /// Seconds since it was observed; `None` if it is absent.
    pub fn age_secs(&self) -> Option<f64> {
        match self {
            Self::Fresh { age_secs, .. } | Self::Stale { age_secs, .. } => Some(*age_secs),
            Self::Absent(_) => None,
        }
    }

    /// The value if it is fresh.
    pub fn if_fresh(self) -> Option<T> {
        match self {
            Self::Fresh { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The last value, however old.
    pub fn last(self) -> Option<T> {
        match self {
            Self::Fresh { value, .. } | Self::Stale { value, .. } => Some(value),
            Self::Absent(_) => None,
        }
    }

    /// A borrowed value of the same age.
    pub fn as_ref(&self) -> Signal<&T> {
        match self {
            Self::Fresh { value, age_secs } => Signal::Fresh {
                value,
                age_secs: *age_secs,
            },
            Self::Stale { value, age_secs } => Signal::Stale {
                value,
                age_secs: *age_secs,
            },
            Self::Absent(why) => Signal::Absent(*why),
        }
    }

    /// The value changed, the age kept.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Signal<U> {
        match self {
            Self::Fresh { value, age_secs } => Signal::Fresh {
                value: f(value),
                age_secs,
            },
            Self::Stale { value, age_secs } => Signal::Stale {
                value: f(value),
                age_secs,
            },
            Self::Absent(why) => Signal::Absent(why),
        }
    }

    /// Combines two. The result is as good as the worse of the two: absent if either is, stale if either is, and as
    /// old as the older.
    pub fn with<U, V>(self, other: Signal<U>, f: impl FnOnce(T, U) -> V) -> Signal<V> {
        let fresh = self.is_fresh() && other.is_fresh();
        let age_secs = self
            .age_secs()
            .unwrap_or(0.0)
            .max(other.age_secs().unwrap_or(0.0));
        match (self, other) {
            (Self::Absent(why), _) | (_, Signal::Absent(why)) => Signal::Absent(why),
            (
                Self::Fresh { value: a, .. } | Self::Stale { value: a, .. },
                Signal::Fresh { value: b, .. } | Signal::Stale { value: b, .. },
            ) => {
                let value = f(a, b);
                if fresh {
                    Signal::Fresh { value, age_secs }
                } else {
                    Signal::Stale { value, age_secs }
                }
            }
        }
    }

    /// This one, or the other if this one is absent.
    pub fn or(self, other: Self) -> Self {
        if self.is_absent() && !other.is_absent() {
            other
        } else {
            self
        }
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $op:tt),*) => {$(
        impl $trait for Signal<f64> {
            type Output = Self;

            fn $method(self, other: Self) -> Self {
                self.with(other, |a, b| a $op b)
            }
        }
    )*};
}

arithmetic!(Add add +, Sub sub -, Mul mul *, Div div /);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signals() -> impl Strategy<Value = Signal<f64>> {
        prop_oneof![
            (-1e6..1e6_f64, 0.0..10.0_f64).prop_map(|(v, a)| Signal::fresh(v, a)),
            (-1e6..1e6_f64, 10.0..1e4_f64).prop_map(|(v, a)| Signal::stale(v, a)),
            Just(Signal::Absent(Absence::NotExported)),
            Just(Signal::Absent(Absence::NoSource)),
        ]
    }

    proptest! {
        #[test]
        fn arithmetic_is_as_good_as_its_worst_input(a in signals(), b in signals()) {
            let sum = a + b;
            prop_assert_eq!(sum.is_fresh(), a.is_fresh() && b.is_fresh());
            prop_assert_eq!(sum.is_absent(), a.is_absent() || b.is_absent());
            if let (Some(age), Some(x), Some(y)) = (sum.age_secs(), a.age_secs(), b.age_secs()) {
                prop_assert_eq!(age, x.max(y));
            }
        }

        #[test]
        fn reads_back_from_json(a in signals()) {
            let text = serde_json::to_string(&a).expect("a signal is plain data");
            let back: Signal<f64> = serde_json::from_str(&text).expect("it reads back");
            prop_assert_eq!(back, a);
        }
    }

    #[test]
    fn the_other_stands_in_only_for_what_is_absent() {
        let (fresh, stale, absent) = (
            Signal::fresh(1.0, 0.1),
            Signal::stale(2.0, 99.0),
            Signal::Absent(Absence::NotExported),
        );
        assert_eq!(absent.or(stale), stale);
        assert_eq!(stale.or(fresh), stale);
        assert_eq!(absent.or(Signal::Absent(Absence::NoSource)), absent);
    }
}
