#!/usr/bin/env python3
"""Opens maps and reports in headless Chromium as a user would: from file://, with mouse and keyboard.

    tests/browser/map.py target/release/esm-embed [FOLDER FOR SCREENSHOTS [RECORDS…]]

RECORDS are 30 and 5000; 100000 takes ten minutes.

Needs `chromium` (apt-get install chromium) and nothing else: Chromium is driven over a pipe.
"""
import array
import base64
import itertools
import json
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--hide-scrollbars", "--remote-debugging-pipe",
]
ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 30
SCREENS = ((1280, 720), (390, 800))


class Browser:
    """A page in Chromium, driven by the DevTools protocol: JSON, with a zero byte after each message."""

    def __init__(self, width, height):
        self.profile = tempfile.mkdtemp()
        self.downloads = pathlib.Path(self.profile) / "downloads"
        commands, self.write_to = os.pipe()
        self.read_from, answers = os.pipe()

        def connect():
            # Chromium reads from 3 and writes to 4. The copies keep them apart until both are set.
            high = [os.dup2(commands, 103), os.dup2(answers, 104)]
            for own, there in zip(high, (3, 4)):
                os.dup2(own, there)

        self.process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.buffer, self.last, self.session, self.problems = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 700)

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.read_from, 1 << 20)
            if not more:
                raise EOFError("Chromium ended")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            event = answer.get("method")
            if event in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.problems.append(answer["params"])
            if event == "Network.requestWillBeSent":
                url = answer["params"]["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:")):
                    self.problems.append(f"request of {url}")

    def js(self, code):
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{code}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, code):
        self.until(lambda: self.js(code), code)

    def until(self, done, what="a file"):
        end = time.monotonic() + LIMIT
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(0.05)

    def open(self, path):
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.drawn !== undefined")

    def mouse(self, kind, x, y, pressed=False):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left" if pressed else "none",
                  buttons=int(pressed and kind != "mouseReleased"), clickCount=1)

    def drag(self, x, y, dx, dy):
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, True)
        self.mouse("mouseMoved", x + dx / 2, y + dy / 2, True)
        self.mouse("mouseMoved", x + dx, y + dy, True)
        self.mouse("mouseReleased", x + dx, y + dy, True)

    def choose(self, control, value):
        self.js(f"{{ const one = document.getElementById('{control}'); one.value = {json.dumps(value)};"
                " for (const name of ['input', 'change']) one.dispatchEvent(new Event(name)); }")

    def text(self, control):
        return self.js(f"document.getElementById('{control}').textContent")

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


# What people see with normal vision, and without red, green or blue cones, as linear RGB (Machado, Oliveira
# and Fernandes, 2009; severity 1).
VISIONS = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
)
XYZ = ((0.4339, 0.3762, 0.1899), (0.2127, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))


def lab(colour, vision):
    """#rrggbb as someone sees it, in CIELAB."""
    times = lambda matrix, vector: [sum(a * b for a, b in zip(row, vector)) for row in matrix]
    parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    seen = times(XYZ, [min(1, max(0, part)) for part in times(vision, linear)])
    x, y, z = [part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in seen]
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def check_colours(browser):
    """The colours of levels can be told apart by everyone: twenty are plain to see, two hardly."""
    for theme in ("light", "dark"):
        colours = browser.js(f"[...LEVELS.{theme}, REST.{theme}]")
        assert len(set(colours)) == 10, colours
        for vision in VISIONS:
            for one, other in itertools.combinations(colours, 2):
                apart = math.dist(lab(one, vision), lab(other, vision))
                assert apart > 16, f"{theme}: {one} and {other} are {apart:.1f} apart"


def check_labels(browser, records):
    """Labels are beside the records if there are few, inside the map, and do not overlap."""
    browser.js("draw()")
    width, height, labels = browser.js("[width, height, labels]")
    assert len(labels) >= (0 if records > 40 else 0.6 * records), labels
    boxes = [label["box"] for label in labels]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height, labels
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def output_folder(program, home, records):
    """An output folder with made-up embeddings in five groups, from one that the program wrote."""
    numbers = random.Random(records)
    home.mkdir()
    fasta = home / "in.fasta"
    fasta.write_text("".join(f">P{row} group {row % 5}\nMKT\n" for row in range(records)))
    emb = home / "emb"
    subprocess.run([program, "run", fasta, "--model", ROOT / "fixtures/esm2_hd16", "--out", emb,
                    "--residues", "none", "--quiet"], check=True)
    mean = emb / "mean.layer2.npy"
    header = mean.read_bytes()[:128]
    values = array.array("f")
    for row in range(records):
        values.extend(numbers.gauss(4.0 if column == row % 5 else 0.0, 1.0) for column in range(32))
    if sys.byteorder == "big":
        values.byteswap()
    mean.write_bytes(header + values.tobytes())
    table = home / "table.tsv"
    lines = (f"P{row}\tgroup {row % 5}\t{row / 2}\n" for row in range(records))
    table.write_text("id\tgroup\tscore\n" + "".join(lines))
    subprocess.run([program, "plot", "map", emb, "--table", table, "--out", home / "map", "--quiet"],
                   check=True)
    subprocess.run([program, "report", emb, "--out", home / "report.html", "--quiet"], check=True)
    return home / "map" / "map.html"


