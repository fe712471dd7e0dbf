"""What a user left open: the encoder settles it, and of a fine-tuning the data and the machine.

Whatever is settled is said, and stored in the run's config. A run that goes on keeps it, whatever a
later release would do.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.config.settings import flatten, numbers_of, unsaid, with_values
from ssl_swin.runs.channels import channel_names, with_names
from ssl_swin.runs.classes import with_their_number
from ssl_swin.runs.finetune_recipe import Choice, Recipe
from ssl_swin.runs.from_encoder import MODEL, with_its_model
from ssl_swin.runs.sets import RunSets
from ssl_swin.runs.sizes import num_labelled

_BEFORE_THEY_WERE_NAMED = (*MODEL, "num_classes")  # what runs of version 0.1 may not be asked for
Settled = tuple[RunConfig, tuple[str, ...]]


@dataclass(frozen=True)
class LeftOpen:
    """Settles what a run's config leaves open, by its sets and its machine."""

    sets: RunSets
    given: Collection[str]
    """The settings that the user gave, as for `as_begun`; `config` is a file of them."""
    on_gpu: bool | None = None
    """Whether it will be trained on GPUs; None: if there is one here."""
    before: ModelConfig | None = None
    """Of a chain: the model of the stage that will make the encoder."""

    def begin(self, config: RunConfig) -> Settled:
        """Settle a run that begins; return its config, and lines.

        Raises:
            UserError: If what the user gave does not fit the encoder, there are no classes, or a
                channel is not there.
        """
        config = with_names(config, channel_names(config.data, self.sets))
        config, told = with_its_model(config, self.given, self.before)
        if not isinstance(config, FinetuneConfig):
            return config, told
        config, counted = with_their_number(config, self.sets)
        config, chosen = self._with(config, Recipe.by_task)
        config, layout = self._with(config, Recipe.by_machine)
        said = (*told, *counted)
        if not chosen and not layout:
            return config, said
        first = "no config file was given; chosen (a flag changes it, config.yaml keeps it):"
        return config, (*said, first, *chosen, *layout)

    def go_on(self, config: RunConfig, stored: Mapping[str, Any]) -> Settled:
        """Settle by the machine alone a run that goes on, here or elsewhere.

        `stored` is its config as it began, flattened.
        """
        config = with_names(config, channel_names(config.data, self.sets), stored)
        if not isinstance(config, FinetuneConfig):
            return config, ()
        return self._with(config, Recipe.by_machine)

    def _with(
        self, config: FinetuneConfig, choose: Callable[[Recipe], list[Choice]]
    ) -> tuple[FinetuneConfig, tuple[str, ...]]:
        """Put what is chosen where the user said nothing, if there is no config file."""
        if not self.given or "config" in self.given:
            return config, ()
        free, num = unsaid(config, self.given), sum(map(num_labelled, self.sets.train))
        recipe = Recipe(config, free, config.data.num_labels or num, self.on_gpu)
        lines, put, before = [], dict[str, Any](), flatten(config)
        for choice in choose(recipe):
            values = {
                name: value
                for name, value in choice.values.items()
                if name in free and value != before[name]
            }
            put |= values
            if values:
                told = ", ".join(f"{name}={value}" for name, value in values.items())
                lines.append(f"  {told}: {choice.why}")
        return with_values(config, put), tuple(lines)


def as_chosen(
    config: RunConfig, state: Mapping[str, Any], given: Collection[str]
) -> tuple[RunConfig, tuple[str, ...]]:
    """Take from a checkpoint what was settled when its run began, where the user says nothing.

    Of a fine-tuning without a config file that is all that it learns by, whoever settled it.

    Returns the config and the names of what was settled, in the same words as a checkpoint.
    """
    stored, free = state["config"], unsaid(config, given)
    if isinstance(config, FinetuneConfig):
        chosen = tuple(state.get("chosen", _BEFORE_THEY_WERE_NAMED))
        all_of_it = given and "config" not in given
        settled = numbers_of(config) - {"data.sets"} if all_of_it else {*chosen}
    elif config.init is not None:
        chosen = tuple(state.get("chosen", ()))
        settled = {*chosen}
    else:
        return config, ()
    values = {name: stored[name] for name in settled & free if name in stored}
    typed = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return with_values(config, typed), chosen
