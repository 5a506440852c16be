"""Autoencoders: what they are made of (`settings`, read without torch) and how they are built (`autoencoder`)."""
