from llm4seg_probe.errors import unknown


def test_the_nearest_name_comes_first() -> None:
    message = unknown("site", "befor", ["logits", "after", "before"])
    assert message.startswith("unknown site 'befor'. Did you mean 'before'?")
    assert message.endswith("Valid: before, logits, after")


def test_a_name_like_no_other_gets_all_of_them() -> None:
    assert unknown("arm", "zzz", ["cnn", "llm"]) == "unknown arm 'zzz'. Valid: cnn, llm"
