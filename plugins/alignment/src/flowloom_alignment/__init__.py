"""Fine-tuning of trained flows, by rewards and by directions of an embedding."""
