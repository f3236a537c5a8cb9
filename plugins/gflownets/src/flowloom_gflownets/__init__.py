"""GFlowNets for flowloom: samplers of objects that are built step by step, in proportion to a reward."""
