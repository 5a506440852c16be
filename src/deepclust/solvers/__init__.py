"""Solvers: proximal operators, FISTA and ADMM on batches of convex problems, self-expression, spherical k-means.

Import from the modules (`deepclust.solvers.self_expression`, ...): a method then depends on the solver it uses and on
no other. All solvers but spherical k-means need torch.
"""
