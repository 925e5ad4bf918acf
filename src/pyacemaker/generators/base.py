"""The generator interface: candidates from nothing but settings, a seed and a potential."""

from abc import ABC, abstractmethod

import numpy as np

from pyacemaker.base import Spec
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import Dataset


class Generator(Spec, ABC):
    """Makes candidate structures, each tagged. Subclasses add a `kind` literal, settings, `generate`."""

    @abstractmethod
    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """Unlabelled structures with tags; `teacher` serves relaxations and molecular dynamics.

        The same settings, teacher and generator state give the same structures.
        """

    def inputs(self) -> Dataset:
        """The structures that the settings name by file, checked as `generate` does; none by default."""
        return Dataset()
