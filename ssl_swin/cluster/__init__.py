"""What a job asks of SLURM, and what becomes of it; plain numbers and text, never torch."""