def check(browser, page, records, shots, width):
    browser.open(page)
    equal = lambda found, expected: None if found == expected else sys.exit(f"{records}: {found!r}, not {expected!r}")
    shown = lambda: int(browser.js("document.documentElement.dataset.drawn"))
    equal(shown(), records)
    equal(browser.text("legend-title"), "group")
    equal(browser.js("document.querySelectorAll('.level').length"), 5)
    browser.screenshot(shots / f"{records}-map-{width}.png")
    check_colours(browser)
    check_labels(browser, records)

    browser.js("document.querySelectorAll('.level')[1].click()")
    equal(browser.text("status"), f"{records // 5:,} records selected")
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    browser.js("document.getElementById('copy').click()")
    browser.wait("document.getElementById('status').textContent.endsWith('ids copied')")
    equal(browser.js("navigator.clipboard.readText()").split(), [f"P{row}" for row in range(1, records, 5)])
    browser.js("canvas.focus(); choose([])")

    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(browser.downloads))
    browser.js("document.getElementById('save').click()")
    picture = browser.downloads / "map.png"
    browser.until(picture.exists)
    picture.replace(shots / f"{records}-saved-{width}.png")
    saved = (shots / f"{records}-saved-{width}.png").read_bytes()
    equal(saved[:8], b"\x89PNG\r\n\x1a\n")
    equal(list(struct.unpack(">II", saved[16:24])), browser.js("[width + 230 * ratio, height + 60 * ratio]"))

    for key, change in (("+", "state.zoom * 1.25"), ("ArrowLeft", "state.x - 30 * ratio"), ("0", "1")):
        what = {"ArrowLeft": "state.x", "+": "state.zoom", "0": "state.zoom"}[key]
        expected = browser.js(change)
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        equal(browser.js(what), expected)

    browser.choose("search", "p17")
    found = sum("p17" in f"p{row}" for row in range(records))
    equal(browser.text("status").split(" found")[0], f"{found:,} record{'s' * (found != 1)}")
    browser.choose("search", "")

    browser.choose("colour", "2")
    equal(browser.text("legend-title"), "score")
    equal(browser.js("document.querySelector('.ends').textContent"),
          "0" + browser.js(f"({(records - 1) / 2}).toLocaleString('en')"))

    point = ("(() => { draw(); const box = canvas.getBoundingClientRect();"
             " return [box.left + screenX[7] / ratio, box.top + screenY[7] / ratio]; })()")
    browser.mouse("mouseMoved", *browser.js(point))
    browser.wait("!document.getElementById('tip').hidden")
    lines = browser.text("tip").split("\n")
    if records == 30:
        equal(lines, ["P7", "group 2", "3 residues", "score: 3.5"])

    box = browser.js("(() => { const b = canvas.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()")
    browser.js("document.getElementById('select').click()")
    browser.drag(box[0] + 2, box[1] + 2, box[2] - 4, box[3] - 4)
    equal(browser.text("status"), f"{records:,} records selected")
    browser.js("document.getElementById('select').click()")

    browser.choose("projection", "1")
    before = browser.js("state.yaw")
    browser.drag(box[0] + box[2] / 2, box[1] + box[3] / 2, 60, 10)
    equal(round(browser.js("state.yaw") - before, 6), 0.3)
    browser.js("document.getElementById('theme').click()")
    browser.js("draw()")
    browser.screenshot(shots / f"{records}-turned-{width}.png")
    outside = browser.js("document.documentElement.scrollWidth > innerWidth")
    equal(outside, False)
    equal(browser.problems, [])


def check_report(browser, page, records, shots, width):
    """A report: neighbors of a record, found by search and by click; the page fits the screen."""
    browser.open(page)
    equal = lambda found, expected: None if found == expected else sys.exit(f"report of {records}: {found!r}, not {expected!r}")
    equal(int(browser.js("document.documentElement.dataset.drawn")), records)
    equal(browser.js("document.querySelectorAll('#near tbody tr').length"), 10)
    equal(browser.text("chosen"), "P0 \u00b7 group 0 \u00b7 3 residues")
    browser.choose("search", "p7")
    equal(browser.text("chosen"), "P7 \u00b7 group 2 \u00b7 3 residues")
    groups = browser.js("[...document.querySelectorAll('#near tbody button')].map((one) => one.title)")
    # Groups are four standard deviations apart.
    assert groups.count("group 2") >= min(7, records // 5 - 1), groups
    cosines = browser.js("[...document.querySelectorAll('#near td:nth-child(2)')].map((one) => Number(one.textContent))")
    equal(cosines, sorted(cosines, reverse=True))
    browser.screenshot(shots / f"{records}-report-{width}.png")
    browser.js("document.querySelector('#near tbody button').click()")
    assert browser.text("chosen").split()[0] != "P7"
    browser.js("document.getElementById('theme').click()")
    equal(browser.js("document.documentElement.scrollWidth > innerWidth"), False)
    height = browser.js("document.documentElement.scrollHeight")
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=min(height, 4000), deviceScaleFactor=1, mobile=width < 700)
    browser.screenshot(shots / f"{records}-report-dark-{width}.png")
    equal(browser.problems, [])


