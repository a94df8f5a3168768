//! A number from several runs: its mean and how far off it may be.
//!
//! The interval is Student's, at 95%: runs are few, and independent because each has its own seed.

/// A mean over runs with its 95% confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean; `NaN` when no run has a value.
    pub mean: f64,
    /// Half the width of the interval; zero when there is but one run.
    pub half: f64,
}

/// Two-sided 95% quantiles of Student's distribution for 1 to 30 degrees of freedom (Fisher & Yates, table III).
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Estimate {
    /// The estimate from one value a run; runs without a value (`NaN`) do not count.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Estimate {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() < 2 {
            return Estimate { mean, half: 0.0 };
        }
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        let quantile = STUDENT.get(values.len() - 2).copied().unwrap_or(1.96);
        Estimate {
            mean,
            half: quantile * error,
        }
    }

    /// The number in words, by the wording of its unit, with `±` where several runs differ.
    pub(crate) fn said(self, wording: fn(f64) -> String) -> String {
        if self.half > 0.0 && self.mean.is_finite() {
            format!("{} ±{}", wording(self.mean), wording(self.half))
        } else {
            wording(self.mean)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let estimate = Estimate::of([1.0, 2.0, 3.0, f64::NAN]);
        assert!((estimate.mean - 2.0).abs() < 1e-12);
        assert!((estimate.half - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn one_run_has_no_interval() {
        assert_eq!(Estimate::of([5.0]).half.to_bits(), 0.0_f64.to_bits());
        assert!(Estimate::of([]).mean.is_nan());
    }
}
