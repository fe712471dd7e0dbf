"""Masked image modelling for Swin encoders: the route of one image, as rooms.

    data/shards, remote   which bytes of which tar, here or far away
      -> data/order       (seed, epoch, position) -> sample
      -> data/pixels      bytes -> crop -> pixels
      -> data/batches     samples -> one batch
      -> models           normalise, mask, encode, rebuild, and the error where it was hidden
      -> training         one step, and what happens between two steps
      -> record           what a run leaves in its folder; the table of many runs
      -> pretrained       encoder weights and their card, in and out
      -> evaluation       what an encoder is worth on held-out images

`runs` turns a config into these objects and lives one life of a run. docs/design.md names every
file. Importing this package imports nothing else.
"""

__version__ = "0.1.0"
