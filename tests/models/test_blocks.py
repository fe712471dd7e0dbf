import os
import stat
from pathlib import Path

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from ssl_swin.errors import UserError
from ssl_swin.models.blocks import (
    compile_blocks,
    compiled_folder,
    fuse_attention,
    require_compiler,
)
from ssl_swin.models.encoder import build_encoder

WARNINGS = [
    # torch asks for it and hides the warning, but not where warnings are errors.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    # torch 2.11's compiler uses what torch itself calls deprecated.
    pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning"),
]
pytestmark = WARNINGS
NUM_BLOCKS = 3


V1, V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"


def swin(drop_path_rate=0.0, dtype=torch.float32, implementation=None, name=V1):
    """Two stages of 8 x 8 and 4 x 4 tokens, in windows of 4: the second block is shifted."""
    torch.manual_seed(0)
    sizes = {"window_size": 4, "embed_dim": 24, "depths": (2, 1), "num_heads": (2, 4)}
    sizes["implementation"] = implementation
    encoder = build_encoder(name, 32, 3, drop_path_rate=drop_path_rate, **sizes)
    with torch.no_grad():  # as if trained: scores that matter, and norms that begin at 0
        for table in encoder.position_tables():
            encoder.get_parameter(table).normal_()
        for parameter in encoder.parameters() if name == V2 else ():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return encoder.to(dtype).train()


def drawn(num, seed=1):
    return torch.randn(num, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def learned(encoder, images, seed=2):
    """The features and the gradients; every number that is drawn comes from the seed."""
    token_mask = torch.arange(64, device=images.device).view(8, 8) % 3 == 0
    torch.manual_seed(seed)
    features = encoder(images.to(encoder.mask_token.dtype), token_mask.expand(len(images), 8, 8))
    encoder.zero_grad()
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    (features * weights.to(images.device)).sum().backward()
    return features.detach(), [p.grad.clone() for p in encoder.parameters()]


def is_fused(encoder):
    return {block.attn.fused_attn for block in encoder.blocks()}


@pytest.mark.parametrize("name", [V1, V2])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5), (torch.bfloat16, 3e-2)]
)
def test_fused_attention_is_attention_within_rounding(dtype, tolerance, name):
    """With shifted windows and their masks; bf16 is autocast, as trained.

    The gradient of the one number by which a head of Swin V2 scales cosines is a sum of many that
    cancel out: under bf16 it is 9 % from that of float64 in steps, and as much fused.
    """
    weights = torch.float32 if dtype == torch.bfloat16 else dtype
    encoder, found = swin(dtype=weights, name=name), []
    assert [block.attn_mask is not None for block in encoder.blocks()] == [0, 1, 0]
    for on in (False, True):
        assert fuse_attention(encoder, on) == NUM_BLOCKS
        assert is_fused(encoder) == {on}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            found.append(learned(encoder, drawn(3)))
    (plain, plain_grads), (fused, fused_grads) = found
    assert not torch.equal(plain, fused)  # or nothing was switched
    assert (fused - plain).norm() < tolerance * plain.norm()
    names = [one for one, _ in encoder.named_parameters()]
    for one, other, parameter in zip(fused_grads, plain_grads, names, strict=True):
        times = 1 if (name, dtype) != (V2, torch.bfloat16) else 6 if "scale" in parameter else 2
        assert (one - other).norm() < times * tolerance * other.norm(), parameter


def test_whatever_timm_is_told_elsewhere_attention_is_as_we_say(monkeypatch):
    monkeypatch.setattr("timm.layers.config._USE_FUSED_ATTN", 2)
    assert is_fused(swin()) == {False}
    encoder = swin(implementation="timm")
    assert is_fused(encoder) == {True}
    fuse_attention(encoder, on=False)
    assert is_fused(encoder) == {False}


def test_checkpointed_blocks_compute_the_same_bits_with_drop_path_and_keep_less():
    plain, checkpointed = swin(0.5), swin(0.5)
    checkpointed.set_grad_checkpointing()
    kept, found = [], []
    for encoder in (plain, checkpointed):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one, sizes=sizes: (sizes.append(one.nbytes), one)[1], lambda one: one
        ):
            found.append(learned(encoder, drawn(4)))
        kept.append(sum(sizes))
    (features, grads), (again, grads_again) = found
    assert torch.equal(features, again)
    assert all(map(torch.equal, grads, grads_again))
    assert kept[1] < kept[0] / 3


class Compiler:
    """A backend of torch.compile that counts its graphs and has them computed as they are."""

    def __init__(self):
        self.num_graphs = 0

    def __call__(self, graph, inputs, **options):
        self.num_graphs += 1
        self.options = options["options"]
        return aot_eager(graph, inputs)


@pytest.fixture
def compiler():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):  # for the graphs of one code; 8, by itself
        yield Compiler()
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("drop_path_rate", "checkpointed", "name"),
    [(0.0, False, V1), (0.5, True, V1), pytest.param(0.5, True, V2, marks=pytest.mark.slow)],
)
def test_blocks_are_compiled_once_for_each_size_of_a_step(
    compiler, drop_path_rate, checkpointed, name
):
    """Micro-batches of 3, 3 and 2 images, and between two steps measurements of other sizes."""
    plain, compiled = swin(drop_path_rate, name=name), swin(drop_path_rate, name=name)
    compile_blocks(compiled.blocks(), "default", backend=compiler)
    compiled.set_grad_checkpointing(checkpointed)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    counts = []
    for step in range(5):
        for micro, num in enumerate((3, 3, 2)):
            images, seed = drawn(num, seed=micro), 10 * step + micro
            (one, grads), (other, others) = (learned(e, images, seed) for e in (plain, compiled))
            torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(others, grads, rtol=1e-4, atol=1e-5)
        compiled.eval()
        with torch.no_grad():
            torch.testing.assert_close(compiled(drawn(step + 4)), plain.eval()(drawn(step + 4)))
        compiled.train(), plain.train()
        counts.append(compiler.num_graphs)
    assert counts == [2 * NUM_BLOCKS] * 5


def test_numbers_are_drawn_as_without_and_the_mode_is_torch_s(compiler):
    (block, *_) = swin().blocks()
    compile_blocks([block], "reduce-overhead", deterministic=True, backend=compiler)
    block(torch.randn(1, 8, 8, 24))
    told = {"triton.cudagraphs": True, "fallback_random": True, "deterministic": True}
    assert compiler.options == told
    torch.compile(lambda x: x, options=told)  # it knows all of them


@pytest.mark.parametrize(("on_gpu", "variable"), [(False, "CXX"), (True, "CC")])
def test_a_machine_without_a_compiler_is_told_of(on_gpu, variable, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f"(?s)a compiler.*{variable}.*training.compile=off"):
        require_compiler(on_gpu)
    tool = tmp_path / "mine"
    tool.write_text("")
    tool.chmod(0o755)
    monkeypatch.setenv(variable, "mine")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    require_compiler(on_gpu)


def test_without_triton_no_gpu_compiles(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="needs Triton"):
        require_compiler(on_gpu=True)


def test_what_is_compiled_lies_where_nobody_else_writes(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "given")
    assert compiled_folder() == Path("given")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    own = compiled_folder()
    assert own.parent == tmp_path
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(own)
    for spoil in (lambda: own.chmod(0o777), lambda: (own.rmdir(), own.symlink_to(tmp_path))):
        spoil()
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
        other = compiled_folder()
        assert other != own
        assert stat.S_IMODE(other.stat().st_mode) == 0o700
