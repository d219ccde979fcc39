"""Is there, which is all that bench/cuda_table.py asks."""
