"""When, where and how often: the only floor that imports pytorch_lightning."""
