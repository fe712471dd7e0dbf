"""What a run is: frozen dataclasses; read by runs, cluster and the command line only."""
