"""Matrix completion: deep linear networks, and convex minimization of the nuclear norm.

A target matrix is known at some of its entries. `factorization` descends on a product of matrices,
whose number is its depth; `nuclear` finds the matrix of least nuclear norm, with a certificate;
`trial` makes either a trial that a sweep can train. With all entries observed the first is a deep
linear network on white inputs, and learns the singular modes of the target one after another.
"""
