"""What runs inside a job: train, sample, likelihood, inspect, score."""
