import copy

import torch
from hypothesis import given
from torch import nn

from directanimator.metrics.networks.folding import folded
from tests.strategies import seeds


class Named(nn.Module):
    """Children by name instead of by number, as torchvision's Inception has them."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5, eps=1e-3)

    def forward(self, pixels):
        return torch.relu(self.bn(self.conv(pixels)))


@torch.no_grad()
@given(seeds())
def test_a_folded_network_says_the_same_without_its_normalizations(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6()), Named(), nn.BatchNorm2d(5))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                values.copy_(torch.randn(values.shape))
            module.running_var.copy_(torch.rand(module.running_var.shape) + 0.1)
    net.eval()
    pixels = torch.randn(2, 3, 9, 9)
    quick = folded(copy.deepcopy(net))
    torch.testing.assert_close(quick(pixels), net(pixels), rtol=1e-4, atol=1e-5)
    kept = [module for module in quick.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(kept) == 1, "the one that follows no convolution"
    assert not any(parameter.requires_grad for parameter in quick.parameters())
