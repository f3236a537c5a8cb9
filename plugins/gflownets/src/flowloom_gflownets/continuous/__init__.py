"""GFlowNets on continuous spaces (Lahlou et al., 2301.12594): environments whose kernels have densities."""
