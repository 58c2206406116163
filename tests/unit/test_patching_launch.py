"""How a restart recipe changes the start of a server: variables and arguments beside the user's own."""

from vlmprof.patching import Launch


def test_a_list_of_paths_is_put_in_front_and_other_variables_are_replaced() -> None:
    """PYTHONPATH=/b with /a in front is /a:/b; a number has one value, the recipe's."""
    launch = Launch({"PYTHONPATH": "/a", "OMP_NUM_THREADS": "2"})
    served = launch.added_to({"PYTHONPATH": "/b", "OMP_NUM_THREADS": "1", "HOME": "/root"})
    assert served == {"PYTHONPATH": "/a:/b", "OMP_NUM_THREADS": "2", "HOME": "/root"}


def test_a_list_of_paths_that_was_not_there_has_no_empty_part() -> None:
    """An empty part of PYTHONPATH would be the working folder."""
    assert Launch({"PYTHONPATH": "/a"}).added_to({})["PYTHONPATH"] == "/a"


def test_two_recipes_start_one_server_together() -> None:
    """What the second adds goes in front of what the first has put there."""
    first = Launch({"LD_PRELOAD": "/one.so"}, ("--flag",))
    second = Launch({"LD_PRELOAD": "/two.so", "X": "1"}, ("--other", "2"))
    assert first | second == Launch({"LD_PRELOAD": "/two.so:/one.so", "X": "1"}, ("--flag", "--other", "2"))
