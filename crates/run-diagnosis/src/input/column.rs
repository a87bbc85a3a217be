//! One value per second, each present or absent.

/// A series with one cell per second.
///
/// A cell without a value was not read in that second. A column without cells was not recorded at all, and says why.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    cells: Vec<Option<f64>>,
    absent_because: Option<String>,
}

impl Column {
    /// A column that was recorded. Values that are not finite count as not read.
    pub fn of(cells: impl IntoIterator<Item = Option<f64>>) -> Self {
        Self {
            cells: cells
                .into_iter()
                .map(|cell| cell.filter(|value| value.is_finite()))
                .collect(),
            absent_because: None,
        }
    }

    /// A column that was recorded in every second.
    ///
    /// ```
    /// use run_diagnosis::input::Column;
    /// let column = Column::full([1.0, f64::NAN]);
    /// assert_eq!((column.at(0), column.at(1), column.at(2)), (Some(1.0), None, None));
    /// ```
    pub fn full(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of(values.into_iter().map(Some))
    }

    /// A column that was not recorded, and why: "no GPU was found".
    pub fn absent(because: impl Into<String>) -> Self {
        Self {
            cells: Vec::new(),
            absent_because: Some(because.into()),
        }
    }

    /// The value of a second, if it was read.
    pub fn at(&self, second: usize) -> Option<f64> {
        self.cells.get(second).copied().flatten()
    }

    /// Why there are no cells; `None` for a column that was recorded.
    pub fn absent_because(&self) -> Option<&str> {
        self.absent_because.as_deref()
    }

    /// The values of some seconds that were read.
    pub fn values(&self, seconds: std::ops::Range<usize>) -> impl Iterator<Item = f64> + '_ {
        seconds.filter_map(|second| self.at(second))
    }
}

impl Default for Column {
    fn default() -> Self {
        Self::absent("not recorded")
    }
}
