"""Contracts that every oracle and selector keeps; plug-ins test themselves with them."""
