"""What several papers take as given: processes, samplers, networks, training, likelihoods."""
