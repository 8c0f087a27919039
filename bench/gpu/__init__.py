"""gip_gpu on one GPU against the limits of that GPU, and a check of its picks."""
