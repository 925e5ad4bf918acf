"""Constants and conversions.

Inside the package: eV, Å, fs, K, eV/Å³, ASE's stress sign (positive = tensile) and Voigt order
(xx, yy, zz, yz, xz, xy). Convert only where data enters or leaves. Values: CODATA 2018.
"""

COULOMB_EV_ANGSTROM = 14.399645351950543
"""e²/(4πε₀) in eV·Å, the value the reference ACE evaluator uses."""

BOLTZMANN_EV_PER_KELVIN = 8.617333262e-5
"""k_B in eV/K."""

HARTREE_EV = 27.211386245988
"""One Hartree in eV."""

BOHR_ANGSTROM = 0.529177210903
"""One Bohr radius in Å."""

GPA_PER_EV_PER_CUBIC_ANGSTROM = 160.21766208
"""1 eV/Å³ in GPa."""

MEV_PER_EV = 1000.0
"""meV per eV."""
