"""Expected flow networks (Jiralerspong et al., 2310.02779): GFlowNets where chance moves too."""
