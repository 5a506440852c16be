"""Solvers: proximal operators, FISTA and ADMM in batches, self-expression, convex clustering, spherical k-means.

Import from the modules (`deepclust.solvers.self_expression`, ...): a method then depends on the solver it uses and on
no other. All solvers but convex clustering and spherical k-means need torch.
"""
