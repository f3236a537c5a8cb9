"""Domain adaptation of a frozen pair of generators by directions of a joint embedding (StyleGAN-NADA)."""
