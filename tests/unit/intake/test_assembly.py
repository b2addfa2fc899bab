from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.errors import IntakeError
from hoichan.intake.assembly import TRANSITIONS, StudyEvent, completeness, merge, next_state
from hoichan.intake.evidence import Count, Evidence, Source
from hoichan.settings import Assembly, Sender
from hoichan.testing.datasets import described, film
from hoichan.types import StudyState

START = datetime(2026, 11, 21, 8, tzinfo=UTC)
RULES = Assembly()


def after(seconds):
    return START + timedelta(seconds=seconds)


def part(instance, *, at=0.0, series="series", modality="CR", **attributes):
    data_set = film(instance=instance, series=series)
    data_set.Modality = modality
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return described(data_set, received_at=after(at))


def test_a_film_is_complete_when_released_and_quiet():
    study = part("1")
    waiting = completeness(study, is_open=False, now=after(4.9), rules=RULES)
    assert (waiting.complete, waiting.look_again_at) == (False, after(5))
    done = completeness(study, is_open=False, now=after(5), rules=RULES)
    assert (done.complete, done.closed_by, done.look_again_at) == (True, "association_released", None)


def test_an_open_association_holds_it_until_the_cap():
    study = part("1")
    held = completeness(study, is_open=True, now=after(600), rules=RULES)
    assert (held.complete, held.look_again_at) == (False, after(900))
    assert completeness(study, is_open=True, now=after(900), rules=RULES).closed_by == "cap"


def test_a_volume_waits_longer():
    study = part("1", modality="CT")
    assert not completeness(study, is_open=False, now=after(59), rules=RULES).complete
    assert completeness(study, is_open=False, now=after(60), rules=RULES).closed_by == "quiet_time"


def test_a_sender_may_have_its_own_quiet_time():
    senders = (
        Sender(ae_title="OTHER", host="10.0.0.0/8", quiet_seconds=50),
        Sender(ae_title="CR1", host="10.0.0.0/8", quiet_seconds=20),
    )
    study = part("1")
    assert not completeness(study, is_open=False, now=after(19), rules=RULES, senders=senders).complete
    assert completeness(study, is_open=False, now=after(20), rules=RULES, senders=senders).complete


def test_a_trickle_that_never_rests_meets_the_cap():
    study = merge([part(str(second), at=second) for second in range(0, 904, 4)])
    assert completeness(study, is_open=False, now=after(901), rules=RULES).closed_by == "cap"


def test_late_images_have_their_own_quiet_time_however_old_the_first_is():
    study = merge([part("1"), part("2", at=5000), part("3", at=5003)])
    assert not completeness(study, is_open=False, now=after(5007), rules=RULES).complete
    assert not completeness(study, is_open=True, now=after(5500), rules=RULES).complete
    assert completeness(study, is_open=False, now=after(5008), rules=RULES).complete


@pytest.mark.parametrize(("is_open", "closed_by"), [(False, "association_released"), (True, "cap")])
def test_an_image_of_tomorrow_is_not_waited_for(is_open, closed_by):
    """The clock was set back by a day after it had come."""
    verdict = completeness(part("1", at=86_400), is_open=is_open, now=START, rules=RULES)
    assert verdict.complete and verdict.closed_by == closed_by
    assert not completeness(part("1", at=20), is_open=False, now=START, rules=RULES).complete


def named(source, *instances, in_progress=False):
    uids = frozenset(film(instance=instance).SOPInstanceUID for instance in instances)
    return Evidence(expected={source: uids} if instances else {}, in_progress=in_progress)


@pytest.mark.parametrize("source", list(Source))
def test_everything_named_is_here_so_it_closes_at_once(source):
    study = merge([part("1"), part("2", at=1)])
    done = completeness(study, is_open=True, now=after(1), rules=RULES, evidence=named(source, "1", "2"))
    assert (done.complete, done.closed_by, done.look_again_at) == (True, source.value, None)


def test_one_named_image_is_missing_so_the_quiet_time_counts():
    evidence = named(Source.MPPS, "1", "2")
    assert not completeness(part("1"), is_open=False, now=after(4), rules=RULES, evidence=evidence).complete
    done = completeness(part("1"), is_open=False, now=after(5), rules=RULES, evidence=evidence)
    assert done.closed_by == "association_released"