def odd_folder(program, home, records, table):
    """The pages of a run of these records, pairs of header and sequence."""
    home.mkdir()
    (home / "in.fasta").write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records))
    (home / "table.tsv").write_text(table)
    subprocess.run([program, "run", home / "in.fasta", "--model", ROOT / "fixtures/esm2_hd16", "--out", home / "emb",
                    "--include", "contacts", "--quiet"], check=True)
    subprocess.run([program, "plot", "map", home / "emb", "--table", home / "table.tsv", "--out", home / "map", "--quiet"],
                   check=True)
    subprocess.run([program, "report", home / "emb", "--out", home / "report.html", "--quiet"], check=True)


def check_odd(program, home, shots, width, height):
    """A single record, long and hostile texts, more values than colours, and numbers that are missing."""
    equal = lambda found, expected: None if found == expected else sys.exit(f"odd: {found!r}, not {expected!r}")
    odd = home / f"odd-{width}"
    odd.mkdir()
    odd_folder(program, odd / "one", [("P1", "MKTAYIAKQR")], "id\tscore\nP1\t7\n")
    hostile = "<img src=x onerror=alert(1)></script>"
    records = [(f"sp|{'Q' * 300}{row}|X {hostile} {'a long description ' * 40}", "MKTAYIAKQR" + "ACDEFGHIKL"[:row])
               for row in range(10)] + [("\U0001f9ec" * 30, "MKT"), ("P11", "MKTW")]
    lines = (f"{'Q' * 300}{row}\t{hostile}{row}{'long' * 40}\t{'NaN' if row % 2 else row}\n" for row in range(10))
    odd_folder(program, odd / "texts", records, f"id\t{hostile}\tscore\n{''.join(lines)}P11\tz\t\n")
    for name in ("one", "texts"):
        browser = Browser(width, height)
        try:
            browser.open(odd / name / "map/map.html")
            shown = lambda: browser.js("[...document.querySelectorAll('.level')].map((one) => one.textContent)")
            if name == "one":
                equal(browser.text("facts"), "esm2_hd16 \u00b7 mean.layer2 \u00b7 1 record \u00b7 principal components")
                equal(shown(), ["71"])
            else:
                equal(len(shown()), 11)
                equal(shown()[9:], ["2 other values2", "no value1"])
                browser.js("hover(3, screenX[3] / ratio, screenY[3] / ratio)")
                box = "document.getElementById('tip').getBoundingClientRect()"
                stage = "document.getElementById('stage').getBoundingClientRect()"
                assert browser.js(f"{box}.bottom <= {stage}.bottom && {box}.right <= {stage}.right"), "the tip is cut off"
                browser.js("say(describe(3).join(' \u00b7 '))")
                browser.screenshot(shots / f"odd-map-{width}.png")
                browser.choose("colour", "2")
                equal(browser.js("document.querySelector('.ends').textContent"), "08")
                equal(shown(), ["no value7"])
            equal(browser.js("document.documentElement.scrollWidth > innerWidth"), False)
            equal(browser.problems, [])
            browser.open(odd / name / "report.html")
            equal(browser.js("document.getElementById('near').hidden"), name == "one")
            equal(browser.js("document.querySelectorAll('figure').length"), len(records) if name == "texts" else 1)
            equal(browser.js("document.documentElement.scrollWidth > innerWidth"), False)
            height_of_all = browser.js("document.documentElement.scrollHeight")
            browser.call("Emulation.setDeviceMetricsOverride", width=width, height=min(height_of_all, 4000),
                         deviceScaleFactor=1, mobile=width < 700)
            browser.screenshot(shots / f"odd-report-{name}-{width}.png")
            equal(browser.problems, [])
        finally:
            browser.close()
    print(f"odd records, {width} \u00d7 {height}: as expected")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as home:
        shots = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else home)
        shots.mkdir(parents=True, exist_ok=True)
        pages = {records: output_folder(program, pathlib.Path(home) / str(records), records)
                 for records in map(int, sys.argv[3:] or (30, 5000))}
        for width, height in SCREENS:
            check_odd(program, pathlib.Path(home), shots, width, height)
        for records, page in pages.items():
            for width, height in SCREENS:
                browser = Browser(width, height)
                try:
                    check(browser, page, records, shots, width)
                finally:
                    browser.close()
                browser = Browser(width, height)
                try:
                    check_report(browser, page.parents[1] / "report.html", records, shots, width)
                finally:
                    browser.close()
                print(f"{records} records, {width} × {height}: as expected")


if __name__ == "__main__":
    main()
