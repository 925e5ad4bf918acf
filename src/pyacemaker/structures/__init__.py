"""Structures, labels, datasets and their files."""

from pyacemaker.structures.accuracy import Accuracy
from pyacemaker.structures.dataset import Dataset
from pyacemaker.structures.label_weights import LabelWeights
from pyacemaker.structures.structure import AtomStructure, BoolArray, FloatArray, IntArray, Labels

__all__ = [
    "Accuracy",
    "AtomStructure",
    "BoolArray",
    "Dataset",
    "FloatArray",
    "IntArray",
    "LabelWeights",
    "Labels",
]
