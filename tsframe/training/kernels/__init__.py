"""Kernels of our own, in Triton: products, what is fused to them, students that stay on the chip.

`trust` says whether a device has passed their self-test, and is the one file here that may be
imported where Triton is absent.
"""
