"""The machine below: memory, CPU, CUDA driver, files, signals to the process."""
