from faults.ledger import Ledger
from faults.loads.speaking import Done
from hypothesis import given
from hypothesis import strategies as st

PATH = "/Groups/G/Things/one"


def ledger(*writes: tuple[Done, bool]) -> Ledger:
    made = Ledger()
    for done, deletes in writes:
        made.add(PATH, done, deletes=deletes)
    return made


def possible(*writes: tuple[Done, bool]) -> set[bool]:
    """Whether the path may be there, may be gone, or both."""
    made = ledger(*writes)
    return {there for there in (True, False) if not made.differences({PATH.lower()} if there else set())}


def test_what_was_acknowledged_is_certain() -> None:
    assert possible((Done.ACKNOWLEDGED, False)) == {True}
    assert possible((Done.ACKNOWLEDGED, False), (Done.ACKNOWLEDGED, True)) == {False}


def test_what_was_refused_was_never_done() -> None:
    assert possible((Done.REFUSED, False)) == {False}
    assert possible((Done.ACKNOWLEDGED, False), (Done.REFUSED, True)) == {True}


def test_what_nobody_knows_may_be_either() -> None:
    assert possible((Done.UNKNOWN, False)) == {True, False}
    assert possible((Done.ACKNOWLEDGED, False), (Done.UNKNOWN, True)) == {True, False}
    assert possible((Done.UNKNOWN, False), (Done.REFUSED, True)) == {True, False}


def test_a_loss_names_the_path_and_what_is_lost() -> None:
    (lost,) = ledger((Done.ACKNOWLEDGED, False)).differences(set())
    assert lost == f"{PATH}: its creation was acknowledged, and is lost"
    (undone,) = ledger((Done.ACKNOWLEDGED, True)).differences({PATH.lower()})
    assert undone == f"{PATH}: its deletion was acknowledged, and is lost"


@given(writes=st.lists(st.tuples(st.sampled_from(Done), st.booleans()), max_size=6), deletes=st.booleans())
def test_an_acknowledgement_settles_whatever_came_before(*, writes: list[tuple[Done, bool]], deletes: bool) -> None:
    repeated = any(done is Done.REPEATED and not deleted for done, deleted in writes)
    assert possible(*writes, (Done.ACKNOWLEDGED, deletes)) == ({True, False} if repeated and deletes else {not deletes})


def test_a_creation_that_was_sent_twice_may_come_again_after_its_deletion() -> None:
    assert possible((Done.REPEATED, False)) == {True}
    assert possible((Done.REPEATED, False), (Done.ACKNOWLEDGED, True)) == {True, False}
    assert possible((Done.ACKNOWLEDGED, False), (Done.REPEATED, True)) == {False}


def test_acknowledged_writes_are_counted() -> None:
    assert ledger((Done.ACKNOWLEDGED, False), (Done.UNKNOWN, True), (Done.ACKNOWLEDGED, True)).acknowledged == 2
