"""Masked image modelling for Swin encoders: the route of one image, as files.

    shards          data/shards.py        names, counts, byte offsets
      -> order      data/order.py         (seed, epoch, position) -> sample
      -> stream     data/stream.py        read by offset; data/render.py, decode.py, augment.py
      -> mask       models/masking.py     which patches are hidden
      -> encode     models/swin.py        timm's Swin with a mask token
      -> rebuild    models/reconstruction.py   pixels and the masked loss, in models/simmim.py
      -> learn      optim.py, training/   groups, learning rate, steps, checkpoints
      -> hand off   pretrained/           encoder weights and their card
      -> fine-tune  models/classifier.py, training/finetune.py
      -> report     report.py             run folders -> one table

`build.py` turns a config into these objects; nothing else reads the config. Importing this package
imports nothing else.
"""

__version__ = "0.1.0"
