"""Structures, labels, datasets and their files."""

from pyacemaker.structures.dataset import Dataset
from pyacemaker.structures.structure import AtomStructure, BoolArray, FloatArray, IntArray, Labels

__all__ = ["AtomStructure", "BoolArray", "Dataset", "FloatArray", "IntArray", "Labels"]
