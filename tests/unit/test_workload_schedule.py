"""Blocks, arrival times, prompts and request ids."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase
from vlmprof.workload.chat import ChatOptions, chat_request, request_id
from vlmprof.workload.images import generated_images
from vlmprof.workload.prompts import DEFAULT_PROMPT, numbered_prompt
from vlmprof.workload.schedule import WARM_UP_BLOCK, Block, ClosedLoop, OpenLoop, plan_blocks


def test_forty_requests_make_four_pairs_of_five_at_concurrency_one() -> None:
    blocks = plan_blocks(40, warm_up=4, concurrency=1, seed=0)
    assert blocks[0] == Block(WARM_UP_BLOCK, Phase.WARM_UP, 4)
    assert [block.request_count for block in blocks[1:]] == [5] * 8
    assert [block.index for block in blocks[1:]] == list(range(8))


def test_forty_requests_make_two_pairs_of_ten_at_concurrency_four() -> None:
    """A block has at least 2 * 4 requests, so 40 // 16 = 2 pairs."""
    blocks = plan_blocks(40, warm_up=0, concurrency=4, seed=0)
    assert [block.request_count for block in blocks] == [10] * 4


def test_pairs_are_abba_or_baab_by_seed() -> None:
    """Among 20 seeds both orders turn up; each seed always gives its own."""
    control, profiled = Phase.CONTROL, Phase.PROFILED
    orders = {
        tuple(block.phase for block in plan_blocks(40, warm_up=0, concurrency=4, seed=seed))
        for seed in range(20)
    }
    assert orders == {
        (control, profiled, profiled, control),
        (profiled, control, control, profiled),
    }
    assert plan_blocks(40, warm_up=0, concurrency=4, seed=7) == plan_blocks(
        40, warm_up=0, concurrency=4, seed=7
    )


@given(
    concurrency=st.integers(1, 16),
    more=st.integers(0, 2000),
    warm_up=st.integers(0, 20),
    seed=st.integers(0, 50),
)
def test_a_plan_sends_every_request_once_and_half_of_them_profiled(
    concurrency: int, more: int, warm_up: int, seed: int
) -> None:
    """Control has the odd request; each phase has as many blocks, none below 2 * concurrency, in pairs."""
    requests = 4 * concurrency + more
    blocks = plan_blocks(requests, warm_up=warm_up, concurrency=concurrency, seed=seed)
    counts: Counter[Phase] = Counter()
    for block in blocks:
        counts[block.phase] += block.request_count
    assert counts[Phase.WARM_UP] == warm_up
    assert counts[Phase.CONTROL] + counts[Phase.PROFILED] == requests
    assert counts[Phase.CONTROL] - counts[Phase.PROFILED] in (0, 1)
    measured = [block for block in blocks if block.phase is not Phase.WARM_UP]
    assert min(block.request_count for block in measured) >= 2 * concurrency
    for first, second in zip(measured[::2], measured[1::2], strict=True):
        assert {first.phase, second.phase} == {Phase.CONTROL, Phase.PROFILED}


@pytest.mark.parametrize(
    ("requests", "warm_up", "concurrency"), [(3, 0, 1), (15, 0, 4), (40, -1, 1), (40, 0, 0), (0, 0, 1)]
)
def test_an_impossible_plan_is_refused_with_a_hint(requests: int, warm_up: int, concurrency: int) -> None:
    with pytest.raises(UsageError) as refused:
        plan_blocks(requests, warm_up=warm_up, concurrency=concurrency, seed=0)
    assert refused.value.hint


def test_constant_rate_sends_at_equal_intervals() -> None:
    """4 requests/s: 0, 250, 500 ms."""
    offsets_ns = list(OpenLoop(4, poisson=False).offsets_ns(3, 0))
    assert offsets_ns == [0, 250_000_000, 500_000_000]


def test_poisson_gaps_have_the_rates_mean_and_are_the_same_for_a_seed_and_block() -> None:
    """2,000 exponential gaps of mean 0.1 s: their mean is 0.1 s within 4 * 0.1 / sqrt(2000) = 0.009 s."""
    load = OpenLoop(10, seed=3)
    offsets_ns = list(load.offsets_ns(2001, WARM_UP_BLOCK))
    assert offsets_ns[0] == 0
    assert offsets_ns == sorted(offsets_ns)
    assert offsets_ns[-1] / 2000 / 1e9 == pytest.approx(0.1, abs=0.009)
    assert offsets_ns == list(load.offsets_ns(2001, WARM_UP_BLOCK))
    assert offsets_ns != list(load.offsets_ns(2001, 0))


@pytest.mark.parametrize("rate_per_s", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_sends_nothing_is_refused(rate_per_s: float) -> None:
    with pytest.raises(UsageError):
        OpenLoop(rate_per_s)


def test_a_closed_loop_needs_a_client() -> None:
    with pytest.raises(UsageError):
        ClosedLoop(0)


def test_connections_follow_the_load() -> None:
    """A request is taken to last about a second: 2.5 requests/s need 3 connections; never more than 32."""
    assert ClosedLoop(4).connections == 4
    assert OpenLoop(2.5).connections == 3
    assert OpenLoop(1000).connections == 32


def test_prompts_differ_from_their_first_character_on_and_keep_their_length() -> None:
    prompts = [numbered_prompt(DEFAULT_PROMPT, number) for number in (7, 12345)]
    assert prompts[0] == "[00007] Provide a one-sentence caption for the provided image."
    assert len(prompts[0]) == len(prompts[1])


def test_a_request_is_complete_json_before_it_is_sent() -> None:
    """Two images, then the numbered text; greedy, streamed with usage, exactly max_tokens long."""
    images = generated_images(2, seed=1, width=64, height=48)
    options = ChatOptions(model="m", run_token="ab1", max_tokens=8, seed=5, extra={"top_k": 1})
    request = chat_request(options, 3, [images[0], images[1]])
    body = msgspec.json.decode(request.body)
    content = body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
    assert content[0]["image_url"]["url"] == images[0].data_url
    assert content[2]["text"].startswith("[00003] ")
    assert (body["max_tokens"], body["temperature"], body["seed"], body["top_k"]) == (8, 0, 5, 1)
    assert body["ignore_eos"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert request.id == "vp-ab1-3"
    assert request.images == (images[0].info, images[1].info)


def test_a_server_without_ignore_eos_is_not_sent_it() -> None:
    request = chat_request(ChatOptions(model="m", run_token="x", ignore_eos=False), 0, [])
    assert "ignore_eos" not in msgspec.json.decode(request.body)


@pytest.mark.parametrize("token", ["", "a b", "a_b", "ä", "a\n"])
def test_a_run_token_has_only_letters_digits_and_hyphens(token: str) -> None:
    with pytest.raises(UsageError):
        request_id(token, 1)
