"""Johnson's net with the layers of pytorch/examples' fast_neural_style and random weights, in torch and in ONNX."""

from __future__ import annotations

from pathlib import Path


def transformer_net():
    """TransformerNet of pytorch/examples, fast_neural_style: float [N, 3, H, W] in 0 to 255, out about the same."""
    from torch import nn
    from torch.nn import functional

    class ConvLayer(nn.Module):
        def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, upsample: int = 1):
            super().__init__()
            self.upsample = upsample
            self.reflection_pad = nn.ReflectionPad2d(kernel // 2)
            self.conv2d = nn.Conv2d(cin, cout, kernel, stride)

        def forward(self, x):
            if self.upsample > 1:
                x = functional.interpolate(x, mode="nearest", scale_factor=self.upsample)
            return self.conv2d(self.reflection_pad(x))

    class ResidualBlock(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.conv1, self.conv2 = ConvLayer(channels, channels, 3), ConvLayer(channels, channels, 3)
            self.in1, self.in2 = (nn.InstanceNorm2d(channels, affine=True) for _ in range(2))

        def forward(self, x):
            return x + self.in2(self.conv2(functional.relu(self.in1(self.conv1(x)))))

    class TransformerNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = ConvLayer(3, 32, 9), ConvLayer(32, 64, 3, 2)
            self.conv3 = ConvLayer(64, 128, 3, 2)
            for number in range(1, 6):
                setattr(self, f"res{number}", ResidualBlock(128))
            self.deconv1, self.deconv2 = ConvLayer(128, 64, 3, upsample=2), ConvLayer(64, 32, 3, upsample=2)
            self.deconv3 = ConvLayer(32, 3, 9)
            for number, channels in enumerate((32, 64, 128, 64, 32), start=1):
                setattr(self, f"in{number}", nn.InstanceNorm2d(channels, affine=True))

        def forward(self, x):
            for number in (1, 2, 3):
                x = functional.relu(getattr(self, f"in{number}")(getattr(self, f"conv{number}")(x)))
            for number in range(1, 6):
                x = getattr(self, f"res{number}")(x)
            x = functional.relu(self.in4(self.deconv1(x)))
            x = functional.relu(self.in5(self.deconv2(x)))
            return self.deconv3(x)

    return TransformerNet()


def spread_colours(net) -> None:
    """Scale the last layer of a net with random weights so that its pictures use most grey levels."""
    import torch

    with torch.no_grad():
        painted = net(255 * torch.rand(1, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3))
        last = net.deconv3.conv2d
        last.weight.mul_(60 / painted.std())
        last.bias.fill_(0)
        last.bias.copy_(128 - net(255 * torch.rand(1, 3, 64, 64)).mean((0, 2, 3)))


def float_johnson(weights: Path, size: tuple[int, int] | None):
    """TransformerNet as an ONNX model: `image` float32 [1, 3, H, W] in 0 to 255, `painted` the same. `size` (width,
    height) fixes it, None leaves it open."""
    import torch
    from onnx import TensorProto, helper

    from rtstyle.export import to_onnx
    from rtstyle.export.forms import from_fast_neural_style

    class FloatOps(to_onnx.OnnxOps):
        """The ways in and out that do not convert."""

        def image(self, x: str, margin: int) -> str:
            return self.reflect(x, margin)

        def head(self, module, x: str) -> str:
            weight = self.constant("head", 127.5 * module.weight.detach().numpy())
            bias = self.constant("head_bias", 127.5 * module.bias.detach().numpy() + 127.5)
            self.nodes.append(
                helper.make_node("Conv", [x, weight, bias], ["painted"], "head", **self._geometry(module))
            )
            return "painted"

    info = dict.fromkeys(("name", "title", "artist"))
    body, _ = from_fast_neural_style(torch.load(weights, weights_only=True), weights, info)
    ops = FloatOps(body, body.codes[0].detach().numpy())
    body.paint(ops, "image")
    shape = [1, 3, *(size[::-1] if size else ("H", "W"))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "painted")]
    graph = helper.make_graph(ops.nodes, "johnson", values[:1], values[1:], list(ops.initializers.values()))
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", to_onnx.OPSET)])
