//! One series as evidence is made from it: values that may be missing, read over a stretch of periods.
//!
//! Nothing here judges. What was not measured is [`None`] and never zero, so that a rule cannot take silence for calm.

use std::ops::Range;

/// A series, or nothing where it was not measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Option<Vec<f64>>);

impl Line {
    /// The series of a record; an empty one was not measured.
    pub(crate) fn new(values: Vec<f64>) -> Line {
        Line((!values.is_empty()).then_some(values))
    }

    pub(crate) fn is_measured(&self) -> bool {
        self.0.is_some()
    }

    /// The value of a period, where there is one.
    pub(crate) fn at(&self, index: usize) -> Option<f64> {
        let value = self.0.as_ref()?.get(index).copied()?;
        value.is_finite().then_some(value)
    }

    fn over(&self, range: Range<usize>) -> impl Iterator<Item = f64> + '_ {
        let values = self.0.as_deref().unwrap_or_default();
        let end = range.end.min(values.len());
        let values = &values[range.start.min(end)..end];
        values.iter().copied().filter(|value| value.is_finite())
    }

    /// The mean of a stretch; nothing without a value.
    pub(crate) fn mean(&self, range: Range<usize>) -> Option<f64> {
        let (sum, count) = self
            .over(range)
            .fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
        (count > 0).then(|| sum / count as f64)
    }

    /// The sum of a stretch; nothing without a value.
    pub(crate) fn sum(&self, range: Range<usize>) -> Option<f64> {
        let mut values = self.over(range).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The smallest value of a stretch.
    pub(crate) fn least(&self, range: Range<usize>) -> Option<f64> {
        self.over(range).reduce(f64::min)
    }

    /// The largest value of a stretch.
    pub(crate) fn most(&self, range: Range<usize>) -> Option<f64> {
        self.over(range).reduce(f64::max)
    }

    /// The last value of a stretch.
    pub(crate) fn last(&self, range: Range<usize>) -> Option<f64> {
        self.over(range).last()
    }

    /// Values at these periods, in order of size.
    fn sorted(&self, periods: &[usize]) -> Vec<f64> {
        let mut values: Vec<f64> = periods.iter().filter_map(|index| self.at(*index)).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    /// The median over these periods.
    pub(crate) fn median(&self, periods: &[usize]) -> Option<f64> {
        self.quantile(periods, 0.5)
    }

    /// A quantile over these periods: the smallest value that so large a share of them does not exceed.
    pub(crate) fn quantile(&self, periods: &[usize], q: f64) -> Option<f64> {
        let values = self.sorted(periods);
        let at = ((values.len() as f64 * q).ceil() as usize).saturating_sub(1);
        values.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_not_zero() {
        let line = Line::new(vec![f64::NAN, 4.0, f64::NAN, 2.0]);
        assert_eq!(line.at(0), None);
        assert_eq!(line.mean(0..4), Some(3.0));
        assert_eq!(line.last(0..3), Some(4.0));
        assert_eq!(line.sum(2..3), None);
        assert_eq!(Line::new(Vec::new()).mean(0..9), None);
        assert_eq!(line.median(&[0, 1, 3]), Some(2.0));
        assert_eq!(line.quantile(&[1, 3], 1.0), Some(4.0));
    }
}