def test_a_modality_at_work_holds_it_until_the_cap_whatever_else_is_said():
    for evidence in (named(Source.MPPS, in_progress=True), named(Source.IAN, "1", in_progress=True)):
        held = completeness(part("1"), is_open=False, now=after(600), rules=RULES, evidence=evidence)
        assert (held.complete, held.look_again_at) == (False, after(900))
        done = completeness(part("1"), is_open=False, now=after(900), rules=RULES, evidence=evidence)
        assert done.closed_by == "cap"


def test_a_sender_that_never_ends_its_steps_holds_a_study_no_longer_than_agreed():
    evidence = named(Source.MPPS, in_progress=True)
    senders = (Sender(ae_title="CR1", host="10.0.0.0/8", step_seconds=60),)
    study = merge([part("1"), part("2", at=4)])
    asked = {"is_open": False, "rules": RULES, "evidence": evidence, "senders": senders}
    held = completeness(part("1"), now=after(59), **asked)
    assert (held.complete, held.look_again_at) == (False, after(60))
    assert completeness(part("1"), now=after(60), **asked).closed_by == "association_released"
    still = completeness(study, now=after(60), **(asked | {"is_open": True}))
    assert (still.complete, still.look_again_at) == (False, after(900))
    assert not completeness(part("1"), now=after(60), **(asked | {"senders": ()})).complete


def test_agreed_time_beyond_the_cap_is_the_cap():
    senders = (Sender(ae_title="*", host="10.0.0.0/8", step_seconds=9000),)
    evidence = named(Source.MPPS, in_progress=True)
    done = completeness(
        part("1"), is_open=False, now=after(900), rules=RULES, evidence=evidence, senders=senders
    )
    assert done.closed_by == "cap"


def test_images_after_the_named_ones_have_their_quiet_time():
    study = merge([part("1"), part("late", at=100)])
    evidence = named(Source.MPPS, "1")
    assert not completeness(study, is_open=False, now=after(101), rules=RULES, evidence=evidence).complete
    assert completeness(study, is_open=False, now=after(105), rules=RULES, evidence=evidence).complete


def test_one_of_two_witnesses_is_enough():
    uid = film(instance="1").SOPInstanceUID
    evidence = Evidence(expected={Source.MPPS: frozenset({uid, "1.9"}), Source.IAN: frozenset({uid})})
    assert (
        completeness(part("1"), is_open=False, now=after(0), rules=RULES, evidence=evidence).closed_by
        == "ian"
    )


@given(st.lists(st.floats(0, 3000), min_size=1, max_size=8), st.floats(0, 5000), st.booleans())
def test_waiting_until_it_says_always_ends(arrivals, now, is_open):
    study = merge([part(str(number), at=at) for number, at in enumerate(arrivals)])
    at = max([after(now), *(i.received_at for i in study.instances)])
    for _ in range(3):
        answer = completeness(study, is_open=is_open, now=at, rules=RULES)
        if answer.complete:
            break
        assert answer.look_again_at is not None and answer.look_again_at > at
        at = answer.look_again_at
    assert answer.complete


@pytest.mark.parametrize(("state", "event"), list(product(StudyState, StudyEvent)))
def test_every_cell_of_the_table(state, event):
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IntakeError, match=f"{state}.*{event}"):
            next_state(state, event)


def test_every_state_can_be_reached_and_none_is_a_dead_end():
    assert {after for after in TRANSITIONS.values()} == set(StudyState)
    assert {state for state, _ in TRANSITIONS} == set(StudyState)


def test_only_a_person_makes_a_study_signed():
    assert {event for (_, event), after in TRANSITIONS.items() if after is StudyState.SIGNED} == {
        StudyEvent.SIGNED,
        StudyEvent.DELIVERED,
    }
    assert {
        state
        for (state, event), after in TRANSITIONS.items()
        if after is StudyState.SIGNED and event is StudyEvent.DELIVERED
    } == {StudyState.SIGNED}


def test_merging_sorts_series_and_instances():
    merged = merge(
        [
            part("b", series="two", SeriesNumber=2, InstanceNumber=2),
            part("a", series="two", SeriesNumber=2, InstanceNumber=1),
            part("c", series="one", SeriesNumber=1),
            part("d", series="none", SeriesNumber=None),
        ]
    )
    assert [series.series_number for series in merged.series] == [1, 2, None]
    assert [i.instance_number for i in merged.series[1].instances] == [1, 2]


