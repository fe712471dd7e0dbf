"""What an encoder or a model is worth, in plain torch: no Trainer and no run folder are needed."""
