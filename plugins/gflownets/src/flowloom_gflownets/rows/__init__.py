"""The rows of the GFlowNets plugin, one module each method or topic, found by name: words only."""
