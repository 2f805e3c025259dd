"""The only room that imports torch and nnunetv2: plan, preprocess, train, predict, export.

`app.worker` comes in. Stock classes are driven through their hooks and never subclassed, because
their names go into folders and checkpoints that plain nnU-Net must load. nnU-Net's own keys keep
their spelling here and only here.
"""
