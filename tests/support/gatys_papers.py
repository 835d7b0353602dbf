"""The losses of the papers as printed, written without rtstyle."""

import torch
import torch.nn.functional as F

RGB_MEAN = (123.68, 116.779, 103.939)  # Oxford's, in RGB order


def plain_features(state, pooling, picture):
    """relu1_1, relu2_1 and relu2_2 of a picture [1, 3, H, W], RGB, 0 to 255, by Simonyan and Zisserman's layout."""

    def conv(x, index):
        weight, bias = state[f"features.{index}.weight"].double(), state[f"features.{index}.bias"].double()
        return torch.relu(F.conv2d(x, weight, bias, padding=1))

    bgr = (picture - torch.tensor(RGB_MEAN, dtype=torch.float64).view(1, 3, 1, 1))[:, [2, 1, 0]]
    result = {"relu1_1": conv(bgr, 0)}
    x = conv(result["relu1_1"], 2)
    n, c, h, w = x.shape
    cells = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
    x = cells.amax((3, 5)) if pooling == "max" else cells.mean((3, 5))
    result["relu2_1"] = conv(x, 5)
    result["relu2_2"] = conv(result["relu2_1"], 7)
    return result


def plain_total(kind, state, pooling, picture, content, style, settings):
    """alpha content + beta style, as printed: Gatys' equations 1, 3, 4, 5 and 7, or Johnson's 2, 3 and 4."""
    f, p, s = (plain_features(state, pooling, x) for x in (picture, content, style))
    content_loss = style_loss = 0
    for layer, weight in settings.content_layers.items():
        if kind == "gatys":
            content_loss = content_loss + weight * 0.5 * ((f[layer] - p[layer]) ** 2).sum()
        else:
            _, c, h, w = f[layer].shape
            content_loss = content_loss + weight * ((f[layer] - p[layer]) ** 2).sum() / (c * h * w)
    for layer, weight in settings.style_layers.items():
        _, n, h, w = f[layer].shape
        m = h * w
        big, other = f[layer][0].reshape(n, m), s[layer][0].reshape(n, -1)
        if kind == "gatys":  # style pictures have the size of the content here, as in the paper
            g, a = torch.einsum("ik,jk->ij", big, big), torch.einsum("ik,jk->ij", other, other)
            style_loss = style_loss + weight * ((g - a) ** 2).sum() / (4 * n**2 * m**2)
        elif kind == "johnson":
            g = torch.einsum("ik,jk->ij", big, big) / (n * m)
            a = torch.einsum("ik,jk->ij", other, other) / (n * other.shape[1])
            style_loss = style_loss + weight * ((g - a) ** 2).sum()
        else:  # UPES: weight mean((G - A)^2) / (d h w)
            g, a = torch.einsum("ik,jk->ij", big, big), torch.einsum("ik,jk->ij", other, other)
            style_loss = style_loss + weight * ((g - a) ** 2).mean() / (n * h * w)
    return settings.content_weight * content_loss + settings.style_weight * style_loss
