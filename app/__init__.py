"""FednnU-Net Desktop: train one nnU-Net across hospitals while every image stays at home.

For research use only.
"""

__version__ = "0.1.0"
