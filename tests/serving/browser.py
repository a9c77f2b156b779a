"""Headless Chromium for tests, by W3C WebDriver over plain HTTP.

https://www.w3.org/TR/webdriver2/ names the paths. Needs Debian's packages
chromium and chromium-driver, or the like of another system, in PATH.
"""

import base64
from collections.abc import Iterator
import contextlib
import pathlib
import shutil
import subprocess
import time
from typing import Any

import httpx

DESKTOP = (1280, 900)
PHONE = (390, 844)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key of an element's name, by the standard."""
KEYS = {"Tab": "\ue004", "Down": "\ue015", "Enter": "\ue007", "Esc": "\ue00c"}


def why_not() -> str:
  """Why there is no browser; "": there is one."""
  missing = [
    name for name in ("chromium", "chromedriver") if not shutil.which(name)
  ]
  return f"no {' and no '.join(missing)} in PATH" if missing else ""


class Browser:
  """One window.

  Args:
    driver: address of chromedriver.
    size: of the window, in pixels.
  """

  def __init__(self, driver: httpx.Client, size: tuple[int, int]):
    self.size = width, height = size
    options = {
      "binary": shutil.which("chromium"),
      # Its own sandbox needs rights that test machines do not give.
      "args": ["--headless=new", "--no-sandbox", "--disable-gpu"],
      "mobileEmulation": {
        "deviceMetrics": {
          "width": width,
          "height": height,
          "pixelRatio": 1.0,
          "mobile": width < 500,
          "touch": width < 500,
        }
      },
    }
    always = {
      "browserName": "chrome",
      "goog:chromeOptions": options,
      "goog:loggingPrefs": {"browser": "ALL"},
    }
    self._driver = driver
    found = self._ask(
      "POST", "/session", {"capabilities": {"alwaysMatch": always}}
    )
    self._at = f"/session/{found['sessionId']}"

  def _ask(self, method: str, path: str, body: Any = None) -> Any:
    answer = self._driver.request(method, path, json=body)
    value = answer.json()["value"]
    assert answer.is_success, value["message"]
    return value

  def _post(self, path: str, **body) -> Any:
    return self._ask("POST", self._at + path, body)

  def open(self, url: str) -> None:
    self._post("/url", url=url)

  def script(self, text: str, *args: Any) -> Any:
    """What a function of this body returns; it may await."""
    return self._post(
      "/execute/sync",
      script=f"return (async () => {{ {text} }})()",
      args=list(args),
    )

  def wait(self, condition: str, seconds: float = 20.0) -> None:
    """Waits until an expression of the page holds."""
    end = time.monotonic() + seconds
    while not self.script(f"return Boolean({condition})"):
      if time.monotonic() > end:
        raise AssertionError(f"never so: {condition}; {self.complaints()}")
      time.sleep(0.05)

  def press(self, *keys: str) -> None:
    """Presses keys, one after the other, where the focus is."""
    actions = [
      {"type": kind, "value": KEYS.get(key, key)}
      for key in keys
      for kind in ("keyDown", "keyUp")
    ]
    self._post(
      "/actions", actions=[{"type": "key", "id": "k", "actions": actions}]
    )

  def click(self, selector: str) -> None:
    self._post(f"/element/{self._find(selector)}/click")

  def type(self, selector: str, text: str) -> None:
    """Types into an element; into one for files, a path."""
    self._post(f"/element/{self._find(selector)}/value", text=text)

  def _find(self, selector: str) -> str:
    found = self._post("/element", using="css selector", value=selector)
    return found[_ELEMENT]

  def text(self, selector: str) -> str:
    return self.script(
      "return document.querySelector(arguments[0]).innerText", selector
    )

  def screenshot(self, path: pathlib.Path, selector: str = "") -> None:
    """Of the window, or of an element, as PNG."""
    at = f"/element/{self._find(selector)}" if selector else ""
    found = self._ask("GET", f"{self._at}{at}/screenshot")
    path.write_bytes(base64.b64decode(found))

  def complaints(self) -> list[str]:
    """Warnings and errors of the console since last asked."""
    found = self._post("/se/log", type="browser")
    return [one["message"] for one in found]

  def close(self) -> None:
    self._ask("DELETE", self._at)


@contextlib.contextmanager
def opened(size: tuple[int, int] = DESKTOP) -> Iterator[Browser]:
  """A window, and what drives it; both end with the block."""
  process = subprocess.Popen(
    ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True
  )
  try:
    with httpx.Client(base_url=_address(process), timeout=60) as driver:
      browser = Browser(driver, size)
      try:
        yield browser
      finally:
        browser.close()
  finally:
    process.terminate()
    process.communicate(timeout=10)


def _address(process: subprocess.Popen) -> str:
  """Where chromedriver says that it listens."""
  assert process.stdout is not None
  for line in process.stdout:
    if "started successfully on port" in line:
      port = line.rstrip(".\n").rsplit(" ", 1)[1]
      return f"http://127.0.0.1:{port}"
  raise AssertionError("chromedriver has not started")
