"""What performs work: a child process of this machine, or a node of a Ray cluster."""
