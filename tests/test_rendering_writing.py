"""`efface render`: the same bytes however it is run, stopped and resumed; nothing left running."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import EffaceError
from efface.faces.datasets.rendered import Rendered
from efface.faces.rendering import records, writing
from efface.faces.rendering.reading import records as read_records
from efface.faces.rendering.writing import Format, Order, _Store, numbers, ranges
from efface.folder import run_folder
from efface.progress import Quiet
from rendered_photos import heads, photo

COMMAND = [sys.executable, "-c", "from efface.cli import main; main()", "render"]
PEOPLE = ("--people", "0-29", "--photos", "5", "--size", "48")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def render(model: Path, out: Path, *options: object) -> subprocess.CompletedProcess:
    command = [*COMMAND, "--heads", str(model), "--out", str(out), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_ranges():
    assert numbers("100-102,7, 1000 - 1001 ,101", "--people") == (7, 100, 101, 102, 1000, 1001)
    assert ranges(numbers("100-102,7,1000-1001", "--people")) == "7,100-102,1000-1001"
    for wrong in ("", "a", "3-1", "1-", "-1", "0-1000000", "1,,2", "٣"):
        with pytest.raises(EffaceError, match=r"--people: found '.*', expected numbers and ranges below 1,000,000"):
            numbers(wrong, "--people")


def test_views_follow_their_photo():
    assert Order(people=(0,), photos=(0, 2), views=2).numbers == (0, 1, 2, 6, 7, 8)
    assert Order(people=(0,), photos=(0, 2)).numbers == (0, 2)


def test_settings_have_ranges(tmp_path: Path):
    for wrong, said in (
        ({"size": 16}, "--size: found 16"),
        ({"seed": -1}, "--seed: found -1"),
        ({"views": -1}, "--views"),
    ):
        with pytest.raises(EffaceError, match=said):
            Order(people=(0,), photos=(0,), **wrong)
    with pytest.raises(EffaceError, match="--processes: found 0, expected at least 1"):
        writing.render(Order(people=(0,), photos=(0,)), tmp_path, tmp_path / "out", 0, False, Quiet())


@pytest.mark.parametrize(
    ("package", "form", "extra"), [("numba", "folder", "render"), ("webdataset", "shards", "data")]
)
def test_what_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, form: Format, extra: str
):
    found = writing.importlib.util.find_spec
    monkeypatch.setattr(writing.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    done = CliRunner().invoke(app, ["render", "--heads", str(tmp_path), "--out", str(tmp_path / "o"), "--format", form])
    assert isinstance(done.exception, EffaceError)
    assert str(done.exception) == f"{package} is not installed; install it with: pip install 'efface[{extra}]'"


# --- what is written, of made-up pictures ---------------------------------------------------------------------------


def write(
    out: Path, order: Order, resume: bool = False, stop: int | None = None, before: Callable | None = None
) -> int:
    """Write as `writing.render` does, without a renderer, in another order of people; returns how many were not there
    yet. stop: give up after that many people. before: called with the store once it is opened."""
    with run_folder(out, writing.settings(order, heads()), resume, print, told=writing.SETTINGS) as folder:
        store = _Store(folder, order, heads())
        todo = [person for person in order.people if person not in store.done()]
        if before:
            before(store)
        for count, person in enumerate(reversed(todo)):
            if count == stop:
                raise KeyboardInterrupt
            made = (photo(person, number) for number in order.photos)
            store.keep(person, [(picture, records.to_line(record)) for picture, record in made])
        store.finish()
    return len(todo)


@pytest.mark.parametrize("form", ["folder", "shards", "pack"])
def test_stopped_anywhere_and_resumed_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
):
    monkeypatch.setattr(writing, "PEOPLE_A_SHARD", 3)
    order = Order(people=numbers("0-6,10", ""), photos=(0, 4), format=form)
    assert write(tmp_path / "whole", order) == 8
    whole = files(tmp_path / "whole")
    for stop in range(8):
        out = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            write(out, order, stop=stop)
        assert not out.exists() and out.with_name(out.name + ".partial").is_dir()
        assert write(out, order, resume=True) == 8 - stop
        assert files(out) == whole
        assert not out.with_name(out.name + ".partial").exists()
    names = {
        "folder": {"photos.jsonl", "person-010/04.jpg"},
        "shards": {"shard-000000.tar", "shard-000001.tar", "shard-000002.tar"},
        "pack": {"people.tar", "people.safetensors"},
    }
    assert set(whole) >= names[form] | {"render.json"} and len(whole) == {"folder": 18, "shards": 4, "pack": 3}[form]


def test_a_person_whose_photos_are_half_written_is_written_again(tmp_path: Path):
    order = Order(people=(0, 1), photos=(0, 1))
    write(tmp_path / "whole", order)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", order, stop=1)  # person 1 is done
    half = tmp_path / "out.partial" / "person-000" / "00.jpg"
    half.parent.mkdir()
    half.write_bytes(b"half")
    assert write(tmp_path / "out", order, resume=True) == 1
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_stop_between_a_shard_and_its_leftovers(tmp_path: Path):
    order = Order(people=(0, 1), photos=(0, 1), format="shards")
    write(tmp_path / "whole", order)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", order, stop=1)
    partial = tmp_path / "out.partial"
    (partial / "shard-000000.tar").write_bytes((tmp_path / "whole" / "shard-000000.tar").read_bytes())
    assert (partial / "person-001").exists()
    assert write(tmp_path / "out", order, resume=True) == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_only_the_same_order_is_resumed(tmp_path: Path):
    order = Order(people=(0, 1), photos=(0,))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", order, stop=1)
    with pytest.raises(EffaceError, match="found an unfinished run; continue it with --resume"):
        write(tmp_path / "out", order)
    with pytest.raises(EffaceError, match=r"another configuration \(differs in people, seed\)"):
        write(tmp_path / "out", Order(people=(0, 2), photos=(0,), seed=1), resume=True)
    write(tmp_path / "out", order, resume=True)
    with pytest.raises(EffaceError, match="out: exists already; choose another --out"):
        write(tmp_path / "out", order)
    told = json.loads((tmp_path / "out" / "render.json").read_text())
    assert (told["people"], told["photos"], told["heads"]) == ("0-1", "0", heads().digest)
    assert set(told["versions"]) == {"efface", "numba", "numpy", "pillow"}


def test_a_full_disk_is_one_line_and_can_be_resumed(tmp_path: Path):
    order = Order(people=(0, 1), photos=(0,))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", order, stop=1)
    in_the_way = tmp_path / "out.partial" / "person-000"

    with pytest.raises(EffaceError, match=r"person-000: cannot be written \(File exists\); free space, then --resume"):
        write(tmp_path / "out", order, resume=True, before=lambda store: in_the_way.write_bytes(b""))
    in_the_way.unlink()
    assert write(tmp_path / "out", order, resume=True) == 1


def test_webdataset_reads_the_shards(tmp_path: Path):
    webdataset = pytest.importorskip("webdataset")
    order = Order(people=numbers("0-2", ""), photos=(0, 1), format="shards")
    write(tmp_path / "out", order)
    shard = tmp_path / "out" / "shard-000000.tar"
    samples = list(
        webdataset.WebDataset(str(shard), shardshuffle=False).decode("rgb8").to_tuple("__key__", "jpg", "json")
    )
    assert [key for key, *_ in samples] == [f"person-{i:03d}/0{j}" for i in range(3) for j in range(2)]
    assert samples[3][1].shape == (48, 48, 3) and samples[3][2]["person"] == "person-001"
    with tarfile.open(shard) as tar:
        said = {(m.mtime, m.uid, m.gid, m.uname, m.gname, oct(m.mode)) for m in tar}
    assert said == {(0, 0, 0, "", "", "0o644")}


# --- the real thing -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(data: Path) -> Path:
    pytest.importorskip("numba")
    return data / "heads-ict" / "ict_model.npz"


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody, rendered by one process without a stop."""
    out = tmp_path_factory.mktemp("rendered") / "whole"
    done = render(model, out, *PEOPLE, "--processes", 1)
    assert done.returncode == 0, done.stderr
    assert "30 photos of 30 people in" in done.stderr and "photos/s in 1 process" in done.stderr
    return out


