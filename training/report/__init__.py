"""Reports on a trained model: validation, stability, fairness, alternatives, the model file."""
