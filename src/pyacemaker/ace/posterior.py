"""What the labels leave open: the Gaussian posterior of linear coefficients.

Ridge regression is Bayesian linear regression with the prior c ~ N(c⁰, σ²/(λ s²)) and the noise σ of a
weighted row (Bishop, Pattern Recognition and Machine Learning (2006), section 3.3):

    p(c | y) = N(ĉ, σ² (G + λ S)⁻¹),  S = diag(s²).
"""

from dataclasses import dataclass

import numpy as np

from pyacemaker.structures import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Posterior:
    """The distribution of K coefficients after the fit.

    mean: (K,) the fitted coefficients. noise: σ², the mean squared residual of the weighted rows, the ridge's
    share included. known: (k,) the functions that some row knows; the others are not uncertain but unknown:
    they are held at the prior's mean and add no variance. scale: (k,) s. factor: (k, k), whose lower triangle
    is the Cholesky factor of S^(−½) (G + λS) S^(−½).
    """

    mean: FloatArray
    noise: float
    known: IntArray
    scale: FloatArray
    factor: FloatArray

    def variance(self, rows: FloatArray) -> FloatArray:
        """(R,) σ² xᵀ(G + λS)⁻¹x of each prediction x·c, in the prediction's unit squared.

        rows: (K, R), the x as columns, as `Design.rows` gives them (not weighted).
        """
        return np.asarray(self.noise * np.sum(self.whitened(rows) ** 2, axis=0))

    def covariance(self, rows: FloatArray) -> FloatArray:
        """(R, R) covariance of the predictions x·c; rows as in `variance`."""
        whitened = self.whitened(rows)
        return np.asarray(self.noise * (whitened.T @ whitened))

    def sample(self, rng: np.random.Generator, count: int) -> FloatArray:
        """(count, K) coefficient vectors drawn from the distribution."""
        draws = rng.standard_normal((len(self.known), count))
        return np.asarray(self.mean + np.sqrt(self.noise) * self.unwhitened(draws).T)

    def whitened(self, rows: FloatArray) -> FloatArray:
        """(k, R) w = L⁻¹ S^(−½) x: wᵀw = xᵀ (G + λS)⁻¹ x. rows: as in `variance`."""
        from scipy.linalg import solve_triangular

        scaled = np.asarray(rows, dtype=float)[self.known] / self.scale[:, None]
        if not len(self.known):
            return scaled
        return np.asarray(solve_triangular(self.factor, scaled, lower=True, check_finite=False))

    def unwhitened(self, columns: FloatArray) -> FloatArray:
        """(K,) or (K, R) S^(−½) L⁻ᵀ w, zero for the unknown functions: applied to w of x it is (G + λS)⁻¹ x.

        columns: (k,) or (k, R).
        """
        from scipy.linalg import solve_triangular

        found = np.zeros((len(self.mean), *columns.shape[1:]))
        if len(self.known):
            solved = solve_triangular(self.factor, columns, lower=True, trans="T", check_finite=False)
            found[self.known] = (solved.T / self.scale).T
        return found
