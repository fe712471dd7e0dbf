"""Takes pictures of a report page: at desktop and phone width, light and dark; says what overflows.

    .venv/bin/python .ci/page_screenshots.py report.html OUT     (Debian: apt-get install chromium)

CI does not run it. Look at the pictures after a change of the page. It drives the browser by its
DevTools protocol, because only that makes a window as narrow as a phone.
"""

import argparse
import asyncio
import base64
import itertools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from screenshots import BROWSERS

SIZES = {"desktop": (1280, 900), "phone": (360, 780)}
TALLEST = 16_000  # pixels of a picture
# Letters that lie over other letters of the same chart, and what is wider than the window
FAULTS = """(() => {
  const found = [], wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) found.push("the page scrolls sideways");
  for (const one of document.querySelectorAll("body *")) {
    if (one.closest(".scroll, .plot, svg, details:not([open])")) continue;
    const box = one.getBoundingClientRect();
    const is_out = box.width && (box.right > wide + 1 || box.left < -1);
    if (is_out) found.push(`outside: ${one.outerHTML.slice(0, 90)}`);
  }
  const parts = ".plot span, figcaption > *, .x-name, .legend li, .about";
  for (const chart of document.querySelectorAll(".chart")) {
    const words = [...chart.querySelectorAll(parts)];
    const edge = chart.getBoundingClientRect();
    words.forEach((one, place) => {
      const a = one.getBoundingClientRect(), said = one.textContent;
      if (a.left < edge.left || a.right > edge.right) found.push(`leaves its chart: ${said}`);
      for (const other of words.slice(place + 1)) {
        const b = other.getBoundingClientRect();
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 1 && down > 1) found.push(`overlap: ${said} / ${other.textContent}`);
      }
    });
  }
  return found;
})()"""


class Tab:
    """A tab of a browser, told what to do over its socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.numbers = socket, itertools.count(1)

    async def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": given})
        while True:
            answer = await self.socket.receive_json(timeout=300)
            if answer.get("id") == number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]

    async def evaluate(self, code: str) -> Any:
        """Return the value of an expression in the page."""
        answer = await self.ask("Runtime.evaluate", expression=code, returnByValue=True)
        return answer["result"].get("value")


async def photograph(tab: Tab, page: Path, out: Path) -> int:
    """Save each look of a page; return how many faults there are."""
    num_faults = 0
    for (size, (width, height)), look in itertools.product(SIZES.items(), ("light", "dark")):
        scheme = [{"name": "prefers-color-scheme", "value": look}]
        await tab.ask("Emulation.setEmulatedMedia", features=scheme)
        window = {"width": width, "height": height, "deviceScaleFactor": 1 + (size == "phone")}
        await tab.ask("Emulation.setDeviceMetricsOverride", mobile=size == "phone", **window)
        await tab.ask("Page.navigate", url=page.resolve().as_uri())
        while await tab.evaluate("document.readyState") != "complete":
            await asyncio.sleep(0.1)
        for fault in await tab.evaluate(FAULTS):
            print(f"{size} {look}: {fault}")
            num_faults += 1
        tall = min(TALLEST, await tab.evaluate("document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": tall, "scale": 1}
        picture = await tab.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path = out / f"{page.stem}-{size}-{look}.png"
        path.write_bytes(base64.b64decode(picture["data"]))
        print(path)
    return num_faults


async def drive(browser: str, page: Path, out: Path) -> int:
    """Start a browser, take all pictures, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
        options += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen([browser, *options], stderr=subprocess.DEVNULL)
        try:
            told = Path(profile, "DevToolsActivePort")
            while not told.is_file() or not told.read_text().strip():
                await asyncio.sleep(0.1)
            address = f"http://127.0.0.1:{told.read_text().split()[0]}/json/new?about:blank"
            async with aiohttp.ClientSession() as session:
                async with session.put(address) as answer:
                    place = (await answer.json())["webSocketDebuggerUrl"]
                async with session.ws_connect(place, max_msg_size=0) as socket:
                    return await photograph(Tab(socket), page, out)
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Take them all; the status says whether something is outside or overlaps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser: none of {', '.join(BROWSERS)}; on Debian: apt-get install chromium")
    given.out.mkdir(parents=True, exist_ok=True)
    sys.exit(1 if asyncio.run(drive(browser, given.page, given.out)) else 0)


if __name__ == "__main__":
    main()
