"""`--resume-from` with any setting of `effects.py` changed: it takes effect, or is refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssl_swin.config.settings import flatten, with_values
from ssl_swin.errors import UserError
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.masking import MASKS, random_mask
from ssl_swin.runs import life, sizes
from ssl_swin.runs.build import build
from tests.runs.effects import REFUSED, STEPS, WITHOUT_EFFECT, Refused, effects
from tests.training.launch import RGB, finetune_config, pretrain_config

KINDS = {"pretrain": pretrain_config, "finetune": finetune_config}


def settings(kind):
    return list(flatten(KINDS[kind](Path("run"), Path("shards"))))


EVERY = [(kind, name) for kind in KINDS for name in settings(kind)]


def test_every_setting_is_tried(tmp_path):
    tried = effects(tmp_path / "shards", tmp_path)
    assert {name for _, name in EVERY} == tried.keys()


@pytest.fixture(scope="module")
def shards(tiny_shards):
    return tiny_shards([30, 19], mode="RGB"), tiny_shards([30, 20], mode="RGB")


@pytest.fixture(scope="module")
def ended(shards, tmp_path_factory):
    """The configs of a pretraining and a fine-tuning that have ended, by kind."""
    place = tmp_path_factory.mktemp("changes")
    configs = {}
    for kind, configure in KINDS.items():
        config = configure(place / kind, shards[0])
        data = replace(config.data, crop_scale=(0.5, 1.0), **RGB, interpolation="bicubic")
        model = replace(config.model, embed_dim=16, depths=(1, 1))
        optim = replace(config.optim, epochs=3, warmup_epochs=0)
        config = replace(config, data=replace(data, num_lanes=6), model=model, optim=optim)
        training = replace(config.training, validate_every_epochs=3, panel_every_epochs=0)
        configs[kind] = replace(config, training=training)
        assert life.run(configs[kind]) == 0
    return configs


class Seen(Exception):
    """Ends a life where its Trainer would be made."""


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Start a life with another config from a checkpoint, and return all it has built."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MASKS, "toy", lambda *given: random_mask(*given))
    monkeypatch.setitem(LOSSES, "twice", lambda one, other: 2 * (one - other).abs())
    found = SimpleNamespace(opened=[])
    plain = sizes.open_shards

    def opened(pattern, cache_dir, cache_gb, index_missing):
        found.opened.append((pattern, cache_dir, cache_gb))
        return plain(pattern, cache_dir, cache_gb, index_missing)

    def see(hardware, callbacks, loggers, *_):
        found.hardware, found.loggers = hardware, loggers
        found.calls = SimpleNamespace(**{type(one).__name__: one for one in callbacks})
        found.threads = torch.get_num_threads()
        raise Seen

    def start(config, checkpoint):
        threads = torch.get_num_threads()
        found.run = build(config, checkpoint, given={"encoder"})
        try:
            with pytest.raises(Seen):
                life.train(found.run)
        finally:
            torch.set_num_threads(threads)
        found.optimizer = found.run.module.configure_optimizers()
        return found

    monkeypatch.setattr(sizes, "open_shards", opened)
    monkeypatch.setattr(sizes, "FEWEST_POINTS", 1)
    monkeypatch.setattr(sizes, "FEWEST_MONITORED", 1)
    monkeypatch.setattr("ssl_swin.runs.build.make_trainer", see)
    return start


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_changed_setting_takes_effect_or_is_refused(kind, name, ended, shards, seen):
    effect, old = effects(*shards)[name], ended[kind]
    checkpoint = Path(old.run_dir, "checkpoints", "last.ckpt")
    assert flatten(old)[name] != effect.value, "the sweep must give another value"
    beside = {} if isinstance(effect, Refused) else dict(effect.beside)
    values = {"run_dir": "new", **beside, name: effect.value}
    said = REFUSED.get((kind, name)) or (effect.said if isinstance(effect, Refused) else None)
    if said:
        with pytest.raises(UserError, match=said):
            seen(with_values(old, values), checkpoint)
        return
    found = seen(with_values(old, values), checkpoint)
    assert found.run.module.step == 3 * STEPS
    if (kind, name) in WITHOUT_EFFECT:
        assert not hasattr(found.calls, WITHOUT_EFFECT[kind, name])
        return
    there = effect.value if effect.there is None else effect.there
    assert effect.look(found) == (pytest.approx(there) if isinstance(there, float) else there)


def test_moments_stay_where_options_change(ended, seen):
    old = ended["finetune"]
    changed = {"optim.layer_decay": 1.0, "optim.betas": (0.5, 0.5)}
    checkpoint = Path(old.run_dir, "checkpoints", "last.ckpt")
    found = seen(with_values(old, {"run_dir": "new", **changed}), checkpoint)
    stored = torch.load(checkpoint, weights_only=True)["optimizer"]["state"]
    now = found.optimizer.state_dict()["state"]
    assert now.keys() == stored.keys()
    for name, moments in stored.items():
        assert all(torch.equal(now[name][one], value) for one, value in moments.items())
