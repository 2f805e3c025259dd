"""From a folder to a checked nnU-Net dataset: scan, checks, geometry, image reading.

Workers and the window's viewer come in. Source files are opened read-only and never changed.
"""
