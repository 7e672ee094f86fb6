"""Whether an evaluation may be believed: pictures it shares with training, networks that say nothing, wrong inputs."""
