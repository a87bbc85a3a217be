//! Numbers and lists as the sentences of this crate write them.

/// A relative change in percent, with its sign: "+3.2 %".
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:+.1} %", 100.0 * ratio)
}

/// A share in percent: "62 %".
pub(crate) fn share(ratio: f64) -> String {
    format!("{:.0} %", 100.0 * ratio)
}

/// A duration in the unit that fits: "12 ms", "3.4 s", "90 s".
pub(crate) fn secs(secs: f64) -> String {
    let size = secs.abs();
    if size == 0.0 || size >= 10.0 {
        format!("{secs:.0} s")
    } else if size >= 1.0 {
        format!("{secs:.1} s")
    } else if size >= 0.01 {
        format!("{:.0} ms", secs * 1e3)
    } else {
        format!("{:.2} ms", secs * 1e3)
    }
}

/// "a", "a and b", "a, b and c".
pub(crate) fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(percent(-0.0312), "-3.1 %");
        assert_eq!(share(0.625), "62 %");
        assert_eq!(
            (secs(0.0), secs(0.0031), secs(0.25)),
            ("0 s".into(), "3.10 ms".into(), "250 ms".into())
        );
        assert_eq!((secs(3.44), secs(90.4)), ("3.4 s".into(), "90 s".into()));
    }

    #[test]
    fn lists_end_with_and() {
        assert_eq!(list::<&str>(&[]), "");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