@given(st.permutations(range(5)))
def test_merging_does_not_depend_on_the_order(order):
    parts = [
        part(str(n), at=n, series=f"s{n % 2}", AccessionNumber="" if n < 2 else f"A{n}") for n in range(5)
    ]
    assert merge([parts[n] for n in order]) == merge(parts)
    assert merge(parts).accession_number == "A2"


def test_merging_merged_parts_changes_nothing():
    parts = [part("1"), part("2", at=1), part("3", at=2, series="other")]
    assert merge([merge(parts[:2]), parts[2], parts[0]]) == merge(parts)


def test_an_instance_is_kept_once():
    assert len(merge([part("1"), part("1", at=3)]).instances) == 1


def test_views_that_disagree_become_unknown():
    (series,) = merge([part("1", ViewPosition="PA"), part("2", ViewPosition="LL")]).series
    assert series.view_position is None
    (series,) = merge([part("1", ViewPosition="PA"), part("2", ViewPosition="")]).series
    assert series.view_position == "PA"


def test_another_patient_does_not_fill_the_first_one_up():
    merged = merge([part("1", PatientBirthDate=""), part("2", at=1, PatientID="BN0002")])
    assert merged.patient.patient_birth_date is None
    merged = merge([part("1", PatientBirthDate=""), part("2", at=1)])
    assert merged.patient.patient_birth_date is not None


def test_parts_of_two_studies_are_not_merged():
    with pytest.raises(IntakeError):
        merge([described(film(study="a")), described(film(study="b"))])
    with pytest.raises(IntakeError):
        merge([])


def counted(held, missing, *, settled=False):
    return Evidence(counts=(Count(source="pacs", held=held, missing=missing, settled=settled),))


def volume(number):
    return merge([part(str(n), at=n, modality="CT") for n in range(number)])


def test_a_source_with_no_more_than_we_have_closes_a_volume_before_its_quiet_time():
    study = volume(3)
    said = counted(3, 0, settled=True)
    done = completeness(study, is_open=False, now=after(5), rules=RULES, evidence=said)
    assert (done.complete, done.closed_by) == (True, "source_count")
    still_sending = completeness(study, is_open=True, now=after(5), rules=RULES, evidence=said)
    assert not still_sending.complete


@pytest.mark.parametrize(
    "said", [counted(3, 0), counted(2, 0, settled=True)], ids=["once", "before the last"]
)
def test_a_count_that_is_not_settled_or_older_than_an_image_closes_nothing(said):
    study = volume(3)
    assert not completeness(study, is_open=False, now=after(5), rules=RULES, evidence=said).complete
    done = completeness(study, is_open=False, now=after(62), rules=RULES, evidence=said)
    assert (done.complete, done.closed_by) == (True, "quiet_time")


def test_a_source_that_has_more_holds_the_study_until_the_cap():
    study, said = volume(3), counted(2, 5)
    for seconds in (62, 500):
        waiting = completeness(study, is_open=False, now=after(seconds), rules=RULES, evidence=said)
        assert (waiting.complete, waiting.look_again_at) == (False, after(RULES.cap_seconds))
    done = completeness(study, is_open=False, now=after(901), rules=RULES, evidence=said)
    assert (done.complete, done.closed_by) == (True, "cap")


def test_as_many_images_as_were_missing_hold_it_no_longer():
    done = completeness(volume(7), is_open=False, now=after(67), rules=RULES, evidence=counted(2, 5))
    assert (done.complete, done.closed_by) == (True, "quiet_time")


def test_an_order_closes_what_it_asked_for_but_fewer_images_wait_for_silence_only():
    study = volume(2)
    done = completeness(study, is_open=False, now=after(1), rules=RULES, expected_instances=2)
    assert (done.complete, done.closed_by) == (True, "order")
    for said, number in ((Evidence(), 3), (Evidence(), 1), (counted(2, 1), 2)):
        waiting = completeness(
            study, is_open=False, now=after(1.5), rules=RULES, evidence=said, expected_instances=number
        )
        assert not waiting.complete
    fewer = completeness(study, is_open=False, now=after(62), rules=RULES, expected_instances=3)
    assert (fewer.complete, fewer.closed_by) == (True, "quiet_time")
