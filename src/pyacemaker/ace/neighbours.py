"""The neighbour list of the ACE engine: the one that everything uses."""

from pyacemaker.structures.neighbours import COINCIDENCE, EdgeMemory, Edges, neighbour_list

__all__ = ["COINCIDENCE", "EdgeMemory", "Edges", "neighbour_list"]
