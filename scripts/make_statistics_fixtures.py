#!/usr/bin/env python3
"""Writes crates/run-statistics/tests/data: what numpy, scipy and others compute for the functions of run-statistics.

    pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0 scikit-learn==1.9.1 pymannkendall==1.4.3 mpmath==1.4.1
    python make_statistics_fixtures.py OUT_DIR

Inputs are synthetic, from fixed seeds. Where no library has a function (batch means, MSER-5, Pettitt's test,
sectioning, the energy statistic) it is written out again here, straight from its definition and without the running
sums of the Rust code.
"""
import sys

if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pymannkendall
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import acf


def autoregression(random, n, phi, level=0.0, deviation=1.0):
    noise = random.standard_normal(n)
    values = np.empty(n)
    values[0] = noise[0]
    for i in range(1, n):
        values[i] = phi * values[i - 1] + math.sqrt(1 - phi * phi) * noise[i]
    return level + deviation * values


def t_upper_tail(t, degrees):
    x = degrees / (degrees + t * t)
    return mpmath.betainc(degrees / 2, mpmath.mpf(1) / 2, 0, x, regularized=True) / 2


def t_cdf(t, degrees):
    tail = t_upper_tail(mpmath.mpf(abs(t)), mpmath.mpf(degrees))
    return float(1 - tail if t > 0 else tail)


def t_quantile(p, degrees):
    if p == 0.5:
        return 0.0
    # 1 - p is exact for a double p at this precision.
    tail, degrees = mpmath.mpf(p) if p < 0.5 else 1 - mpmath.mpf(p), mpmath.mpf(degrees)
    start = mpmath.log(abs(stats.t.ppf(float(tail), float(degrees))))
    root = mpmath.findroot(lambda u: mpmath.log(t_upper_tail(mpmath.exp(u), degrees) / tail), start)
    return float(mpmath.exp(root) if p > 0.5 else -mpmath.exp(root))


def distributions():
    # Forty digits: scipy's own t quantiles are right to about ten.
    mpmath.mp.dps = 40
    degrees = [0.5, 1, 2, 3, 4.5, 7, 9, 10, 30, 31, 99, 120, 1000, 12345.5, 1e6]
    probabilities = [1e-12, 1e-6, 0.0005, 0.005, 0.025, 0.1, 0.25, 0.5, 0.6, 0.9, 0.975, 0.995, 0.9995]
    points = [-40.0, -5.0, -1.3, -0.2, 0.0, 0.01, 0.7, 1.96, 3.5, 12.0]
    z = [-38.0, -31.0, -12.0, -5.0, -1.0, 0.0, 0.5, 1.96, 6.0]
    return {
        "t_quantile": [[d, p, t_quantile(p, d)] for d in degrees for p in probabilities],
        "t_cdf": [[d, t, t_cdf(t, d)] for d in degrees for t in points],
        "normal_cdf": [[x, mpmath.ncdf(x)] for x in z],
        "normal_ln_cdf": [[x, mpmath.log(mpmath.ncdf(x))] for x in z],
        "normal_quantile": [[p, stats.norm.ppf(p)] for p in probabilities],
    }


def batch_means(x):
    k = 32
    while True:
        means = x[len(x) % k:].reshape(k, -1).mean(axis=1)
        r = acf(means, nlags=1, fft=False)[1] + 1 / k
        if r * math.sqrt(k) >= 0.84 and k > 8:
            k //= 2
            continue
        bounded = min(max(r, 0.0), 0.8)
        error = math.sqrt((1 + bounded) / (1 - bounded) * means.var(ddof=1) / k)
        return {"mean": means.mean(), "standard_error": error, "batches": k, "batch_correlation": r,
                "effective_size": x[len(x) % k:].var(ddof=1) / error**2}


def sectioned(x, q):
    used = x[len(x) % 10:]
    whole = np.quantile(used, q)
    parts = [np.quantile(part, q) for part in used.reshape(10, -1)]
    return [whole, math.sqrt(sum((p - whole) ** 2 for p in parts) / 90)]


