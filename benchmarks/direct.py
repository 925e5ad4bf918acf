"""Speed of DIRECT: 1000 of 100,000 structures with 128 features, in several shapes of feature space.

    python benchmarks/direct.py [--quick]

Each shape is selected from twice, the second time in another order; the share of structures chosen both
times is the overlap, which should be all of them. `coverage` is the largest distance of a structure from the
nearest chosen one, over the same of a random choice (left out where many components are kept). The reference
is DIRECT as one would first write it with scikit-learn: standardise, PCA, one BIRCH tree of a guessed
threshold over all points, k-means for the clusters. One thread. Ends with one JSON object; `seconds` is that
of the slowest shape, `ratio` that of the first shape over the reference.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from numpy.typing import NDArray

from pyacemaker.selection import DirectSelector, FarthestPointSelector
from pyacemaker.selection.direct import principal_components

Features = NDArray[np.float64]
D = 128


def decaying(rows: int, rng: np.random.Generator) -> Features:
    """Principal components of falling weight, like descriptors."""
    weights = 1.0 / np.arange(1, D + 1)
    return rng.standard_normal((rows, D)) * weights @ rng.standard_normal((D, D))


def clustered(rows: int, rng: np.random.Generator) -> Features:
    """Fifty clouds of very different numbers of structures."""
    centres = 3.0 * rng.standard_normal((50, D))
    share = rng.dirichlet(np.full(50, 0.3))
    return centres[rng.choice(50, rows, p=share)] + 0.3 * decaying(rows, rng)


def low_rank(rows: int, rng: np.random.Generator) -> Features:
    """Three dimensions, spread over all columns, of which some are constant."""
    features = rng.standard_normal((rows, 3)) @ rng.standard_normal((3, D))
    features[:, ::7] = 1.0
    return features


def heavy_tailed(rows: int, rng: np.random.Generator) -> Features:
    """A few structures very far from all others."""
    return rng.standard_t(1.5, size=(rows, 8)) @ rng.standard_normal((8, D))


def repeated(rows: int, rng: np.random.Generator) -> Features:
    """Every structure twenty times."""
    few = rng.standard_normal((rows // 20, 20)) @ rng.standard_normal((20, D))
    return np.repeat(few, 20, axis=0)


def isotropic(rows: int, rng: np.random.Generator) -> Features:
    """No structure at all: half of the components are kept."""
    return rng.standard_normal((rows, D))


SHAPES: tuple[Callable[[int, np.random.Generator], Features], ...] = (
    decaying,
    clustered,
    low_rank,
    heavy_tailed,
    repeated,
    isotropic,
)


def timed(action: Callable[[], NDArray[np.int64]]) -> tuple[float, NDArray[np.int64]]:
    """Seconds of processor time, what others do on the machine does not count, and the answer."""
    start = time.process_time()
    answer = action()
    return time.process_time() - start, answer


def uncovered(points: Features, chosen: NDArray[np.int64]) -> float:
    """The largest distance of a point from the nearest chosen one."""
    from scipy.spatial import cKDTree

    return float(cKDTree(points[chosen]).query(points)[0].max())


def measure(features: Features, n: int, rng: np.random.Generator) -> dict[str, float | None]:
    """Seconds, overlap under shuffling, and coverage, for one shape of the feature space."""
    selector = DirectSelector()
    seconds, chosen = timed(lambda: selector.select(features, n, rng))
    order = rng.permutation(len(features))
    shuffled = order[selector.select(features[order], n, rng)]
    same = {features[index].tobytes() for index in chosen} & {features[index].tobytes() for index in shuffled}
    points = principal_components(features)[:: max(1, len(features) // 20_000)]
    everything = principal_components(features)
    by_chance = rng.choice(len(features), n, replace=False)
    spread = [uncovered(np.concatenate([everything[c], points]), np.arange(n)) for c in (chosen, by_chance)]
    return {
        "seconds": round(seconds, 2),
        "chosen": len(set(chosen.tolist())),
        "overlap": len(same) / n,
        "coverage": round(spread[0] / spread[1], 3) if everything.shape[1] <= 20 else None,
    }


def plain_recipe(features: Features, n: int) -> NDArray[np.int64]:
    """DIRECT as one would first write it: scikit-learn on all points, one BIRCH threshold, k-means."""
    from sklearn.cluster import Birch, MiniBatchKMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    pca = PCA().fit(standard := StandardScaler().fit_transform(features))
    kept = pca.explained_variance_ > 1.0
    points = pca.transform(standard)[:, kept] * pca.explained_variance_ratio_[kept]
    Birch(threshold=0.05 * float(np.sqrt(points.var(axis=0).sum())), n_clusters=None).fit(points)
    clusters = MiniBatchKMeans(n, random_state=0, n_init=1, max_iter=10).fit(points)
    return np.unique(clusters.labels_, return_index=True)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the structures")
    options = parser.parse_args()
    rows, n = (20_000, 500) if options.quick else (100_000, 1000)
    DirectSelector().select(np.random.default_rng(0).standard_normal((200, 4)), 20, np.random.default_rng(0))
    print(f"{n} of {rows} structures, {D} features")
    print(f"{'shape':>14} {'seconds':>8} {'chosen':>7} {'overlap':>8} {'coverage':>9}")
    table = []
    for number, shape in enumerate(SHAPES):
        rng = np.random.default_rng(number)
        row = {"shape": shape.__name__, **measure(shape(rows, rng), n, rng)}
        table.append(row)
        coverage = "" if row["coverage"] is None else row["coverage"]
        print(
            f"{row['shape']:>14} {row['seconds']:>8} {row['chosen']:>7} {row['overlap']:>8.0%} {coverage:>9}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    features = decaying(rows, np.random.default_rng(0))
    farthest, _ = timed(lambda: FarthestPointSelector().select(features, n, np.random.default_rng(0)))
    reference, _ = timed(lambda: plain_recipe(features, n))
    print(f"farthest point {farthest:.1f} s, the plain recipe with scikit-learn {reference:.1f} s")
    result = {
        "seconds": max(row["seconds"] for row in table),
        "peak_mb": round(peak, 1),
        "ratio": round(table[0]["seconds"] / reference, 3),
        "reference": "scikit-learn, plain recipe",
        "rows": table,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
