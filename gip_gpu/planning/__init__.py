"""Plans: the source of columns, and the memory and time of a run on a CPU, a GPU or a cluster."""
