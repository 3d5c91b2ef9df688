# SPDX-License-Identifier: GPL-3.0-or-later
"""The data manifest, and its files: found, downloaded from a real server on this machine, and loaded."""

import _thread
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest
import yaml

import n2a
from n2a import datasets, downloads, manifest
from n2a.manifest import package_path

REPOSITORY = Path(__file__).resolve().parents[1]
ENTRIES = datasets.available()
CONTENT = bytes(range(256)) * 4096  # 1 MiB, several reads of the downloader


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# The manifest


class TestManifest:
    @pytest.mark.parametrize("name", ENTRIES)
    def test_entry_follows_the_schema(self, name):
        jsonschema = pytest.importorskip("jsonschema", reason="install n2a[tests] for the schema")
        folder = package_path("data_manifest")
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        entry = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        assert entry["id"] == name
        problems = jsonschema.Draft202012Validator(schema).iter_errors(entry)
        assert not [f"{p.json_path}: {p.message}" for p in problems]

    def test_schema_refuses_what_a_hurried_hand_would_write(self):
        jsonschema = pytest.importorskip("jsonschema", reason="install n2a[tests] for the schema")
        folder = package_path("data_manifest")
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        good = yaml.safe_load((folder / "mos2.yaml").read_text(encoding="utf-8"))
        validator = jsonschema.Draft202012Validator(schema)
        assert validator.is_valid(good)
        for change in (
            {"licence": None},
            {"sha256": good["sha256"][:-1]},
            {"url": None},
            {"url": good["url"].replace("https", "http")},
            {"shape": None},
            {"unchecked": ["sha256"]},
            {"license": "GPL"},
        ):
            assert not validator.is_valid({**good, **change}), change

    def test_readme_describes_the_fields_of_the_schema(self):
        folder = package_path("data_manifest")
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        text = (folder / "README.md").read_text(encoding="utf-8")
        rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.M))
        assert rows == {name: field["description"] for name, field in schema["properties"].items()}

    @pytest.mark.parametrize("name", ENTRIES)
    def test_entry_has_a_loader_that_names_its_licence(self, name):
        assert name in datasets.__all__
        text = getattr(datasets, name).__doc__
        if ENTRIES[name].origin == "download":
            licence = ENTRIES[name].licence.split(" (")[0]
            stated = "states no licence" if licence.startswith("none") else licence
            assert stated in " ".join(text.split())

    def test_no_two_entries_share_a_file(self):
        for key in ("file", "sha256", "url"):
            values = [v for e in ENTRIES.values() if (v := getattr(e, key)) is not None]
            assert len(set(values)) == len(values)

    @pytest.mark.parametrize("name", ENTRIES)
    def test_axes_have_the_sizes_of_the_array(self, name):
        entry = ENTRIES[name]
        if entry.series is None:
            assert [axis["size"] for axis in entry.axes] == entry.shape

    @pytest.mark.skipif(
        not (REPOSITORY / "pyproject.toml").is_file(),
        reason="installed without the repository's files",
    )
    def test_what_uses_the_data_sets_is_there(self):
        for entry in ENTRIES.values():
            for path in entry.used_by:
                assert (REPOSITORY / path).is_file(), f"{entry.id}: {path}"

    def test_what_comes_with_the_package_is_the_file_of_the_manifest(self):
        packaged = [e for e in ENTRIES.values() if e.origin == "package"]
        assert packaged
        for entry in packaged:
            content = datasets.find(entry.id).read_bytes()
            assert (len(content), sha256(content)) == (entry.bytes, entry.sha256)

    def test_table_tells_names_licences_and_places(self, monkeypatch, tmp_path):
        monkeypatch.setenv("N2A_DATA_DIR", str(tmp_path))
        (tmp_path / ENTRIES["mos2"].file).write_bytes(b"")
        table = datasets.available()
        lines = repr(table).splitlines()
        assert len(lines) == 1 + len(table)
        (mos2,) = (line for line in lines if line.startswith("mos2"))
        assert "1024 × 1024" in mos2
        assert "GPL-3.0" in mos2
        assert mos2.endswith("in N2A_DATA_DIR")
        assert "none stated" in repr(table)
        assert table._repr_html_().count("<tr>") == 1 + len(table)

    def test_entry_tells_what_is_known_and_what_is_not(self):
        entry = ENTRIES["nanoparticle"]
        for text in (repr(entry), entry._repr_html_()):
            assert entry.source.replace("'", "&#x27;") in text or entry.source in text
            assert "not known" in text
            assert "unchecked" in text

    def test_an_unknown_name_is_told_the_known_ones(self):
        for call in (datasets.find, datasets.download, datasets.available().__getitem__):
            with pytest.raises(KeyError, match=r"'graphene'.*abf_srtio3.*mos2"):
                call("graphene")

    def test_nothing_is_imported_for_downloads_until_one_is_made(self):
        code = (
            "import sys, n2a; n2a.datasets.available(); n2a.datasets.find('benchmark'); "
            "print(*sys.modules.keys() & {'pooch', 'requests', 'torch'})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


# Files


class Handler(BaseHTTPRequestHandler):
    """Files of the server by their path, and paths on which something goes wrong."""

    def do_GET(self):
        self.server.requests[self.path] += 1
        name, _, what = self.path.lstrip("/").partition("?")
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if what == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            half = content[: len(content) // 2]
            self.wfile.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")  # and no end
            return
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if what == "cut":
            self.wfile.write(content[: len(content) // 2])
            return
        if what == "interrupt":
            self.wfile.write(content[: len(content) // 2])
            _thread.interrupt_main()
        try:
            self.wfile.write(content)
        except OSError:  # the other side has hung up
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """Give a real HTTP server on the loopback; `files` by name, `requests` by path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.requests = {"series.bin": CONTENT}, Counter()
        running.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Give a cache of the test's own, and no folder of the user's."""
    pooch = pytest.importorskip("pooch", reason="install n2a[data] to download")
    monkeypatch.delenv("N2A_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return datasets.cache_folder()


@pytest.fixture
def own(monkeypatch, tmp_path, cache):
    """Give a folder that N2A_DATA_DIR names."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("N2A_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Give a function that puts one data set into a manifest of the test's own."""
    folder = tmp_path / "data_manifest"
    folder.mkdir()
    monkeypatch.setattr(manifest, "package_path", lambda name: tmp_path / name)

    def write(url, **fields):
        entry = yaml.safe_load((package_path("data_manifest") / "mos2.yaml").read_text("utf-8"))
        del entry["archive"]
        entry |= {"id": "series", "file": "series.bin", "url": url}
        entry |= {"sha256": sha256(CONTENT), "bytes": len(CONTENT), **fields}
        (folder / "series.yaml").write_text(yaml.safe_dump(entry), encoding="utf-8")

    return write


def everything_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) if folder.exists() else []


class TestDownload:
    def test_file_comes_whole_and_alone(self, server, cache, publish):
        publish(f"{server.address}/series.bin")
        assert datasets.find("series") is None
        path = datasets.download("series")
        assert path.read_bytes() == CONTENT
        assert everything_in(cache) == ["series.bin"]
        assert datasets.find("series") == path

    def test_second_time_needs_no_server(self, server, cache, publish):
        publish(f"{server.address}/series.bin")
        first = datasets.download("series")
        server.files.clear()
        assert datasets.download("series") == first
        assert server.requests == {"/series.bin": 1}

    def test_file_is_taken_out_of_an_archive(self, server, cache, publish):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            for name, content in (("a/series.bin", CONTENT), ("a/other", b"other")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        packed = stream.getvalue()
        server.files["a.tar.gz"] = packed
        archive = {"member": "a/series.bin", "sha256": sha256(packed), "bytes": len(packed)}
        publish(f"{server.address}/a.tar.gz", archive=archive)
        assert datasets.download("series").read_bytes() == CONTENT
        assert everything_in(cache) == ["series.bin"]

        os.remove(cache / "series.bin")
        server.files["a.tar.gz"] = packed[:-1] + b"x"
        with pytest.raises(ValueError, match=r"not the file of the data set 'series'"):
            datasets.download("series")
        assert everything_in(cache) == []

    @pytest.mark.parametrize("wanted", [True, False])
    def test_bar_follows_the_preference_of_hyperspy(
        self, server, cache, publish, capfd, monkeypatch, wanted
    ):
        publish(f"{server.address}/series.bin")
        monkeypatch.setattr(hs.preferences.General, "show_progressbar", wanted)
        datasets.download("series")
        told = capfd.readouterr()
        assert ("series" in told.err) == wanted
        assert ("1.05M" in told.err) == wanted  # tqdm's way to write 1 MiB
        assert told.out == ""

    def test_bar_can_be_asked_for(self, server, cache, publish, capfd):
        publish(f"{server.address}/series.bin")
        datasets.download("series", show_progressbar=True)
        assert "series" in capfd.readouterr().err

    def test_another_file_than_the_manifest_says_is_refused(self, server, cache, publish):
        server.files["series.bin"] = CONTENT[::-1]
        publish(f"{server.address}/series.bin")
        with pytest.raises(ValueError, match=r"not the file.*'series'.*N2A_DATA_DIR") as caught:
            datasets.download("series")
        assert sha256(CONTENT) in str(caught.value)
        assert sha256(CONTENT[::-1]) in str(caught.value)
        assert everything_in(cache) == []

    @pytest.mark.parametrize("what", ["cut", "chunked"])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_cut_connection_leaves_nothing(self, server, cache, publish, what, known):
        publish(f"{server.address}/series.bin?{what}", **({} if known else {"sha256": None}))
        with pytest.raises(ConnectionError, match=r"'series' cannot be had.*Nothing was kept"):
            datasets.download("series")
        assert everything_in(cache) == []
        # The next try begins anew, and gets all of it.
        publish(f"{server.address}/series.bin")
        assert datasets.download("series").read_bytes() == CONTENT

    def test_an_absent_file_is_told_with_the_remedy(self, server, cache, publish):
        publish(f"{server.address}/gone.bin")
        with pytest.raises(ConnectionError, match=r"404.*'series.bin'.*N2A_DATA_DIR"):
            datasets.download("series")
        assert everything_in(cache) == []

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/series.bin", "http://n2a.invalid/series"])
    def test_without_a_network_the_remedy_is_told(self, cache, publish, url):
        publish(url)
        with pytest.raises(ConnectionError, match=r"Without a connection put the file"):
            datasets.download("series")
        assert everything_in(cache) == []

    def test_an_interrupt_leaves_nothing(self, server, cache, publish):
        publish(f"{server.address}/series.bin?interrupt")
        with pytest.raises(KeyboardInterrupt):
            datasets.download("series")
        assert everything_in(cache) == []

    def test_what_a_killed_process_left_is_removed_and_not_gone_on_with(
        self, server, cache, publish
    ):
        publish(f"{server.address}/series.bin")
        old, new = (cache / f"{downloads.PARTIAL}{age}" for age in ("old", "new"))
        for folder in (old, new):
            folder.mkdir(parents=True)
            (folder / "series.bin").write_bytes(CONTENT[:100])
        long_ago = time.time() - 2 * downloads.DAY
        os.utime(old, (long_ago, long_ago))
        assert datasets.download("series").read_bytes() == CONTENT
        # Another process may be at work in the new one.
        assert (old.exists(), new.exists()) == (False, True)

    def test_a_damaged_file_in_the_cache_is_replaced(self, server, cache, publish):
        publish(f"{server.address}/series.bin")
        path = datasets.download("series")
        path.write_bytes(CONTENT[:-1])
        assert datasets.find("series") is None
        assert datasets.download("series").read_bytes() == CONTENT

    def test_an_unknown_hash_is_recorded_told_and_compared(self, server, cache, publish):
        publish(f"{server.address}/series.bin", sha256=None, bytes=None)
        with pytest.warns(UserWarning, match=f"{sha256(CONTENT)} .*recorded"):
            path = datasets.download("series")
        assert everything_in(cache) == ["series.bin", "series.bin.sha256"]
        record = (cache / "series.bin.sha256").read_text("utf-8")
        assert record == f"{sha256(CONTENT)}  series.bin\n"
        # From then on it is known: no more warnings (which would be errors), and another file is refused.
        assert datasets.download("series") == datasets.find("series") == path
        path.unlink()
        server.files["series.bin"] = CONTENT[::-1]
        with pytest.raises(ValueError, match="not the file"):
            datasets.download("series")

    def test_what_is_not_downloaded_says_where_it_is(self):
        with pytest.raises(ValueError, match=r"'benchmark' is not downloaded.*in the package"):
            datasets.download("benchmark")
        assert datasets.find("simulated") is None

    def test_without_pooch_the_remedy_is_told(self, monkeypatch, publish):
        publish("https://n2a.invalid/series.bin")
        monkeypatch.delenv("N2A_DATA_DIR", raising=False)
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ImportError, match=r"n2a\[data\].*N2A_DATA_DIR"):
            datasets.download("series")


class TestOwnFolder:
    """N2A_DATA_DIR."""

    def test_its_file_is_used_and_nothing_is_asked_for(self, server, own, cache, publish):
        publish(f"{server.address}/series.bin")
        (own / "series.bin").write_bytes(CONTENT)
        assert datasets.find("series") == datasets.download("series") == own / "series.bin"
        assert not server.requests
        assert everything_in(own) == ["series.bin"]
        assert everything_in(cache) == []

    def test_its_file_is_compared_with_the_manifest(self, own, publish):
        publish("http://127.0.0.1:9/series.bin")
        (own / "series.bin").write_bytes(CONTENT[:-1])
        with pytest.raises(ValueError, match=r"series\.bin is not the file.*N2A_DATA_DIR"):
            datasets.find("series")
        assert everything_in(own) == ["series.bin"]

    def test_a_download_goes_there_when_it_is_asked_for(self, server, own, cache, publish):
        publish(f"{server.address}/series.bin")
        assert datasets.download("series") == own / "series.bin"
        assert everything_in(own) == ["series.bin"]
        assert everything_in(cache) == []

    def test_another_folder_can_be_named(self, server, own, publish, tmp_path):
        publish(f"{server.address}/series.bin")
        path = datasets.download("series", tmp_path / "new" / "folder")
        assert path == tmp_path / "new" / "folder" / "series.bin"
        assert everything_in(own) == []

    def test_it_works_without_pooch(self, own, publish, monkeypatch):
        publish("http://127.0.0.1:9/series.bin")
        (own / "series.bin").write_bytes(CONTENT)
        monkeypatch.setitem(sys.modules, "pooch", None)
        assert datasets.find("series") == own / "series.bin"

    def test_a_folder_that_is_not_there_is_no_obstacle(
        self, server, cache, publish, monkeypatch, tmp_path
    ):
        publish(f"{server.address}/series.bin")
        monkeypatch.setenv("N2A_DATA_DIR", str(tmp_path / "nowhere"))
        assert datasets.find("series") is None


# Signals


def axes_of(signal) -> list[tuple]:
    manager = signal.axes_manager
    axes = sorted((*manager.navigation_axes, *manager.signal_axes), key=lambda a: a.index_in_array)
    units = [a.units if isinstance(a.units, str) and a.units else None for a in axes]
    return [(a.name, a.size, a.offset, a.scale, unit) for a, unit in zip(axes, units)]


def axes_in(entry) -> list[tuple]:
    keys = ("name", "size", "offset", "scale", "units")
    return [tuple(axis[k] for k in keys) for axis in entry.axes]


class TestLoadedFiles:
    @pytest.fixture
    def published(self, server, cache, publish, tmp_path):
        """Put a small series on the server, as the TIFF file that calibration is lost in."""
        tifffile = pytest.importorskip("tifffile", reason="it comes with n2a: pip install n2a")
        images = np.arange(3 * 8 * 12, dtype=np.uint16).reshape(3, 8, 12)
        tifffile.imwrite(tmp_path / "series.tif", images, photometric="minisblack")
        content = (tmp_path / "series.tif").read_bytes()
        server.files["series.tif"] = content
        names, scales, units = ("time", "y", "x"), (0.25, 0.02, None), ("s", "nm", None)
        fields = {
            "file": "series.tif",
            "sha256": sha256(content),
            "shape": [3, 8, 12],
            "axes": [
                {"name": n, "size": size, "offset": 0, "scale": scale, "units": unit}
                for n, size, scale, unit in zip(names, images.shape, scales, units)
            ],
        }
        publish(f"{server.address}/series.tif", **fields)
        return images, fields

    @pytest.mark.parametrize("lazy", [False, True])
    def test_first_call_downloads_and_calibrates(self, published, server, cache, lazy):
        images, _ = published
        for _ in range(2):
            signal = datasets._load("series", lazy, None)
        assert server.requests == {"/series.tif": 1}
        assert everything_in(cache) == ["series.tif"]
        assert signal._lazy == lazy
        np.testing.assert_array_equal(np.asarray(signal.data), images)
        assert axes_of(signal) == [
            ("time", 3, 0, 0.25, "s"),
            ("y", 8, 0, 0.02, "nm"),
            ("x", 12, 0, 1, None),  # of which the manifest knows nothing
        ]
        told = signal.metadata.n2a.dataset
        assert (told.id, told.licence) == ("series", ENTRIES["mos2"].licence)

    def test_own_folder_stays_as_it_is(self, published, own, cache):
        datasets._load("series", False, None)
        assert everything_in(own) == []
        assert everything_in(cache) == ["series.tif"]

    def test_another_shape_than_was_written_down_is_told(self, published, server, publish):
        _, fields = published
        publish(f"{server.address}/series.tif", **{**fields, "shape": [4, 8, 12]})
        with pytest.warns(UserWarning, match=r"\[3, 8, 12\].*\[4, 8, 12\]"):
            signal = datasets._load("series", False, None)
        assert axes_of(signal)[0] == ("time", 3, 0, 0.25, "s")
        publish(f"{server.address}/series.tif", **{**fields, "shape": [8, 12]})
        with pytest.raises(ValueError, match=r"\[3, 8, 12\].*expects \[8, 12\]"):
            datasets._load("series", False, None)


class TestRealFiles:
    @pytest.mark.parametrize("name", ["mos2", "abf_srtio3"])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_signal_is_what_the_manifest_says(self, real_file, name, lazy):
        path, entry = real_file(name), ENTRIES[name]
        assert path.stat().st_size == entry.bytes
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it loads without a complaint
            # Files that another test left to the garbage collector are none of its business.
            warnings.simplefilter("ignore", ResourceWarning)
            signal = getattr(datasets, name)(lazy=lazy)
        assert signal._lazy == lazy
        assert list(signal.data.shape) == entry.shape
        assert signal.data.dtype == entry.dtype
        for (*have, scale, units), (*want, known, unit) in zip(axes_of(signal), axes_in(entry)):
            assert (have, units) == (want, unit)
            assert scale == pytest.approx(known, rel=1e-4)
        assert signal.metadata.General.title == entry.title
        assert hasattr(signal, "n2a")

    @pytest.mark.parametrize("name", ["mos2", "abf_srtio3"])
    @pytest.mark.filterwarnings("ignore:Loading old file version")
    def test_manifest_agrees_with_the_file(self, real_file, name):
        """Scales are not made up: the file has them too."""
        raw = hs.load(real_file(name))
        signal = getattr(datasets, name)()
        np.testing.assert_array_equal(signal.data, raw.data)
        for have, want in zip(axes_of(raw), axes_in(ENTRIES[name])):
            assert have[1:3] == want[1:3]
            assert have[3] == pytest.approx(want[3], rel=1e-4)
        energy = raw.metadata.get_item("Acquisition_instrument.TEM.beam_energy", None)
        assert energy == ENTRIES[name].acquisition["beam_energy_keV"]


class TestSimulated:
    def test_series_is_what_the_manifest_says(self):
        signal, entry = datasets.simulated(), ENTRIES["simulated"]
        assert list(signal.data.shape) == entry.shape
        assert signal.data.dtype == entry.dtype
        assert axes_of(signal) == axes_in(entry)
        assert signal.metadata.Signal.quantity == "Counts"
        np.testing.assert_array_equal(signal.data, datasets.simulated(lazy=True).data.compute())

    def test_truth_is_that_of_the_series(self):
        signal, truth = datasets.simulated(), datasets.simulated("atoms")
        assert axes_of(truth) == axes_of(signal)
        assert truth.data.max() == pytest.approx(3.0, rel=1e-6)  # counts on the brightest column
        # What is left without the atoms is the film, which knows nothing of them.
        rest = signal.data.mean(axis=0) - truth.data.mean(axis=0)
        atoms = truth.data.mean(axis=0)
        assert abs(np.corrcoef(rest.ravel(), atoms.ravel())[0, 1]) < 0.1
        np.testing.assert_array_equal(n2a.atoms_of(signal), n2a.atoms_of(truth))

    def test_unknown_part_is_told(self):
        with pytest.raises(ValueError, match=r"'part' is 'truth'.*'frames', 'atoms'"):
            datasets.simulated("truth")


class TestBenchmark:
    @pytest.fixture
    def tools(self):
        sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))
        import benchmark_data

        return benchmark_data

    def test_manifest_knows_the_series(self, tools):
        known = {
            s.name: {
                "title": s.title,
                "shape": list(s.atoms.shape),
                "pixel_size": pytest.approx(s.pixel_size),
                "contrast": s.contrast,
            }
            for s in tools.load_benchmark()
        }
        assert ENTRIES["benchmark"].series == known

    @pytest.mark.parametrize(("name", "dose"), [("mos2", "low"), ("sto_abf", 7.5)])
    def test_signals_hold_what_the_tables_are_made_of(self, tools, name, dose):
        (series,) = tools.load_benchmark([name])
        seen = tools.observe(series, dose, seed=3)
        for part in ("frames", "atoms", "total"):
            signal = datasets.benchmark(name, dose, part, seed=3)
            np.testing.assert_array_equal(signal.data, getattr(seen, part))
            frame, *image = axes_of(signal)
            assert frame[:2] == ("frame", len(seen.frames))
            assert image == [(a, 128, 0, series.pixel_size, "nm") for a in "yx"]

    def test_columns_stand_where_the_atoms_are(self):
        truth = datasets.benchmark("gold_edge", "high", "atoms")
        table = n2a.atoms_of(truth)
        scale = truth.axes_manager["x"].scale
        rows, columns = (np.rint(table[k] / scale).astype(int) for k in ("y", "x"))
        inside = (np.minimum(rows, columns) > 3) & (np.maximum(rows, columns) < 124)
        assert inside.sum() > 20
        for row, column, one in zip(rows[inside], columns[inside], table[inside]):
            window = truth.data[one["frame"], row - 3 : row + 4, column - 3 : column + 4]
            assert one["intensity"] > 0.95 * window.max()

    def test_wrong_names_are_told_the_right_ones(self):
        for arguments, words in (
            (("graphene",), "'series' is 'graphene'.*'gold_edge'"),
            (("mos2", "huge"), "'dose' is 'huge'.*'low'"),
            (("mos2", -1), "'dose' must be a positive number"),
            (("mos2", "low", "noise"), "'part' is 'noise'.*'total'"),
        ):
            with pytest.raises(ValueError, match=words):
                datasets.benchmark(*arguments)

    def test_lazy_series_is_the_same(self):
        lazy = datasets.benchmark(lazy=True)
        assert lazy._lazy
        np.testing.assert_array_equal(lazy.data.compute(), datasets.benchmark().data)
