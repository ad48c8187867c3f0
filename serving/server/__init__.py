"""A real Triton server on this machine, over the same model repository as everything else."""
