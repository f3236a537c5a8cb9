"""Diffusion generative flow samplers (Zhang et al., 2310.02679): controlled motion towards an energy."""
