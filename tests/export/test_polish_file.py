"""The file that polishes codes without torch: the same loss and gradient as in torch."""

import pytest

torch = pytest.importorskip("torch")

from support.encoder_fixtures import new_encoder  # noqa: E402

from rtstyle.errors import ModelError, RtstyleError  # noqa: E402
from rtstyle.export import encoder_file, polish_file  # noqa: E402
from rtstyle.export.to_onnx import properties  # noqa: E402

pytest_plugins = ["support.encoder_fixtures"]


@pytest.fixture(scope="module")
def encoder(body):
    return encoder_file.rounded(new_encoder(body))


def test_onnx_and_torch_agree_on_the_gradient(encoder, trial):
    assert polish_file.compare(polish_file.to_model(encoder, trial), encoder, trial) < polish_file.GRADIENT_DIFFERENCE


def test_the_comparison_notices_another_gradient(encoder, trial, monkeypatch):
    model = polish_file.to_model(encoder, trial)
    loss = polish_file.loss
    monkeypatch.setattr(polish_file, "loss", lambda *given: 1.05 * loss(*given))
    assert polish_file.compare(model, encoder, trial) > polish_file.GRADIENT_DIFFERENCE


def test_following_the_gradient_brings_the_loss_down(encoder, trial):
    target = encoder.look(255 * torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    code = encoder.mean.detach().clone()[None].requires_grad_()
    optimizer = torch.optim.Adam([code], lr=0.05)
    values = []
    for _ in range(6):
        value = polish_file.loss(encoder, trial, target, trial.photograph, code).sum()
        (code.grad,) = torch.autograd.grad(value, code)
        optimizer.step()
        values.append(float(value))
    assert values[-1] < 0.9 * values[0]


def test_the_file_names_its_body_and_replaces_nothing(encoder, trial, tmp_path, monkeypatch):
    out = polish_file.beside(tmp_path / "encoder.onnx")
    assert out.name == "encoder-polish.onnx"
    polish_file.write_polisher(encoder, trial, out)
    assert properties(out).keys() == {"rtstyle.body_sha256", "rtstyle.encoder_sha256"}
    assert properties(out)["rtstyle.body_sha256"] == trial.body.body_sha256()
    with pytest.raises(RtstyleError, match="stays: the result is"):
        polish_file.write_polisher(encoder, trial, out)
    monkeypatch.setattr(polish_file, "compare", lambda model, **_: 0.5)
    with pytest.raises(ModelError, match=r"differs from torch by 0\.5"):
        polish_file.write_polisher(encoder, trial, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
