import threading

import pytest

from llm4seg_probe import progress


def test_track_yields_the_items_and_writes_nothing_to_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(progress.track(iter("abc"), "Reading")) == ["a", "b", "c"]
    progress.say("[bold]not markup[/bold]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "[bold]not markup[/bold]\n"


def test_the_display_ends_with_the_last_bar_of_any_thread() -> None:
    first_is_over = threading.Event()
    second_began = threading.Event()

    def second() -> None:
        with progress.bar("second", 2) as advance:
            second_began.set()
            first_is_over.wait()
            advance(1)

    thread = threading.Thread(target=second)
    with progress.bar("first", None) as advance:
        thread.start()
        second_began.wait()
        advance(1)
    assert progress._display.live is not None
    first_is_over.set()
    thread.join()
    assert progress._display.live is None


def test_a_failure_inside_a_bar_ends_it() -> None:
    def fail() -> None:
        for _ in progress.track([1], "Failing"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert progress._display.live is None
