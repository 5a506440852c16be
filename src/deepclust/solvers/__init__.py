"""Solvers of convex problems: proximal operators, FISTA and ADMM on batches of problems, and what is built on them.

Import from the modules (`deepclust.solvers.self_expression`, ...): a method then depends on the solver it uses and on
no other. All of them need torch.
"""
