"""Results, figures and names: nothing in them acts on who reads them, or carries files along."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus import Materials

from llm4seg_probe.config import Config, load_config, to_yaml
from llm4seg_probe.drawing.figure_files import inline_svg
from llm4seg_probe.errors import ConfigError, TableError, UserError
from llm4seg_probe.reading.arrays import read_npz
from llm4seg_probe.reading.names import printable
from llm4seg_probe.reading.text import dump_yaml, read_csv, read_json, read_yaml_values
from llm4seg_probe.report.report import write_report
from llm4seg_probe.study.analysis import load_analysis

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'
ACTS = {
    "redirects": '<meta http-equiv="refresh" content="1;url=http://evil/"/>',
    "redirects in another namespace": '<m:meta xmlns:m="http://www.w3.org/1999/xhtml"/>',
    "runs": "<script>x()</script>",
    "runs on an event": '<g onload="x()" onclick="x()"/>',
    "frames": '<foreignObject><iframe src="http://evil/"/></foreignObject>',
    "links": '<a xlink:href="http://evil/"><text>x</text></a>',
    "fetches an image": '<image href="http://evil/x.png"/>',
    "fetches a style": '<g style="fill:url(http://evil/x)"/><style>@import "http://evil/";</style>',
    "fetches a paint": '<g fill="url(http://evil/#x)"/>',
    "animates": '<set attributeName="href" to="javascript:x()"/><animate attributeName="x"/>',
    "uses another file": '<use xlink:href="http://evil/x.svg#a"/>',
    "runs by its address": '<image href="javascript:x()"/><use href="javascript:x()"/>',
    "nests an image of code": '<image href="data:image/svg+xml;base64,AAAA"/>',
    "covers the page": '<g style="position:fixed;top:0;fill:#000"/>',
}


@pytest.mark.parametrize("kind", ACTS)
def test_a_figure_can_only_be_looked_at(kind: str) -> None:
    found = inline_svg(SVG.format(ACTS[kind]), "f", "alt")
    for word in ("evil", "script", "meta", "iframe", "onload", "onclick", "<a ", "<set", "<animate",
                 "position", "svg+xml", "foreignObject"):  # fmt: skip
        assert word not in found.lower(), found


@pytest.mark.parametrize(
    "text",
    ["", "no figure", "<html/>", "<svg", "<svg>" + "<g>" * 50_000, "\0", "<svg>&x;</svg>",
     '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;">]><svg>&c;</svg>'],
    ids=lambda text: text[:12] or "empty",
)  # fmt: skip
def test_what_is_no_figure_is_refused(text: str) -> None:
    with contextlib.suppress(TableError):
        assert inline_svg(text, "f", "alt").startswith("<svg")


def test_uses_of_uses_do_not_multiply() -> None:
    lines = '<path id="a0" d="M0 0"/>' + "".join(
        f'<g id="a{n}">' + f'<use xlink:href="#a{n - 1}"/>' * 10 + "</g>" for n in range(1, 12)
    )
    found = inline_svg(SVG.format(f'{lines}<use xlink:href="#a11"/>'), "f", "alt")
    assert found.count("<use") == 10


def test_what_matplotlib_draws_passes(source: Materials, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    from llm4seg_probe.drawing.figure_files import save_figure

    figure, axes = plt.subplots()
    axes.bar([1, 2], [3, 4], hatch="//")
    axes.imshow(np.eye(3), extent=(0, 1, 0, 1))
    axes.set_title("words")
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    (svg,) = (p for p in save_figure(figure, tmp_path, "f", table).values() if p.suffix == ".svg")
    plt.close(figure)
    text = svg.read_text()
    found = inline_svg(text, "f", "alt")
    for element in ("<path", "<use", "<text", "<image", "<pattern", "<clipPath"):
        assert found.count(element) == text.count(element), element


def test_links_in_results_are_not_carried_along(source: Materials, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(source.results, folder)
    secret = tmp_path / "secret"
    secret.write_text("a,b\n1,2\n")
    (folder / "p" / "figures").mkdir(parents=True)
    (folder / "p" / "about.yaml").write_text("title: t\nshows: s\n")
    for name in ("p/leak.csv", "p/figures/leak.txt", "leak.csv", "association.csv"):
        (folder / name).symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    write_report(folder, tmp_path / "page")
    carried = [path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()]
    assert secret.read_bytes() not in carried
    assert "leak" not in (tmp_path / "page" / "index.html").read_text()


@pytest.mark.parametrize("name", ["costs ${", "${oc.env:HOME}", "a: b", "- x", "&a", "!!x", "ä\n"])
def test_a_name_survives_the_way_into_yaml_and_back(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(dump_yaml({"name": name, "of": [name, {name: 1e-3}]}))
    found = read_yaml_values(tmp_path / "a.yaml", ConfigError)
    assert found == {"name": name, "of": [name, {name: 1e-3}]}


def test_a_configuration_survives_the_way_into_yaml_and_back(
    source: Materials, tmp_path: Path
) -> None:
    config = Config.model_validate_json(source.config)
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "c.yaml") == config


YAMLS = {
    "an object": "a: !!python/object/apply:os.system ['touch PWNED']",
    "brackets": "[" * 3000,
    "nested maps": "".join(f"{' ' * n}a:\n" for n in range(400)),
    "flow maps": "{a: " * 400 + "1" + "}" * 400,
    "aliases": "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    ),
    "an alias of itself": "a: &a [*a]",
    "a key twice": "a: 1\na: 2",
    "a list": "- 1",
    "many values": "a: [" + "1," * 30_000 + "]",
    "bytes": "\x00\x01\ufffe",
    "a word": "hello",
}  # fmt: skip


@pytest.mark.parametrize("kind", YAMLS)
def test_yaml_that_asks_for_more_than_values_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(YAMLS[kind])
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)
    assert not Path("PWNED").exists()


RINGS = {
    "itself": {"a": "extends: a.yaml"},
    "a ring": {"a": "extends: b.yaml", "b": "extends: c.yaml", "c": "extends: a.yaml"},
    "unites itself": {"a": "unites: [a.yaml]"},
    "unites a number": {"a": "unites: 5"},
    "extends a list": {"a": "extends: [b]"},
    "extends a path": {"a": "extends: /etc/passwd"},
    "claims a number": {"a": "unites: [b.yaml]", "b": "claims: 5"},
    "further a number": {"a": "unites: [b.yaml]", "b": "further: 5"},
}


@pytest.mark.parametrize("kind", RINGS)
def test_analyses_that_lead_in_circles_are_refused(kind: str, tmp_path: Path) -> None:
    for name, text in RINGS[kind].items():
        (tmp_path / f"{name}.yaml").write_text(f"{text}\nname: s\n")
    with pytest.raises(ConfigError):
        load_analysis(tmp_path / "a.yaml")


def test_an_analysis_of_too_many_runs_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: s\ntitle: t\nquestion: q\nrests_on: r\nfactors:\n"
        + "".join(f"  training.optimiser.lr{n}: [{', '.join(map(str, range(300)))}]\n"
                  for n in range(4))
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"makes .* runs.*--bounds runs="):
        load_analysis(tmp_path / "a.yaml")


@pytest.mark.parametrize("seed", ["[null]", "[{}]", "[[1]]", "['x']", f"[{2**70}]"])
def test_seeds_of_any_kind_are_refused_in_one_line(
    seed: str, source: Materials, tmp_path: Path
) -> None:
    import json

    values = json.loads(source.analysis)
    text = dump_yaml(values).replace("  seed:\n  - 0\n  - 1\n", f"  seed: {seed}\n")
    assert seed in text
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_analysis(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        '["\\"' * 9,
        "",
        "nan nan",
        '"' * 20_001,
        "9" * 100_000,
    ],
)
def test_json_is_bounded(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError):
        read_json(tmp_path / "a.json", UserError)


ENCODINGS = {
    "utf-16": r"a\.json: is UTF-16: save it as UTF-8 text",
    "utf-32": r"a\.json: is UTF-32: save it as UTF-8 text",
    "utf-16-le": r"a\.json: holds bytes that are no UTF-8 text \(UTF-16\?\): save it as UTF-8 text",
    "latin-1": r"a\.json: is no UTF-8 text \(byte 2 is 0xe4\): save it as UTF-8 text",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_in_another_encoding_is_refused_with_the_remedy(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('["ä"]'.encode(encoding))
    for reader in (read_json, read_yaml_values):
        with pytest.raises(UserError, match=ENCODINGS[encoding]):
            reader(path, UserError)
    path.write_bytes('["ä"]'.encode("utf-8-sig"))
    assert read_json(path, UserError) == read_yaml_values(path, UserError) == ["ä"]


def test_brackets_in_strings_are_no_depth(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": "' + "[" * 500 + '\\"{"}')
    assert read_json(tmp_path / "a.json", UserError) == {"a": "[" * 500 + '"{'}


def test_tables_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",".join(f"c{n}" for n in range(20_000)) + "\n")
    with pytest.raises(TableError, match=r"20,000 columns.*--bounds columns="):
        read_csv(tmp_path / "a.csv", TableError)
    (tmp_path / "b.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(TableError, match="not a readable CSV table"):
        read_csv(tmp_path / "b.csv", TableError)


def test_an_array_file_that_announces_much_is_refused(tmp_path: Path) -> None:
    import io
    import zipfile

    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with zipfile.ZipFile(tmp_path / "maps.npz", "w") as archive:
        archive.writestr("maps.npy", stream.getvalue())
    with pytest.raises(TableError, match="announces"):
        read_npz(tmp_path / "maps.npz", TableError)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_an_array_file_that_is_none_is_refused(
    content: bytes, source: Materials, tmp_path: Path
) -> None:
    shutil.copytree(source.results, tmp_path / "r")
    (tmp_path / "r" / "maps.npz").write_bytes(content)
    with pytest.raises(TableError, match=r"maps\.npz"):
        write_report(tmp_path / "r", tmp_path / "page")


LOGGERS = {
    "another folder": {"CSVLogger": {"save_dir": "/somebody"}},
    "a path as its name": {"CSVLogger": {"name": "../other", "version": "v"}},
    "no version": {"CSVLogger": {"name": "log", "version": ""}},
    "a path as its version": {"TensorBoardLogger": {"version": "../../x"}},
    "a path in its suffix": {"TensorBoardLogger": {"filename_suffix": "/../../x"}},
    "a host": {"MLFlowLogger": {"tracking_uri": "http://evil"}},
    "a host without an option": {"WandbLogger": {}},
}


@pytest.mark.parametrize("kind", LOGGERS)
def test_loggers_write_into_their_run_and_ask_nobody(kind: str, tmp_path: Path) -> None:
    from llm4seg_probe.training.loggers import loggers_of

    with pytest.raises(ConfigError):
        loggers_of(LOGGERS[kind], tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{"holes": 10**9}, {"num_control_points": 10**9}, {"a": [{"b": [1e30]}]}]
)
def test_transforms_take_no_number_that_decides_about_memory(options: dict) -> None:
    from llm4seg_probe.config import Transform
    from llm4seg_probe.data.augmentation import listed

    transform = Transform(name="RandHistogramShiftd", on="image", options=options)
    with pytest.raises(ConfigError, match="--bounds option="):
        listed([transform], (1, 1), (32, 32))


def test_text_is_shown_and_commands_no_terminal() -> None:
    assert (
        printable("a\x1b]0;t\x07\x9b31m\u202eb\r\n") == "a\ufffd]0;t\ufffd\ufffd31m\ufffdb\ufffd\n"
    )


def test_names_from_a_table_reach_the_terminal_as_text(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "t.csv").write_text("arm,seed,dice\na\x1b[31m,0,0.1\na\x1b[31m,1,0.2\n")
    line = refused("compare", tmp_path / "t.csv", "--baseline", "\x1b]0;x\x07")
    assert line.isprintable()


def test_python_dash_m_runs_nothing_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("torch", "yaml", "typer", "evil"):
        (tmp_path / f"{name}.py").write_text("open('PWNED', 'w')\n")
    import llm4seg_probe

    path = str(Path(llm4seg_probe.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-m", "llm4seg_probe", "list", "presets"],
        cwd=tmp_path, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=True, capture_output=True,
    )  # fmt: skip
    assert not (tmp_path / "PWNED").exists()


def test_an_internal_error_is_one_line_that_says_what_to_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from typer.testing import CliRunner

    from llm4seg_probe.cli.app import app
    from llm4seg_probe.results import names

    def broken(kind: str) -> dict[str, str]:
        raise EOFError("lost")

    monkeypatch.setattr(names, "names_of", broken)
    result = CliRunner().invoke(app, ["list", "arms"])
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: internal (EOFError in ")
    assert "please report" in line
    shown = CliRunner().invoke(app, ["--traceback", "list", "arms"])
    assert shown.exit_code == 1
    assert "Traceback (most recent call last)" in shown.stderr


def test_a_bound_that_there_is_not_is_told() -> None:
    from typer.testing import CliRunner

    from llm4seg_probe.cli.app import app

    for text in ("bites=1", "bytes=x", "bytes=-1", "bytes"):
        result = CliRunner().invoke(app, ["--bounds", text, "list", "arms"])
        assert result.exit_code == 2
        assert "--bounds" in result.stderr
