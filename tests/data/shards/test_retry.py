import pytest

from ssl_swin.data.shards.retry import Retry


class Trouble(Exception):
    pass


def failing(num, error=Trouble):
    """A try that fails so many times and then answers how often it was asked."""
    asked = []

    def ask():
        asked.append(1)
        if len(asked) <= num:
            raise error(len(asked))
        return len(asked)

    return ask


@pytest.mark.parametrize("num_failures", range(7))
def test_an_answer_comes_if_fewer_tries_fail_than_there_are(num_failures):
    waits = []
    retry = Retry(num_tries=4, first_wait_s=1.0, longest_wait_s=3.0, sleep=waits.append)
    ask = failing(num_failures)
    if num_failures < 4:
        assert retry.run(ask, Trouble, lambda _: True) == num_failures + 1
    else:
        with pytest.raises(Trouble, match="4"):
            retry.run(ask, Trouble, lambda _: True)
    assert waits == [1.0, 2.0, 3.0][:num_failures]


def test_errors_that_do_not_pass_and_other_errors_are_raised_at_once():
    retry = Retry(sleep=lambda _: pytest.fail("it waits"))
    with pytest.raises(Trouble, match="1"):
        retry.run(failing(1), Trouble, lambda _: False)
    with pytest.raises(KeyError):
        retry.run(failing(1, KeyError), Trouble, lambda _: True)


def test_a_failure_that_brought_something_is_the_first_in_a_row():
    moves, told = iter([False, False, True, False, False]), []
    retry = Retry(num_tries=3, sleep=lambda _: None)

    def final(error, num_failed):
        told.append((error.args, num_failed))
        return ValueError("over")

    with pytest.raises(ValueError, match="over") as error:
        retry.run(failing(9), Trouble, lambda _: True, lambda: next(moves), final)
    assert told == [((5,), 3)]
    assert isinstance(error.value.__cause__, Trouble)


def test_patience_is_the_time_of_all_tries_and_waits():
    assert Retry(3, 1.0, 30.0, stalled_s=10.0).patience_s == 3 * 10 + 1 + 2
