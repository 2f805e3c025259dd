import pytest
from helpers import snapshots
from helpers.networks import unet

from app.control.messages import NetworkView
from app.domain.ids import SiteName
from app.domain.study import Aggregation
from app.federation.asymmetric import group_networks, part_of
from app.site.views import network_view
from app.ui.models.network import NetworkState
from app.ui.presenters.network import present_network, resolution_words


def test_where_all_sites_have_one_network_there_is_no_picture():
    assert present_network(None) == NetworkState()


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ((1, 1, 1), "full resolution"),
        ((4, 4, 4), "1/4"),
        ((1, 2, 2), "1 x 1/2 x 1/2"),
        ((8, 8), "1/8"),
    ],
)
def test_resolutions_are_fractions(scale, words):
    assert resolution_words(scale) == words


def test_the_picture_is_a_u_from_full_resolution_down_and_up():
    shown = present_network(snapshots.NETWORK)
    assert shown.sentence == "78 % of your network is shared with 4 of 5 other sites."
    assert [stage.resolution for stage in shown.stages] == [
        "full resolution", "1/2", "1/4", "1/8", "1/16",
    ]  # fmt: skip
    assert [stage.up is None for stage in shown.stages] == [False] * 4 + [True]
    top, second, *_, lowest = shown.stages
    assert top.down.words == "96 % with 4 sites"
    assert second.down.words == second.up.words == "shared with 4 sites"
    assert (lowest.down.words, lowest.down.share) == ("stays here", 0.0)
    assert lowest.down.hint == "Way down, 1/16: 0 of 5,531,520 weights are shared."


def test_a_real_alignment_is_drawn_whole():
    networks = {SiteName("a"): unet(4), SiteName("b"): unet(5), SiteName("c"): unet(5)}
    groups = group_networks(networks, minimum_sites=2, rule=Aggregation.CASES)
    coverage = part_of(groups, networks, SiteName("a")).coverage
    view = network_view(coverage)
    assert isinstance(view, NetworkView)
    assert (view.sentence, view.percent) == (str(coverage), coverage.percent)
    shown = present_network(view)
    assert len(shown.stages) == 4
    assert shown.stages[0].down.words == "shared with 2 sites"
    assert shown.stages[-1].down.words == "stays here"
    assert sum(layer.weights for layer in view.layers) == coverage.weights
