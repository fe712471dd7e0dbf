"""What a config amounts to."""

from ssl_swin.config.run import RunConfig


def check_network(config: RunConfig) -> None:
    """Build the network without its weights, as a check.

    Raises:
        UserError: If there is no such network, or it does not fit the images or the masks.
    """
    # Imported late, for speed: torch takes longer than all other checks of a job.
    import torch

    from ssl_swin.runs.network import build_network

    with torch.device("meta"):
        build_network(config)
