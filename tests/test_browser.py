# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels in a real browser: Chromium on pages that Voila and JupyterLab serve on the loopback."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import hyperspy.api as hs
import matplotlib.image
import numpy as np
import pytest
import scipy.ndimage

import n2a

HOW = 'pip install "n2a[browser]"'
nbformat = pytest.importorskip("nbformat", reason=f"notebooks are written with nbformat: {HOW}")
playwright = pytest.importorskip(
    "playwright.sync_api", reason=f"a browser is steered by playwright: {HOW}"
)
pytest.importorskip("voila", reason=f"pages are served by voila: {HOW}")
pytest.importorskip("jupyterlab", reason=f"pages are served by jupyterlab: {HOW}")
pytest.importorskip("ipywidgets", reason=f"panels are made of ipywidgets: {HOW}")

PATIENCE = 90_000  # ms
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as steering:
        path = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
        )
        if path is None and not Path(steering.chromium.executable_path).is_file():
            pytest.skip(
                "there is no Chromium: apt-get install chromium (Debian), or python -m playwright install chromium"
            )
        chromium = steering.chromium.launch(executable_path=path, args=list(QUIET))
        yield chromium
        chromium.close()


@contextmanager
def served(command, folder, path):
    """Run a Jupyter server in `folder`; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The kernels find the package where this process has it.
    paths = [str(Path(n2a.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment.pop("MPLBACKEND", None)
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(address + path, timeout=5).read(1)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.2)
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.terminate()
            server.wait(20)


@contextmanager
def voila(browser, folder, cells, width):
    write(folder, cells)
    command = ("voila", "page.ipynb", "--no-browser", "--port={port}", "--Voila.ip=127.0.0.1")
    with served(command, folder, "/voila/static/voila.js") as address:
        page = browser.new_page(viewport={"width": width, "height": 1100})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        yield page
        page.close()


@contextmanager
def lab(browser, folder, cells, width):
    write(folder, cells)
    command = (
        "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port={port}", "--IdentityProvider.token=",
        "--allow-root", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
    )  # fmt: skip
    with served(command, folder, "/api/status") as address:
        page = browser.new_page(viewport={"width": width, "height": 1400})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}/lab/tree/page.ipynb?reset")
        page.wait_for_function(
            "window.jupyterapp?.shell.currentWidget?.context?.isReady"
            " && window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        yield page
        page.close()


def write(folder, cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, folder / "page.ipynb")


def keep(page, name):
    """Keep a picture of the page where N2A_SCREENSHOTS names a folder."""
    if folder := os.environ.get("N2A_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def images(page):
    return page.locator("img.widget-image:visible, .widget-image img:visible")


def button(page, text):
    # By its text: the name of a button begins with the letter of its icon.
    return page.locator("button:visible").filter(has_text=re.compile(rf"^\s*{text}\s*$"))


def source(image):
    return image.get_attribute("src")


def wait_for_change(page, image, before):
    page.wait_for_function(
        "([image, before]) => image.src !== before && image.complete",
        arg=[image.element_handle(), before],
    )


def press(page, label, key, times=1):
    """Press a key on the handle of the slider with this label, and wait for its picture."""
    handle = page.locator(f".widget-slider:has(label:text-is('{label}')) .noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(times):
        page.keyboard.press(key)


def seen(image):
    """Grey values of an image on the page."""
    image.scroll_into_view_if_needed()
    return matplotlib.image.imread(io.BytesIO(image.screenshot()))[..., :3].mean(-1)


def resembles(picture, frame):
    """Correlation of an image on the page with the frame that it should show, away from edge and scale bar."""
    frame = np.asarray(frame, float)
    frame = np.clip(frame, *np.percentile(frame, (0.5, 99.9)))
    zoom = np.divide(picture.shape, frame.shape)
    frame = scipy.ndimage.zoom(scipy.ndimage.gaussian_filter(frame, 2 / zoom), zoom, order=1)
    picture = scipy.ndimage.gaussian_filter(picture, 2)
    inside = slice(8, frame.shape[0] * 3 // 4), slice(8, -8)
    return np.corrcoef(picture[inside].ravel(), frame[inside].ravel())[0, 1]


def test_a_real_file_is_denoised_looked_at_and_saved(browser, real_file, tmp_path):
    path = real_file("mos2")
    signal = hs.load(path)
    denoised = signal.n2a.denoise().data
    cells = [f"import hyperspy.api as hs, n2a\ns = hs.load({str(path)!r})\ns.n2a.gui('denoise')"]
    with voila(browser, tmp_path, cells, 1280) as page:
        # Raw and denoised are there without a click.
        page.wait_for_selector("text=above background")
        raw, result = images(page).nth(0), images(page).nth(1)
        page.wait_for_timeout(500)
        assert images(page).count() == 2
        assert resembles(seen(raw), signal.data) > 0.9
        assert resembles(seen(result), denoised) > 0.9
        keep(page, "denoise-1280")

        # One zoom for both.
        before = [source(raw), source(result)]
        press(page, "Zoom", "ArrowRight", 4)
        page.wait_for_selector(".widget-readout:text-is('4\N{MULTIPLICATION SIGN}')")
        wait_for_change(page, result, before[1])
        page.wait_for_timeout(1000)
        part = slice(384, 640)
        assert resembles(seen(raw), signal.data[part, part]) > 0.8
        assert resembles(seen(result), denoised[part, part]) > 0.9
        before = source(result)
        press(page, "x (nm)", "ArrowRight", 5)
        wait_for_change(page, result, before)
        before = source(result)
        press(page, "Contrast, %", "ArrowRight", 20)
        wait_for_change(page, result, before)
        keep(page, "denoise-zoom")

        # The wipe: one picture, which its slider changes.
        button(page, "wipe").click()
        page.wait_for_timeout(500)
        assert images(page).count() == 1
        one = images(page).first
        before = source(one)
        handle = page.locator(
            ".widget-slider:not(:has(.widget-readout:visible)) .noUi-handle:visible"
        ).first
        handle.focus()
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
        wait_for_change(page, one, before)
        keep(page, "denoise-wipe")

        # Denoise, and save.
        button(page, "Denoise").click()
        page.wait_for_selector("text=Denoised: 1 frame.")
        page.locator(".widget-text:has(label:text-is('File')) input:visible").fill("denoised.hspy")
        page.keyboard.press("Tab")
        button(page, "Save").click()
        page.wait_for_selector("text=Saved to")
        button(page, "Save").click()
        page.wait_for_selector("text=exists already")
        page.set_viewport_size({"width": 800, "height": 1400})
        page.wait_for_timeout(500)
        keep(page, "denoise-800")
    np.testing.assert_array_equal(hs.load(tmp_path / "denoised.hspy").data, denoised)


def test_the_kernel_stays_free_while_a_panel_trains(browser, tmp_path):
    cells = [
        "%matplotlib widget\nimport hyperspy.api as hs, n2a",
        "s = n2a.acquire(n2a.simulate(shape=(64, 64), frames=6, seed=1), dose=5, seed=1)\n"
        "panel = s.n2a.gui('train', batch=2, size=48)\n"
        "panel.minutes.value = 3\npanel",
        "s.plot()",
    ]
    with lab(browser, tmp_path, cells, 1280) as page:
        train = button(page, "Train")
        train.wait_for()
        page.wait_for_selector(".jupyter-matplotlib canvas")
        # The value of the cell that showed the panel does not show it again.
        assert page.locator("button:has-text('Stop, keep the best')").count() == 1
        train.scroll_into_view_if_needed()
        train.click()
        image = images(page).first
        image.wait_for()
        keep(page, "train-lab")

        # A cell runs meanwhile, and is interrupted, without a harm to the training.
        def run(code):
            return page.evaluate(
                """async code => {
                    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                    const future = kernel.requestExecute({code});
                    let told = '';
                    future.onIOPub = m => { told += m.content.text || m.content.ename || ''; };
                    if (code.includes('sleep')) { setTimeout(() => kernel.interrupt(), 1500); }
                    await future.done;
                    return told;
                }""",
                code,
            )

        assert run("print(panel.worker._thread.is_alive(), 6 * 7)").strip() == "True 42"
        began = time.monotonic()
        assert "KeyboardInterrupt" in run("import time; time.sleep(60)")
        assert time.monotonic() - began < 30
        before = source(image)
        wait_for_change(page, image, before)

        button(page, "Stop, keep the best").click()
        page.wait_for_selector("text=/(Better|No better|Collapsed).*steps in/")
        assert "Noise2Atom" in run("print(panel.model)")
        keep(page, "train-lab-end")


@pytest.mark.filterwarnings("ignore:Loading old file version")
def test_methods_are_compared_on_a_real_file_side_by_side(browser, real_file, tmp_path):
    path = real_file("abf_srtio3")
    signal = hs.load(path).isig[:160, :160]
    cells = [
        "import hyperspy.api as hs, n2a\n"
        f"s = hs.load({str(path)!r}).isig[:160, :160]\ns.n2a.gui('compare')"
    ]
    with voila(browser, tmp_path, cells, 1280) as page:
        raw = images(page).first
        raw.wait_for()
        page.wait_for_timeout(500)
        assert images(page).count() == 1
        page.locator("label:has-text('svd')").first.click()
        button(page, "Compare").click()
        page.wait_for_selector("text=Compared: 2 methods, the best first in the table.")
        assert images(page).count() == 3
        expected = {"n2a": signal.n2a.denoise(background=True)}
        expected["gaussian"] = n2a.compare(signal, ["gaussian"], rerun=False)["gaussian"]
        captions = page.locator("b:visible").all_inner_texts()
        for name, result in expected.items():
            place = [text for text in captions if text in ("raw", *expected)].index(name)
            assert resembles(seen(images(page).nth(place)), result.data[0]) > 0.9, name
        keep(page, "compare-1280")

        # One frame for all pictures.
        before = [source(images(page).nth(i)) for i in range(3)]
        handle = page.locator(".widget-hslider:visible .noUi-handle:visible").first
        handle.focus()
        page.keyboard.press("ArrowRight")
        for i in range(3):
            wait_for_change(page, images(page).nth(i), before[i])

        # The reports: one for each method, and every line opens.
        table = page.locator(".n2a-table")
        assert all(name in table.inner_text() for name in expected)
        choice = page.locator(".widget-dropdown:has(label:text-is('Report of')) select")
        told = page.locator(".n2a-report")
        first = told.inner_text()
        choice.select_option(index=1)
        page.wait_for_function(
            "before => document.querySelector('.n2a-report').innerText !== before", arg=first
        )
        line = told.locator("details").first
        assert not line.locator("div").first.is_visible()
        line.locator("summary").click()
        assert "cannot see" in line.inner_text()
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 2200})
            page.wait_for_timeout(500)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        keep(page, "compare-400")


@pytest.mark.parametrize("name", ["01_quickstart", "05_trust"])
def test_a_notebook_runs_in_jupyterlab_from_top_to_bottom(browser, tmp_path, name):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, root / "tests" / "quick_notebooks.py", tmp_path, name]
    subprocess.run(command, check=True, capture_output=True)
    cells = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4).cells
    with lab(browser, tmp_path, [c.source for c in cells if c.cell_type == "code"], 1280) as page:
        outputs = page.wait_for_function(
            """() => {
                const cells = window.jupyterapp.shell.currentWidget.context.model.toJSON().cells;
                const outputs = cells.flatMap(cell => cell.outputs || []);
                const ended = cells.every(cell => cell.execution_count);
                return (ended || outputs.some(o => o.output_type === 'error')) && outputs;
            }""",
            timeout=4 * PATIENCE,
        ).json_value()
        keep(page, f"lab-{name}")
    assert [o for o in outputs if o["output_type"] == "error"] == []
    assert sum("image/png" in o.get("data", {}) for o in outputs) > 4
    assert [o["text"] for o in outputs if o.get("name") == "stderr" and "%|" not in str(o)] == []