@pytest.mark.real
def test_the_form_does_not_change_the_photos(model: Path, whole: Path, tmp_path: Path):
    done = render(model, tmp_path / "pack", *PEOPLE, "--processes", 2, "--format", "pack")
    assert done.returncode == 0, done.stderr
    one, pack = (Rendered(path=path).read() for path in (whole, tmp_path / "pack"))
    assert list(one.photos) == [f"person-{i:03d}" for i in range(30)]
    for person, own in one.photos.items():
        assert [p.encoded() for p in own] == [p.encoded() for p in pack.photos[person]]
        assert [p.alignment for p in own] == [p.alignment for p in pack.photos[person]]
    found = read_records(whole)
    assert len(found) == 30 and found["person-003/05.jpg"].landmarks.shape == (68, 2)


def started(model: Path, out: Path) -> subprocess.Popen:
    """A run in a session of its own that has finished one person at least."""
    command = [*COMMAND, "--heads", str(model), "--out", str(out), *PEOPLE, "--processes", "2"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )
    checkpoints = out.with_name(out.name + ".partial") / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("*.jsonl")):
        time.sleep(0.01)
    return process


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not alive


@pytest.mark.real
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_resumed_by_the_command(model: Path, whole: Path, tmp_path: Path, how: signal.Signals):
    out = tmp_path / "out"
    process = started(model, out)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: every process hears it
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), said
    assert gone(workers)
    assert "Traceback" not in said and (how == signal.SIGKILL or "--resume continues" in said)
    partial = out.with_name("out.partial")
    done = [p.stem for p in (partial / "checkpoints").glob("*.jsonl")]
    assert 1 <= len(done) < 30 and not out.exists()
    before = {name: (partial / name / "05.jpg").stat().st_mtime_ns for name in done}
    again = render(model, out, *PEOPLE, "--processes", 2, "--resume")
    assert again.returncode == 0, again.stderr
    assert f"; {len(done)} people were there already" in again.stderr
    assert {name: (out / name / "05.jpg").stat().st_mtime_ns for name in done} == before  # not done again
    assert files(out) == files(whole)


@pytest.mark.real
def test_a_worker_that_dies_is_one_line(model: Path, tmp_path: Path):
    process = started(model, tmp_path / "out")
    workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    workers[0].kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "efface: a rendering process died" in said and "Traceback" not in said
    assert gone(workers)


@pytest.mark.real
def test_a_head_model_that_is_none_leaves_nothing(tmp_path: Path):
    pytest.importorskip("numba")
    done = render(tmp_path / "absent.npz", tmp_path / "out")
    assert done.returncode == 2 and "absent.npz: found nothing" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
