"""Masked image modelling for Swin encoders: the route of one image, as files.

    shards          data/shards.py        names, counts, byte offsets
      -> order      data/order.py         (seed, epoch, position) -> sample
      -> stream     data/stream.py        read by offset; data/render.py, decode.py, augment.py
      -> mask       models/masking.py     which patches are hidden
      -> encode     models/encoder.py     the table of encoders; swin.py: timm's, with a mask token
      -> rebuild    models/simmim.py      decoder.py, targets/, losses.py: pixels and the error
      -> learn      optim.py, training/   groups, learning rate, steps, checkpoints
      -> hand off   pretrained/           encoder weights and their card
      -> fine-tune  models/classifier.py, training/finetune.py
      -> report     report.py             run folders -> one table

`build.py` turns a config into these objects; nothing else reads the config. Importing this package
imports nothing else.
"""

__version__ = "0.1.0"
