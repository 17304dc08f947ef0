"""Files by path: what a pattern finds and names, and what goes wrong with it."""

import os
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from pipeline.core.errors import InputError, OutputError
from pipeline.storage import files
from pipeline.storage.files import FileInfo


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with files and folders in it and a link to another folder."""
    folder = tmp_path / "tree"
    for name in (
        "a.json",
        "b.json",
        "[c].json",
        "c.json",
        "notes.txt",
        "sub/d.json",
        "sub/e/f.json",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (folder / "folder.json").mkdir()
    (tmp_path / "link").symlink_to("tree")
    monkeypatch.chdir(folder)
    return folder


# ---------------------------------------------------------------------------------------------
# Finding


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.json", ["a.json"]),
        ("[ab].json", ["a.json", "b.json"]),
        ("?.json", ["a.json", "b.json", "c.json"]),
        ("*.json", ["[c].json", "a.json", "b.json", "c.json"]),
        ("sub/*", ["sub/d.json"]),
        ("*/*.json", ["sub/d.json"]),
        ("sub/**/*.json", ["sub/d.json", "sub/e/f.json"]),
    ],
)
@pytest.mark.usefixtures("tree")
def test_a_path_or_pattern_finds_its_files_by_path(pattern: str, found: list[str]) -> None:
    assert files.find(pattern) == [FileInfo(path, len(path)) for path in found]


@pytest.mark.usefixtures("tree")
def test_a_path_that_exists_is_a_path_and_not_a_pattern() -> None:
    assert files.find("[c].json") == [FileInfo("[c].json", 8)]


def test_an_absolute_pattern_finds_absolute_paths(tree: Path) -> None:
    assert [info.path for info in files.find(f"{tree}/[ab].json")] == [
        f"{tree}/a.json",
        f"{tree}/b.json",
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("missing.json", "missing.json: no such file"),
        ("missing/a.json", "missing/a.json: no such file"),
        ("x*.json", "x*.json: no file matches this pattern"),
        ("folder.*", "folder.*: no file matches this pattern"),
        ("sub", "sub: is a folder: name its files, sub/*"),
        ("sub/", "sub/: is a folder: name its files, sub/*"),
        ("abc://x/y", "abc://x/y: cannot be found: "),
        ("a.json\0", "a.json\0: "),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_cannot_be_found_is_one_line_that_names_it(pattern: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        files.find(pattern)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing", "no such file: this is a link to missing, which is not there"),
        ("gone.json", "links lead in a circle"),
    ],
)
@pytest.mark.parametrize("pattern", ["gone.json", "gon?.json"])
def test_a_link_that_leads_nowhere_is_named(
    tree: Path, pattern: str, target: str, reason: str
) -> None:
    (tree / "gone.json").symlink_to(target)
    with pytest.raises(InputError, match=rf"^gone\.json: .*{reason}$"):
        files.find(pattern)


@pytest.mark.parametrize("pattern", ["a.json/x", "n" * 300, "sub/" + "n" * 300])
@pytest.mark.usefixtures("tree")
def test_a_path_that_cannot_be_is_named_with_the_reason(pattern: str) -> None:
    with pytest.raises(InputError, match=r": (no such file|cannot be found: file name too long)$"):
        files.find(pattern)


def test_what_is_no_file_and_might_never_end_is_named(tree: Path) -> None:
    os.mkfifo(tree / "pipe.json")
    for pattern in ("pipe.json", "p*.json", "/dev/zer?"):
        with pytest.raises(InputError, match="is a pipe, socket or device"):
            files.find(pattern)


@pytest.mark.usefixtures("tree")
def test_two_names_of_a_file_have_one_identity() -> None:
    Path("alias.json").symlink_to("a.json")
    same = {files.identity(path) for path in ("a.json", "./a.json", "alias.json", "../link/a.json")}
    assert same == {os.path.realpath("a.json")}
    assert files.identity("b.json") not in same
    assert files.identity("gs://b/x") == "gs://b/x"


# ---------------------------------------------------------------------------------------------
# Naming

_PATTERNS = [
    *("*.json", "?.json", "[ab].json", "n*.json", "./*.json", "*", "**", "sub/*", "*/*.json"),
    *("sub/**/*.json", "**/*.json", "**/n.json", "s*/**", "../tree/*.json", "../link/*.json"),
    *("../link/**/*.json", "{tree}/*.json", "{tree}/**/*.json", "{tree}/../link/s*/n.json"),
    *("n.json", "./n.json", "../link/n.json", "a.json", "sub/**", "n**.json", "x*.json"),
]


_PATHS = ["n.json", "./n.json", "sub/n.json", "sub/e/n.json", "../link/n.json", "{tree}/n.json"]


def _finds(pattern: str, path: str) -> bool:
    try:
        return files.identity(path) in {files.identity(info.path) for info in files.find(pattern)}
    except InputError:
        return False


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_a_pattern_names_the_paths_that_it_would_find_once_they_exist(
    tree: Path, pattern: str
) -> None:
    pattern = pattern.format(tree=tree)
    named, found = {}, {}
    for path in [*(path.format(tree=tree) for path in _PATHS), "n.txt", "folder.json/n"]:
        named[path] = files.names(pattern, path)
        Path(path).write_bytes(b"")
        found[path] = _finds(pattern, path)
        Path(path).unlink()
    assert named == found


@pytest.mark.parametrize(
    ("pattern", "named"), [("*.json", False), ("**/*.json", False), (".*.json", True)]
)
@pytest.mark.usefixtures("tree")
def test_a_hidden_file_is_named_only_by_a_pattern_with_a_dot(pattern: str, named: bool) -> None:
    assert files.names(pattern, ".n.json") is named


@pytest.mark.parametrize(
    ("pattern", "path", "named"),
    [
        ("s3://b/*.json", "s3://b/x.json", True),
        ("s3://b/*.json", "s3://b/x.txt", False),
        ("s3://b/x.json", "s3://b/x.json", True),
        ("s3://b/*.json", "x.json", False),
        ("*.json", "s3://b/x.json", False),
    ],
)
def test_a_pattern_names_paths_of_its_own_filesystem(pattern: str, path: str, named: bool) -> None:
    if files.missing_filesystem(pattern):
        pytest.skip("s3:// needs an extra")
    assert files.names(pattern, path) is named


# ---------------------------------------------------------------------------------------------
# Filesystems


@pytest.mark.parametrize(
    ("path", "local"), [("a.json", True), ("/a/b", True), ("gs://b/x", False), ("s3://b/x", False)]
)
def test_a_url_is_not_local(path: str, local: bool) -> None:
    assert files.is_local(path) is local


def test_a_filesystem_that_is_not_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert files.missing_filesystem("/a/b.json") is None

    def none_installed(path: str) -> None:
        raise ValueError(path)

    monkeypatch.setattr(FileSystems, "get_filesystem", none_installed)
    for url, remedy in [
        ("gs://b/x", "pip install 'unbabel-cli[gcp]'"),
        ("s3://b/x", "pip install 'unbabel-cli[aws]'"),
        ("abc://b/x", "use a path, gs:// or s3://"),
    ]:
        message = files.missing_filesystem(url)
        assert message is not None
        assert message.startswith(f"{url}: no filesystem for ")
        assert message.endswith(remedy)


# ---------------------------------------------------------------------------------------------
# Reading and writing


def test_a_file_is_read_as_it_is_stored_whatever_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(b"not compressed")
    with files.open_to_read(str(path)) as stream:
        assert stream.read() == b"not compressed"
    with files.create(str(path)) as stream:
        stream.write(b"nor is this")
    assert path.read_bytes() == b"nor is this"


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.json: cannot be read: no such file"):
        files.open_to_read(str(tmp_path / "missing.json"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(5, "Input/output error"), "x.json: cannot be read: input/output error"),
        (EOFError("cut off"), "x.json: cannot be read: cut off"),
        (RuntimeError("first\nsecond"), "x.json: cannot be read: first"),
        (KeyError(), "x.json: cannot be read: KeyError"),
        (InputError("y.json: already named"), "y.json: already named"),
    ],
)
def test_what_goes_wrong_while_reading_is_one_line_that_names_the_file(
    error: Exception, message: str
) -> None:
    with pytest.raises(InputError) as caught, files.reading("x.json"):
        raise error
    assert str(caught.value) == message


def test_what_goes_wrong_while_writing_names_the_file_unless_it_is_a_broken_pipe() -> None:
    with (
        pytest.raises(OutputError, match=r"^x\.json: cannot be written: no space left on device$"),
        files.writing("x.json"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(BrokenPipeError), files.writing("x.json"):
        raise BrokenPipeError
    with pytest.raises(ZeroDivisionError), files.writing("x.json"):
        raise ZeroDivisionError


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    files.remove(str(path))
    files.remove(str(path))
    assert not path.exists()


def test_shards_are_the_files_whose_names_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = ["rows.json-00000-of-00002", "rows.json-00001-of-00012"]
    others = [
        "rows.json",
        "rows.json-0-of-2",
        "xrows.json-00000-of-00002",
        "rowsxjson-00000-of-00002",
    ]
    for name in [*shards, *others, "rows.json-00000-of-00002.tmp"]:
        (tmp_path / name).write_bytes(b"")
    assert sorted(files.shards_of(str(tmp_path / "rows.json"))) == [
        str(tmp_path / name) for name in shards
    ]
    monkeypatch.chdir(tmp_path)
    assert sorted(files.shards_of("rows.json")) == shards
