"""Plans: where columns come from, what memory and time a run takes, on a CPU, a GPU or a cluster."""
