"""What a run is: frozen dataclasses; read by runs, cluster and __main__ only."""
