"""Plain torch: masking, Swin, reconstruction, SimMIM, the classifier."""
