from dataclasses import replace

from app.domain.layout_proposal import (
    NORMALISATIONS,
    LayoutProposal,
    ProposedChannel,
    ProposedStructure,
)


def structure(found, name, value):
    return ProposedStructure(found=found, name=name, value=value, cases=1)


PROPOSAL = LayoutProposal(
    layout="pairs",
    file_ending=".nii.gz",
    values_fixed=False,
    channels=(ProposedChannel(found="x", name="CT", cases=2),),
    structures=(
        structure("GTV", "tumour", 2),
        structure("left", "lung", 1),
        structure("right", "lung", 1),
        structure("couch", "couch", 0),
    ),
    cases=(),
)


def test_labels_are_what_is_kept_by_value():
    assert PROPOSAL.labels == {"background": 0, "lung": 1, "tumour": 2}
    assert list(PROPOSAL.labels) == ["background", "lung", "tumour"]


def test_the_digest_follows_every_part():
    changed = replace(PROPOSAL, values_fixed=True)
    assert PROPOSAL.digest == replace(PROPOSAL).digest != changed.digest


def test_normalisation_follows_the_name_as_in_nnunet():
    said = dict(NORMALISATIONS)
    for name, key in (("ct", "CT"), ("NoNorm", "noNorm"), ("T1", "MRI"), ("CT1", "MRI")):
        channel = ProposedChannel(found="x", name=name, cases=1)
        assert channel.normalisation == said[key]
