"""What the settings of a teacher change, and of where a loss is taken."""

from operator import attrgetter


def of_teachers(effect, refused):
    """As `effects` of all settings; these are of a run without a teacher."""

    def kept(value, name, *beside):
        return effect(value, attrgetter(f"run.config.target.{name}"), value, beside)

    return {
        "target.teacher": refused("random:timm:test_vit", "goes with target.kind=teacher"),
        "target.teacher_img_size": kept(64, "teacher_img_size"),
        "target.teacher_stage": kept(2, "teacher_stage"),
        "target.teacher_at": kept("start", "teacher_at", ("target.teacher_stage", 2)),
        "target.where": effect(
            "everywhere", lambda seen: seen.run.module.network.heads[0].everywhere, True
        ),
    }
