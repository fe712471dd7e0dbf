import pytest

from ssl_swin.recipe.network import choose_network
from tests.recipe.machines import CLUSTER, LAPTOP, LARGE_GPU, MACHINES, SMALL_GPU, images


@pytest.mark.parametrize(
    ("machine", "num", "name"),
    [
        (LAPTOP, 10**7, "tiny"),
        (SMALL_GPU, 10**7, "tiny"),
        (CLUSTER, 200_000, "small"),
        (LARGE_GPU, 3_000, "tiny"),
        (LARGE_GPU, 10**6, "base"),
    ],
)
def test_more_images_on_a_larger_machine_carry_a_larger_network(machine, num, name):
    assert f"swin_{name}_" in choose_network(images(num), machine)[0].name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("side", [20, 28, 52, 64, 90, 144, 192, 500, 4000])
def test_a_network_takes_no_larger_images_than_there_are(machine, side):
    network, _ = choose_network(images(side=side), machine)
    assert network.img_size <= max(32, 4 / 3 * side)
    assert network.img_size % network.mask_patch_size == 0
