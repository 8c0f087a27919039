"""`gip_gpu.select` against plain NumPy, in time, memory and agreement with float64."""
