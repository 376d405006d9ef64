"""The papers' small networks, registered with timm: importing this package makes their names timm model
names.
"""

from .cifar_resnet import CifarResNet
from .cifar_vgg import CifarVgg
from .fully_connected import FullyConnected

__all__ = ["CifarResNet", "CifarVgg", "FullyConnected"]
