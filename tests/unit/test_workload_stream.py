"""Reading a streamed reply from its bytes."""

from hypothesis import given
from hypothesis import strategies as st

from vlmprof.workload.stream import ChatStream, error_message

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":2,"total_tokens":72,'
    b'"prompt_tokens_details":{"cached_tokens":0,"multimodal_tokens":{"image":64}}}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def token(text: str) -> bytes:
    """An event as vLLM writes it."""
    content = text.encode()
    return (
        b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
        % content
    )


def read(*arrivals: bytes) -> ChatStream:
    """A stream whose n-th arrival, from 1, comes at n ns."""
    stream = ChatStream()
    for at_ns, received in enumerate(arrivals, start=1):
        stream.feed(received, at_ns)
    return stream


def test_the_first_token_is_the_first_content_after_the_role() -> None:
    """The role arrives at 1, the tokens at 2 and 3, usage at 4, the end at 5."""
    stream = read(ROLE, token("A"), token(" cat"), USAGE, DONE)
    assert (stream.first_token_ns, stream.done_ns, stream.text) == (2, 5, "A cat")
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (70, 2)
    assert stream.usage.image_tokens == 64
    assert stream.ending_error() == ""


def test_a_token_that_decodes_to_nothing_yet_is_the_first_token() -> None:
    """Half a character at 2, the whole at 3: the model had spoken at 2."""
    stream = read(ROLE, token(""), token("é"), DONE)
    assert (stream.first_token_ns, stream.text) == (2, "é")


def test_role_and_token_in_one_event_count_as_a_token() -> None:
    """Some servers repeat the role in every event."""
    both = b'data: {"choices":[{"delta":{"role":"assistant","content":"A"}}]}\n\n'
    assert read(both, DONE).first_token_ns == 1


def test_a_thought_is_a_token_but_no_text() -> None:
    for key in (b"reasoning", b"reasoning_content"):
        stream = read(ROLE, b'data: {"choices":[{"delta":{"%s":"hm"}}]}\n\n' % key, token("A"), DONE)
        assert (stream.first_token_ns, stream.text) == (2, "A")


def test_an_empty_delta_is_no_token() -> None:
    """The closing event of some servers has no content; with nothing else the stream had no token."""
    stream = read(ROLE, b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', DONE)
    assert stream.first_token_ns is None
    assert stream.ending_error() == "the stream had no token in it"


@given(cuts=st.lists(st.integers(0, 1000), max_size=12))
def test_where_the_network_cuts_the_stream_does_not_matter(cuts: list[int]) -> None:
    """The same events with CRLF, a comment and no space after `data:`, in any pieces."""
    whole = (b": ping\n\n" + ROLE + token("A") + token(" cat") + USAGE + DONE).replace(b"\n", b"\r\n")
    whole = whole.replace(b"data: ", b"data:")
    ends = [*sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    stream = read(*(whole[start:end] for start, end in zip([0, *ends], ends, strict=False)))
    assert stream.text == "A cat"
    assert stream.usage.image_tokens == 64
    assert stream.ending_error() == ""
    assert stream.first_token_ns is not None
    assert stream.done_ns is not None
    assert stream.first_token_ns <= stream.done_ns


def test_an_error_within_the_stream_is_the_streams_error() -> None:
    """vLLM reports it as an event and then ends the stream as if all were well."""
    event = b'data: {"error":{"message":"engine died","type":"InternalServerError","code":500}}\n\n'
    stream = read(ROLE, token("A"), event, DONE)
    assert stream.ending_error() == "engine died"
    assert (stream.first_token_ns, stream.done_ns) == (2, 4)


def test_a_stream_without_its_end_is_incomplete() -> None:
    assert read(ROLE, token("A")).ending_error() == "the stream ended before [DONE]"
    assert read().ending_error() == "the stream ended before [DONE]"


def test_an_event_that_is_no_json_is_reported() -> None:
    assert "not a chat completion chunk" in read(b"data: {broken\n\n", DONE).ending_error()
    assert "not a chat completion chunk" in read(b'data: {"choices":7}\n\n', DONE).ending_error()


def test_image_tokens_are_zero_where_the_server_does_not_tell_them() -> None:
    assert read(b'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n').usage.image_tokens == 0
    other = b'data: {"choices":[],"usage":{"prompt_tokens_details":{"image_tokens":5}}}\n\n'
    assert read(other).usage.image_tokens == 5


def test_error_messages_of_the_usual_forms() -> None:
    """OpenAI and vLLM nest it, older vLLM does not, FastAPI says detail; the rest is quoted."""
    assert error_message(b'{"error":{"message":"too long","code":400}}') == "too long"
    assert error_message(b'{"object":"error","message":"too long"}') == "too long"
    assert error_message(b'{"detail":"Not Found"}') == "Not Found"
    assert error_message(b'{"error":"too long"}') == "too long"
    assert error_message(b"<html>Bad Gateway</html>\n") == "<html>Bad Gateway</html>"
    assert error_message(b'["odd"]') == '["odd"]'
    assert len(error_message(b"x" * 9000)) == 500
    assert error_message(b"") == ""
