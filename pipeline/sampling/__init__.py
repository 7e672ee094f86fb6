"""Which photos form a step on a rank."""
