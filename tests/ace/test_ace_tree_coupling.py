"""Tree couplings: the same space as chains, the standard names, the readers' order."""

from itertools import combinations_with_replacement

import numpy as np
import pytest

from pyacemaker.ace.coupling import clebsch_gordan, invariants
from pyacemaker.ace.reading_order import counts
from pyacemaker.ace.tree_coupling import tree_invariants

TYPES = [
    (ls, groups)
    for rank, largest in ((1, 0), (2, 4), (3, 3), (4, 2), (5, 1), (6, 1))
    for ls in combinations_with_replacement(range(largest + 1), rank)
    for groups in {tuple(range(rank)), ls}
    if sum(ls) % 2 == 0
]


@pytest.mark.parametrize(("ls", "groups"), TYPES)
def test_both_couplings_span_the_same_space(ls, groups):
    chain, tree = invariants(ls, groups), tree_invariants(ls, groups)
    assert len(tree.lints) == len(tree.coefficients) == len(chain.coefficients)
    places = {tuple(ms): place for place, ms in enumerate(tree.ms.tolist())}
    target = np.zeros((len(chain.coefficients), len(places)))
    target[:, [places[tuple(ms)] for ms in chain.ms.tolist()]] = chain.coefficients
    found = np.linalg.lstsq(tree.coefficients.T, target.T, rcond=None)[0]
    assert tree.coefficients.T @ found == pytest.approx(target.T, abs=1e-10)


@pytest.mark.parametrize(
    ("ls", "equal", "lints"),
    [
        ((0,), False, [()]),
        ((2, 2), False, [()]),
        ((1, 1, 2), False, [(2,)]),
        ((1, 1, 1, 1), False, [(0, 0), (1, 1), (2, 2)]),
        ((1, 1, 1, 1), True, [(0, 0)]),
        ((1, 1, 1, 1, 2), True, [(0, 2, 2)]),
        ((1, 1, 1, 1, 1, 1), True, [(0, 0, 0, 0)]),
    ],
)
def test_intermediate_momenta_have_the_names_of_the_files(ls, equal, lints):
    assert sorted(tree_invariants(ls, ls if equal else tuple(range(len(ls)))).lints) == lints


def test_pairs_have_clebsch_gordan_coefficients():
    found = tree_invariants((2, 2), (0, 1))
    for (m, _), value in zip(found.ms.tolist(), found.coefficients[0], strict=True):
        assert value == pytest.approx((2 if m else 1) * clebsch_gordan(2, m, 2, -m, 0, 0))


def test_what_counts_contains_all_that_is_not_zero():
    """Readers may see a coefficient where the exact one vanishes, never the other way round."""
    noise = set()
    for l1, l2 in combinations_with_replacement(range(5), 2):
        for m1 in range(-l1, l1 + 1):
            for m2 in range(-l2, l2 + 1):
                for total in range(max(l2 - l1, abs(m1 + m2)), l1 + l2 + 1):
                    exact = abs(clebsch_gordan(l1, m1, l2, m2, total, m1 + m2)) > 1e-12
                    seen = counts(l1, m1, l2, m2, total)
                    assert seen or not exact
                    if seen and not exact:
                        noise.add((l1, abs(m1), l2, abs(m2), total))
    assert noise == {(2, 1, 4, 2, 5), (3, 1, 3, 2, 3), (3, 2, 3, 1, 3), (3, 2, 3, 2, 2), (3, 2, 4, 1, 4)}


def test_more_coefficients_stand_later():
    # the order in which python-ace 0.3.0 has these functions of four different factors
    assert tree_invariants((3, 3, 3, 1), (0, 1, 2, 3)).lints == ((2, 2), (3, 3), (4, 4))
    assert tree_invariants((1, 3, 2, 2), (0, 1, 2, 3)).lints == ((3, 3), (2, 2), (4, 4))
