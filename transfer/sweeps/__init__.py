"""Sweeps: one recipe over lists of methods, sparsities, backbones and more, as ordinary runs."""
