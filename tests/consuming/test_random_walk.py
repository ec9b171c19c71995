"""What is current, and what a span's parent and links are, on random walks over consumers, blocks and contexts.

The model and its rules are in `tests/support/context_model.py`, programs and their steps in `tests/support/random_walk.py`.
The walks of the suite have the seeds from 0 on. Of more, and of one alone:

    OTELKAFKA_WALKS=1000 pytest tests/consuming/test_random_walk.py -k walk
    python -m tests.consuming.test_random_walk everything 0 10000
    python -m tests.consuming.test_random_walk blocks 17 1

The latter prints the shortest program that goes wrong for each of the first few seeds that do, and counts all. Such a
program can be pasted into a scenario: what stands behind `|` there was written by hand, and holds the model, too.
"""

import os
import sys

import pytest

from tests.support.random_walk import PROFILES, explain, report, run, run_at_random

LENGTH = 60
WALKS = int(os.environ.get("OTELKAFKA_WALKS", "120"))
SHOWN = 3


@pytest.fixture(params=["model", "otelkafka"])
def check(request):
    """Run a program in the model alone, whose sayings are compared with those written down, or in otelkafka as well."""

    def check(program):
        given = [line.strip() for line in program.strip().splitlines()]
        walk, wrong = run(given, is_real=request.param == "otelkafka")
        if wrong is not None:
            pytest.fail(report(walk, wrong), pytrace=False)
        said = [line.split("|") for line in walk.program]
        written = [line.split("|") for line in given[1:]]
        parts = [[" ".join(part.split()) for part in line] for line in said[: len(written)]]
        assert parts == [[" ".join(part.split()) for part in line] for line in written]

    return check


# Rule 1.


def test_iteration_ends_its_last_span_wherever_it_goes_on(check):
    check("""
        A:parent:- module:parent
        main next A             | A0
        main iter A i1          | nothing; ended A0
        main advance i1         | A1
        main iter A i2          | nothing; ended A1
        main advance i2         | A2
        main drop i1            | A2
        main advance i2         | A3; ended A2
        main poll A l1 2        | nothing; ended A3
        main next A             | A6
        main fresh t1           | A6
        t1   next A             | A7; ended A6
        main probe              | A6
        main poll A l2 1        | nothing; ended A7
        t1   probe              | A7
        t1   next A             | A9
    """)


def test_iterator_that_is_dropped_ends_its_own_span_alone(check):
    check("""
        A:parent:- module:parent
        main iter A i1          | nothing
        main advance i1         | A0
        main next A             | A1; ended A0
        main drop i1            | A1
        main iter A i2          | nothing; ended A1
        main advance i2         | A2
        main drop i2            | nothing; ended A2
    """)


def test_list_ends_its_last_span_and_what_its_consumer_has_open_in_this_context(check):
    check("""
        A:parent:- module:parent
        main poll A l1 2        | nothing
        main poll A l2 2        | nothing
        main loop l1 i1         | nothing
        main loop l2 i2         | nothing
        main advance i1         | A0
        main advance i2         | A2; ended A0
        main drop i1            | A2
        main fresh t1           | A2
        t1   advance i2         | A3; ended A2
        main probe              | A2
        main next A             | A4
        t1   advance i2         | nothing; ended A3
        main probe              | A4
    """)


# Rule 2.


def test_block_alone_ends_the_span_that_it_has_opened(check):
    check("""
        A:parent:- B:parent:- module:parent
        main poll A l1 2        | nothing
        main enter b1 A0        | A0
        main poll A l2 1        | A0
        main commit A           | A0
        main send               | A0
        main next A             | A3 in A0
        main close A            | A0; ended A3
        main fail b1            | nothing; ended A0
    """)


def test_block_alone_ends_the_span_that_it_has_joined(check):
    check("""
        A:parent:- module:parent
        main next A             | A0
        main enter b1 copied:A0 | A0
        main enter b2 handler:A0 | A0
        main poll A l1 1        | A0
        main fail b2            | A0
        main iter A i1          | A0
        main drop i1            | A0
        main close A            | A0
        main leave b1           | nothing; ended A0
    """)


def test_block_joins_what_its_context_has_inherited(check):
    check("""
        A:parent:- module:parent
        main next A             | A0
        main copy t1            | A0
        main fresh t2           | A0
        t2   enter b2 A0        | A0
        t1   enter b1 A0        | A0
        main next A             | A1
        t1   poll A l1 1        | A0; ended A1
        t1   leave b1           | A0; ended A0
        t2   leave b2           | nothing; ended A0
    """)


def test_rest_of_the_loops_body_is_outside_of_a_block_that_has_joined_its_span(check):
    check("""
        A:parent:- module:parent
        main iter A i1          | nothing
        main advance i1         | A0
        main enter b1 A0        | A0
        main leave b1           | nothing; ended A0
        main probe              | nothing
        main advance i1         | A1
        main drop i1            | nothing; ended A1
    """)


def test_next_record_inside_a_block_is_inside_its_span(check):
    check("""
        A:parent:- module:parent
        main next A             | A0
        main enter b1 A0        | A0
        main next A             | A1 in A0
        main leave b1           | A1; ended A0
        main next A             | A2; ended A1
    """)


# Rule 3.


