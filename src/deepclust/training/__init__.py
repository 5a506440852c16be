"""How networks are trained: the one mini-batch loop, its checkpoints and its surroundings."""
