from dataclasses import replace

import pytest

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import ENCODERS
from ssl_swin.runs.build import build
from ssl_swin.runs.computing import compile_as_asked
from ssl_swin.runs.network import build_network
from tests.toys.toy_encoder import ToyEncoder
from tests.training.launch import finetune_config, pretrain_config

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}


class Whole(ToyEncoder):
    """An encoder that cannot be reached by the block."""

    blocks = None


@pytest.fixture(scope="module")
def shards(tiny_shards):
    return tiny_shards([40, 21], mode="RGB")


def asked(kind, shards, **training):
    return CONFIGS[kind]("run", shards, **training)


def attentions(run):
    return {block.attn.fused_attn for block in run.module.network.encoder.blocks()}


@pytest.mark.parametrize("kind", CONFIGS)
def test_on_a_cpu_nothing_is_computed_otherwise_and_nothing_is_said(kind, shards, capsys):
    run = build(asked(kind, shards))
    assert attentions(run) == {False}
    assert not any("forward" in vars(one) for one in run.module.network.encoder.blocks())
    assert not any(one.grad_checkpointing for one in run.module.network.encoder.backbone.layers)
    assert "computing" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_asked_for_is_done_in_both_trainings_and_said(kind, shards, capsys, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/there")
    settings = {
        "fused_attention": "on",
        "activation_checkpointing": True,
        "compile": "default",
        "reduce_precision": "bf16",
    }
    run = build(asked(kind, shards, **settings))
    assert attentions(run) == {True}
    assert all("forward" in vars(one) for one in run.module.network.encoder.blocks())
    assert all(one.grad_checkpointing for one in run.module.network.encoder.backbone.layers)
    assert (
        "computing: fused attention, blocks checkpointed, blocks compiled in the first steps into "
        "/there, gradients added up over processes in bf16\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("kind", CONFIGS)
def test_on_a_gpu_attention_is_fused_and_graphs_are_cuda_s(kind, shards, capsys, monkeypatch):
    monkeypatch.setattr("ssl_swin.runs.computing.require_compiler", lambda _: None)
    run = build(asked(kind, shards, accelerator="gpu", compile="reduce-overhead"))
    assert attentions(run) == {True}
    assert run.module.cuda_graphs
    assert "computing: fused attention, blocks compiled" in (said := capsys.readouterr().out)
    assert "CUDA graphs" in said
    off = build(asked(kind, shards, accelerator="gpu", fused_attention="off"))
    assert attentions(off) == {False}
    assert not off.module.cuda_graphs


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"compile": "default"}, "training.compile=default is not .* toy has no method `blocks`"),
        ({"activation_checkpointing": True}, "toy has no method `set_grad_checkpointing`"),
        ({"fused_attention": "on"}, "fused_attention=on is not .* no attention with `fused_attn`"),
    ],
)
def test_what_an_encoder_does_not_allow_is_refused_in_a_line(setting, said, shards, monkeypatch):
    monkeypatch.setitem(ENCODERS, "toy", Whole)
    config = pretrain_config("run", shards)
    whole = replace(
        config.model, name="toy", window_size=None, embed_dim=8, depths=None, num_heads=None
    )
    config = replace(config, model=whole)
    build_network(replace(config, training=replace(config.training, accelerator="gpu")))
    with pytest.raises(UserError, match=said):
        build_network(replace(config, training=replace(config.training, **setting)))


def test_a_compiler_is_asked_for_where_a_life_begins_only(shards, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    config = pretrain_config("run", shards, compile="default")
    network = build_network(config)  # as `submit` does, on a login node
    with pytest.raises(UserError, match="needs a compiler"):
        compile_as_asked(network.encoder, config.training)