def test_what_a_copied_context_has_inherited_stays(check):
    check("""
        A:parent:- B:parent:- module:parent
        main next A             | A0
        main copy t1            | A0
        main next A             | A1; ended A0
        t1   probe              | A0
        t1   poll B l1 1        | A0
        t1   loop l1 i1         | A0
        t1   advance i1         | B0 in A0
        t1   advance i1         | A0; ended B0
        t1   enter b1 module:X0 | X0 in A0
        t1   leave b1           | A0; ended X0
        t1   send               | A0
        t1   next A             | A2 in A0; ended A1
        t1   close A            | A0; ended A2
        main send               | nothing
    """)


# Rule 4.


def test_what_has_ended_elsewhere_is_gone_as_soon_as_otelkafka_runs_here(check):
    check("""
        A:parent:- B:parent:- module:parent
        main fresh t1           | nothing
        main next A             | A0
        t1   next A             | A1; ended A0
        main probe              | A0
        main next B             | B0
        t1   close B            | A1; ended B0
        main enter b1 module:X0 | X0
        main next A             | A2 in X0; ended A1
        t1   send               | nothing
        t1   close A            | nothing; ended A2
        main probe              | A2
        main send               | X0
        main leave b1           | nothing; ended X0
    """)


# Rule 5.


def test_consumers_in_turn_make_pairs(check):
    check("""
        A:parent:- B:parent:- module:parent
        main iter A i1          | nothing
        main advance i1         | A0
        main next B             | B0 in A0
        main advance i1         | A1; ended A0
        main next B             | B1 in A1; ended B0
        main advance i1         | A2; ended A1
        main close B            | A2; ended B1
        main drop i1            | nothing; ended A2
    """)


def test_consumers_in_turn_make_pairs_inside_of_the_applications_span(check):
    check("""
        A:link:s B:link:- module:parent
        main span s1            | s1
        main iter A i1          | s1
        main iter B i2          | s1
        main advance i1         | A0 in s1
        main advance i2         | B0 in A0
        main advance i1         | A1 in s1; ended A0
        main advance i2         | B1 in A1; ended B0
        main drop i1            | B1; ended A1
        main drop i2            | s1; ended B1
        main exit s1            | nothing; ended s1
    """)


def test_loop_goes_on_inside_of_the_applications_span_or_a_block_that_is_in_between(check):
    check("""
        A:parent:- B:parent:- module:parent
        main next A             | A0
        main span s1            | s1 in A0
        main next A             | A1 in s1; ended A0
        main exit s1            | A0; ended s1
        main next A             | A2; ended A1
        main next B             | B0 in A2
        main enter b1 B0        | B0
        main next A             | A3 in B0; ended A2
        main leave b1           | A3; ended B0
        main next A             | A4; ended A3
    """)


# Rule 6.


def test_batch_ends_the_loops_span_of_one_of_its_records(check):
    check("""
        A:parent:- B:parent:- module:parent
        main iter A i1          | nothing
        main advance i1         | A0
        main advance i1         | A1; ended A0
        main enter b1 A0+A1     | b1; ended A1
        main leave b1           | nothing; ended b1
        main poll B l1 2        | nothing
        main loop l1 i2         | nothing
        main advance i2         | B0
        main enter b2 handler:l1 | b2; ended B0
        main leave b2           | nothing; ended b2
    """)


def test_batch_is_inside_of_a_span_that_a_block_holds(check):
    check("""
        A:parent:s module:parent
        main span s1            | s1
        main next A             | A0 in context of A0
        main enter b1 A0        | A0
        main enter b2 A0+X1     | b2 in A0
        main enter b3 b2        | b2
        main leave b3           | b2
        main leave b2           | A0; ended b2
        main leave b1           | s1; ended A0
    """)


# Rule 7.


@pytest.mark.parametrize("more", ["", " hook", " metrics"])
def test_record_is_in_its_own_context_or_around_as_the_relation_says(check, more):
    check(f"""
        A:parent:su- B:link:su- module:parent{more}
        main next A             | A0 in context of A0
        main next A             | A1 in context of A1; ended A0
        main probe              | A1
        main next A             | A2; ended A1
        main next B             | B0 in A2
        main next B             | B1 in A2; ended B0
        main enter b1 A0+A1+A2  | b1 in B1; ended A2
        main leave b1           | B1; ended b1
        main close B            | nothing; ended B1
    """)


# Rule 8.


def test_what_was_opened_inside_of_a_span_that_ends_goes_on(check):
    check("""
        A:parent:- B:parent:- module:parent
        main span s1            | s1
        main next A             | A0 in s1
        main enter b1 module:X0 | X0 in A0
        main next B             | B0 in X0
        main close A            | B0; ended A0
        main leave b1           | B0; ended X0
        main close B            | s1; ended B0
    """)


# All of them.


@pytest.mark.parametrize("profile", PROFILES)
def test_random_walk_goes_as_the_model_says(profile):
    for seed in range(WALKS):
        walk, wrong = run_at_random(seed, profile, LENGTH)
        if wrong is not None:
            pytest.fail(explain(seed, profile, walk, wrong), pytrace=False)


def main(profile, first="0", count="1000", length=str(LENGTH)):
    failed = []
    for seed in range(int(first), int(first) + int(count)):
        walk, wrong = run_at_random(seed, profile, int(length))
        if wrong is not None:
            failed.append(seed)
            if len(failed) <= SHOWN:
                sys.stdout.write(f"{explain(seed, profile, walk, wrong)}\n\n")
    sys.stdout.write(f"{len(failed)} of {count} walks of {profile!r} go wrong: {failed[:20]}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