def mser5(x):
    means = x[: len(x) // 5 * 5].reshape(-1, 5).mean(axis=1)
    n = len(means)
    scores = [means[d:].var() / (n - d) for d in range(n // 2 + 1)]
    return 5 * int(np.argmin(scores))


def pettitt(x):
    n = len(x)
    u = [sum(np.sign(x[i] - x[j]) for i in range(t) for j in range(t, n)) for t in range(1, n)]
    k = max(abs(v) for v in u)
    at = next(t for t, v in enumerate(u, 1) if abs(v) == k)
    return [at, k, min(1.0, 2 * math.exp(-6 * k * k / (n**3 + n**2)))]


def correlation_time(x):
    rho = acf(x, nlags=len(x) - 1, fft=False)
    pairs = [rho[i] + rho[i + 1] for i in range(0, len(rho) - 1, 2)]
    kept = []
    for pair in pairs:
        if pair <= 0:
            break
        kept.append(min(pair, kept[-1]) if kept else pair)
    return max(1.0, 2 * sum(kept) - 1)


def series():
    random = np.random.default_rng(20)
    cases = []
    for phi, n in [(0.0, 200), (0.3, 500), (0.9, 333), (0.97, 640), (-0.4, 160)]:
        x = np.round(autoregression(random, n, phi, 10.0, 2.0), 6)
        cases.append({
            "values": x.tolist(),
            "mean": x.mean(), "variance": x.var(ddof=1),
            "autocorrelation": acf(x, nlags=5, fft=False).tolist(),
            "correlation_time": correlation_time(x),
            "von_neumann": float((np.diff(x) ** 2).sum() / ((x - x.mean()) ** 2).sum()),
            "batch_means": batch_means(x),
            "sectioned": {str(q): sectioned(x, q) for q in (0.5, 0.9)},
            "linear": [[q, np.quantile(x, q)] for q in (0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0)],
            # C++ truncates the product of a count and a double.
            "loadgen": [[q, np.sort(x)[int(len(x) * q)]] for q in (0.5, 0.9, 0.95, 0.97, 0.99, 0.999)],
            "mser5": mser5(x),
        })
    return cases


def short_series():
    random = np.random.default_rng(21)
    cases = []
    for i in range(12):
        n = [12, 20, 20, 35][i % 4]
        x = autoregression(random, n, [0.0, 0.5, 0.8][i % 3], 100.0, 4.0)
        x += [0, 0.6, 0, -0.5][i % 4] * np.arange(n)
        x[n // 2:] += [0, 0, 9, 0][i % 4]
        x = np.round(x, 0 if i % 5 == 0 else 4)
        plain = pymannkendall.original_test(x)
        corrected = pymannkendall.hamed_rao_modification_test(x)
        cases.append({
            "values": x.tolist(),
            "pettitt": [float(v) for v in pettitt(x)],
            "s": float(plain.s), "plain_variance": float(plain.var_s),
            "variance": float(corrected.var_s), "z": float(corrected.z), "p": float(corrected.p),
            "sen_slope": float(stats.theilslopes(x).slope),
        })
    return cases


def two_samples():
    random = np.random.default_rng(22)
    cases = []
    for n, m, shift in [(10, 10, 0.0), (15, 40, 0.4), (200, 150, 0.1), (60, 60, 1.0), (4, 5, 0.5)]:
        a = np.round(random.gamma(4.0, 1.0, n), 5)
        b = np.round(random.gamma(4.0, 1.0, m) + shift, 5)
        exact = stats.ks_2samp(a, b, method="exact")
        welch = stats.ttest_ind(b, a, equal_var=False)
        interval = welch.confidence_interval(0.95)
        cases.append({"a": a.tolist(), "b": b.tolist(), "distance": exact.statistic, "exact_p": exact.pvalue,
                      "welch_p": welch.pvalue, "welch_df": float(welch.df), "welch_interval": list(interval)})
    a = np.round(random.gamma(9.0, 1.0, 12), 4)
    b = np.round(a * np.exp(random.normal(0.05, 0.02, 12)), 4)
    paired = stats.ttest_rel(np.log(b), np.log(a))
    return {"cases": cases, "kolmogorov": [[x, stats.kstwobign.sf(x)] for x in (0.3, 0.7, 0.99, 1.01, 1.36, 2.5)],
            "paired": {"a": a.tolist(), "b": b.tolist(), "mean": float(np.log(b / a).mean()), "p": paired.pvalue,
                       "interval": list(paired.confidence_interval(0.95))}}


def families():
    random = np.random.default_rng(23)
    cases = [np.round(random.uniform(0, 0.1, n), 6) for n in (1, 4, 9)] + [np.array([0.04, 0.04, 0.9, 0.001])]
    return [{"p": p.tolist(), "holm": multipletests(p, method="holm")[1].tolist(),
             "bh": multipletests(p, method="fdr_bh")[1].tolist()} for p in cases]


def fits():
    random = np.random.default_rng(24)
    cases = []
    for n, scales in [(30, [1.0, 1.0]), (200, [1.0, 4000.0, 3e5])]:
        x = np.column_stack([np.ones(n)] + [s * random.uniform(0.5, 1.5, n) for s in scales[1:]])
        y = x @ (np.arange(1, len(scales) + 1) / np.array(scales)) + random.normal(0, 0.1, n)
        coefficients, *_ = np.linalg.lstsq(x, y, rcond=None)
        residuals = y - x @ coefficients
        variance = residuals @ residuals / (n - len(scales))
        covariance = variance * np.linalg.inv(x.T @ x)
        # Recursive least squares with forgetting is a weighted fit with a prior that is forgotten too.
        forgetting, prior = 0.98, 1e4
        weights = forgetting ** np.arange(n - 1, -1, -1)
        normal = (x * weights[:, None]).T @ x + np.eye(len(scales)) * forgetting**n / prior
        cases.append({"x": x.ravel().tolist(), "columns": len(scales), "y": y.tolist(),
                      "coefficients": coefficients.tolist(), "covariance": covariance.ravel().tolist(),
                      "residual_variance": variance, "r_squared": 1 - residuals @ residuals / ((y - y.mean()) ** 2).sum(),
                      "forgetting": forgetting, "prior": prior,
                      "recursive": np.linalg.solve(normal, (x * weights[:, None]).T @ y).tolist()})
    return cases


def first_passage():
    rows = []
    for distance, drift, variance in [(1.0, 0.5, 0.2), (10.0, 2.0, 1.0), (0.1, 0.01, 1e-4), (3.0, 0.1, 4.0)]:
        mean, shape = distance / drift, distance**2 / variance
        law = stats.invgauss(mean / shape, scale=shape)
        for p in (0.01, 0.1, 0.5, 0.9, 0.99):
            time = law.ppf(p)
            rows.append([distance, drift, variance, float(time), float(law.cdf(time))])
    return rows


def probabilities():
    random = np.random.default_rng(25)
    forecasts = np.round(random.uniform(0, 1, 300), 4)
    outcomes = random.uniform(0, 1, 300) < forecasts**1.5
    bins = np.minimum((forecasts * 10).astype(int), 9)
    error = sum(abs(forecasts[bins == b].mean() - outcomes[bins == b].mean()) * (bins == b).mean() for b in range(10)
                if (bins == b).any())
    points = np.linspace(-0.1, 1.1, 25)
    curve = IsotonicRegression(out_of_bounds="clip").fit(forecasts, outcomes.astype(float))
    return {"forecasts": forecasts.tolist(), "outcomes": outcomes.tolist(),
            "brier": brier_score_loss(outcomes, forecasts), "calibration_error": error,
            "isotonic": [[p, v] for p, v in zip(points.tolist(), curve.predict(points).tolist())]}


def energy_split(x, shortest=3):
    def distance(a, b):
        return np.abs(np.subtract.outer(a, b))

    def statistic(at):
        a, b = x[:at], x[at:]
        within = [d.sum() / (len(d) * (len(d) - 1)) for d in (distance(a, a), distance(b, b))]
        return len(a) * len(b) / len(x) * (2 * distance(a, b).mean() - sum(within))

    at = max(range(shortest, len(x) - shortest + 1), key=statistic)
    return at, stats.ttest_ind(x[at:], x[:at], equal_var=False).pvalue


def histories():
    random = np.random.default_rng(26)
    cases = []
    for n, at, change in [(25, 15, 1.05), (40, 8, 0.93), (30, 20, 1.2)]:
        x = np.round(100 * np.where(np.arange(n) < at, 1.0, change) + random.normal(0, 0.8, n), 4)
        found, p = energy_split(x)
        cases.append({"values": x.tolist(), "at": found, "p": p})
    return cases


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    makers = [distributions, series, short_series, two_samples, families, fits, first_passage, probabilities, histories]
    for maker in makers:
        text = json.dumps(maker(), default=float, separators=(",", ":"))
        (out / f"{maker.__name__}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
