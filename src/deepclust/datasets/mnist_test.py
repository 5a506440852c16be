"""MNIST-test: the 10,000 test images of MNIST alone, as many papers cluster them."""

from dataclasses import replace

from deepclust.datasets import mnist

SPEC = replace(mnist.SPEC, files=mnist.TEST, mirror_folder="mnist")
