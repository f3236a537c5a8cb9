"""Adversarial flow networks (Jiralerspong et al., 2310.02779): one balance for both players of a game."""
