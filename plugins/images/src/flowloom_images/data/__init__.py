"""Image data sets."""

from flowloom_images.data.cifar import CIFAR10
from flowloom_images.data.digits import Digits
from flowloom_images.data.folder import ImageFolder
from flowloom_images.data.images import PixelDataset, Pixels
from flowloom_images.data.mnist import MNIST, FashionMNIST

__all__ = ["CIFAR10", "MNIST", "Digits", "FashionMNIST", "ImageFolder", "PixelDataset", "Pixels"]
