"""Which cheap oracle plays DFT in a rehearsal."""

from collections.abc import Iterable

from pyacemaker.errors import ConfigError
from pyacemaker.oracles.analytic import EmtOracle
from pyacemaker.oracles.base import LabelLimits, Oracle
from pyacemaker.oracles.tblite import LAST_ELEMENT, TbliteOracle

EMT_METALS = frozenset({"Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"})
"""What effective medium theory was made for."""


def rehearsal_oracle(elements: Iterable[str], periodic: bool, limits: LabelLimits | None = None) -> Oracle:
    """GFN1-xTB for molecules, effective medium theory for the metals that it covers.

    elements: of the whole run. periodic: whether any of its structures is. Raises `ConfigError` for other
    crystals, with what can be done.
    """
    from ase.data import atomic_numbers

    symbols = sorted(set(elements))
    limits = LabelLimits() if limits is None else limits
    if not periodic and all(atomic_numbers[symbol] <= LAST_ELEMENT for symbol in symbols):
        return TbliteOracle(method="GFN1-xTB", limits=limits)
    if periodic and set(symbols) <= EMT_METALS:
        return EmtOracle(limits=limits)
    what = f"{'crystals' if periodic else 'molecules'} of {', '.join(symbols)}"
    raise ConfigError(
        f"no built-in oracle can stand in for DFT on {what}: a rehearsal has GFN1-xTB for molecules up to Rn "
        f"and EMT for crystals of {', '.join(sorted(EMT_METALS))}; give a cheap oracle under dft and leave "
        "--rehearse out, such as `kind: mace` with a model, `kind: lennard_jones`, or any ASE calculator "
        "(`kind: ase`)"
    )
