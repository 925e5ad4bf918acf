"""A script for pacemaker's own Python: data sets in its pandas' pickles, which other versions cannot read.

It stands alone: nothing but pandas, numpy and ASE, which an installation of pacemaker has::

    python pacemaker_table.py write DATA.extxyz DATA.pckl.gzip    # columns that pacemaker reads
    python pacemaker_table.py selected SELECTED.pkl.gz OUT.json   # which rows of it pace_select chose

`energy_label` (eV), `weight_energy` and the columns `force_label` (eV/Å) and `weight_force` of the extended
XYZ file become `energy`, `w_energy`, `forces` and `w_forces`; `row` counts the structures from 0.
"""

import json
import sys


def write(source: str, target: str) -> None:
    """Write the table of the structures in an extended XYZ file."""
    import numpy as np
    import pandas as pd
    from ase import Atoms
    from ase.io import iread

    rows = []
    for number, frame in enumerate(iread(source, index=":", format="extxyz")):
        atoms = Atoms(
            numbers=frame.numbers, positions=frame.positions, cell=np.array(frame.cell), pbc=frame.pbc
        )
        rows.append(
            {
                "ase_atoms": atoms,
                "energy": float(frame.info["energy_label"]),
                "forces": np.asarray(frame.arrays["force_label"], dtype=float).reshape(-1, 3),
                "w_energy": float(frame.info["weight_energy"]),
                "w_forces": np.asarray(frame.arrays["weight_force"], dtype=float).reshape(-1),
                "name": str(frame.info["label"]),
                "row": number,
            }
        )
    pd.DataFrame(rows).to_pickle(target, compression="gzip", protocol=4)


def selected(source: str, target: str) -> None:
    """Write the numbers of the rows in a table that pace_select wrote, in its order."""
    import pandas as pd

    rows = [int(row) for row in pd.read_pickle(source)["row"]]
    with open(target, "w", encoding="utf-8") as handle:
        json.dump(rows, handle)


if __name__ == "__main__":
    {"write": write, "selected": selected}[sys.argv[1]](*sys.argv[2:])
