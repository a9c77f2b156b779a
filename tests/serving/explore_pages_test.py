"""The explorer's page in a headless browser: by mouse, keyboard and thumb.

Screenshots of all that is looked at lie in $EXPLORE_SHOTS, where that is set.
"""

import contextlib
import dataclasses
import os
import pathlib
import threading
import time

import pytest
import uvicorn

from dicm_jax.serving import app as app_lib
from dicm_jax.serving import engine, explore_api, explorer
from dicm_jax.serving.limits import Limits
from tests import toy
from tests.serving import browser, explored, http

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(bool(browser.why_not()), reason=browser.why_not()),
]
READY = (
  "document.querySelector('.parts li') && document.querySelector('.ads b')"
)
LIKE = "document.querySelectorAll('#like-found li').length"

CONTRAST = """
const parse = (text) => text.match(/[0-9.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((x) => x / 255)
  .map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
  .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  const found = parse(getComputedStyle(e).backgroundColor);
  if ((found[3] ?? 1) > 0.9 || !e.parentElement) return found;
  return behind(e.parentElement);
};
const bad = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3
    && n.textContent.trim());
  const box = e.getBoundingClientRect();
  if (!own || box.width <= 1) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) bad.push(`${contrast.toFixed(2)}: ${e.outerHTML}`);
}
return bad;
"""
"""Texts below WCAG's AA: https://www.w3.org/TR/WCAG22/#contrast-minimum."""

NAMELESS = """
return [...document.querySelectorAll("button, input, [tabindex='0']")]
  .filter((e) => !(e.getAttribute("aria-label") || e.innerText
    || e.getAttribute("aria-labelledby") || e.labels?.length))
  .map((e) => e.outerHTML);
"""

SMALL = """
const targets = "button, input, label.drop, [role=option]";
return [...document.querySelectorAll(targets)]
  .filter((e) => e.offsetParent && !e.classList.contains("hidden"))
  .map((e) => [e.getBoundingClientRect(), e.outerHTML])
  .filter(([box]) => Math.min(box.width, box.height) < 24)
  .map(([box, text]) => `${box.width} x ${box.height}: ${text}`);
"""
"""Targets below https://www.w3.org/TR/WCAG22/#target-size-minimum."""


@contextlib.contextmanager
def served(made, shown):
  """Address of a server with an explorer; it ends with the block."""
  server = http.serve(made.bundle.folder)
  app = app_lib.make(server, explorer=shown)
  config = uvicorn.Config(app, port=0, log_level="error", ws="none")
  running = uvicorn.Server(config)
  thread = threading.Thread(target=running.run, daemon=True)
  thread.start()
  while not running.started:
    time.sleep(0.01)
  port = running.servers[0].sockets[0].getsockname()[1]
  try:
    yield f"http://127.0.0.1:{port}/explore"
  finally:
    running.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def full(made, shown):
  """Address of an explorer that can do everything."""
  other = engine.start(made.bundle.folder, "auto", Limits())
  one = explorer.Explorer(shown, other, explored.embedder)
  with served(made, one) as address:
    yield address


@pytest.fixture(scope="module")
def own_picture(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("own") / "mine.png"
  path.write_bytes(toy.dataset().image_bytes[7])
  return path


def look(page: browser.Browser, name: str) -> None:
  """Checks what every state of the page has to keep."""
  assert page.script(CONTRAST) == []
  assert page.script(NAMELESS) == []
  assert page.script(SMALL) == []
  # Not innerWidth, which a phone makes as large as what does not fit.
  width = page.script("return document.documentElement.scrollWidth")
  assert width <= page.size[0], name
  folder = os.environ.get("EXPLORE_SHOTS")
  if folder:
    page.screenshot(pathlib.Path(folder) / f"{name}.png")


@pytest.mark.parametrize(
  ("name", "size"), [("desktop", browser.DESKTOP), ("phone", browser.PHONE)]
)
def test_page_is_whole(full, shown, own_picture, name, size):
  lengths = [len(view.behaviours) for view in shown.views]
  with browser.opened(size) as page:
    page.open(f"{full}#view={lengths.index(max(lengths))}")
    page.wait(READY)
    look(page, f"{name}_begin")
    page.click(".why-top .plain")
    page.wait("document.querySelector('.covered svg')")
    page.type("#own-file", str(own_picture))
    page.wait("document.querySelector('.ads .own')")
    assert "An ad with your picture" in page.text("#own-found")
    page.script("document.querySelector('#own').scrollIntoView()")
    look(page, f"{name}_own")
    page.script("document.querySelector('.ads .picture').click()")
    page.wait(LIKE)
    look(page, f"{name}_like")
    assert page.complaints() == []


def test_all_can_be_done_by_keyboard(full):
  with browser.opened() as page:
    page.open(full)
    page.wait(READY)

    def focus():
      return page.script("return document.activeElement.id")

    page.press("Tab")  # The link past the users.
    assert page.script("return document.activeElement.className") == "skip"
    page.press("Tab", "Tab")
    assert focus() == "users"
    first = page.text("[aria-selected=true]")
    page.press("Down")
    page.wait("document.querySelector('#ads b')")
    second = page.text("[aria-selected=true]")
    assert first != second
    active = (
      "return document.querySelector('#users').getAttribute(arguments[0])"
    )
    assert page.script(active, "aria-activedescendant") == "user-1"
    page.wait(READY)
    page.script("document.querySelectorAll('.choose')[1].focus()")
    page.press("Enter")
    page.wait("document.querySelectorAll('.ads li')[1].matches('.chosen')")
    page.wait(READY)
    assert "view=1&ad=" in page.script("return location.hash")
    page.script("document.querySelector('.ads .picture').focus()")
    page.press("Enter")
    page.wait(LIKE)
    page.press("Esc")
    page.wait("!document.querySelector('#like').open")
    assert page.complaints() == []


DROP = """
const bytes = await (await fetch("/explore/pictures/0")).blob();
const dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([bytes], arguments[0], { type: bytes.type }));
document.querySelector(".drop").dispatchEvent(
  new DragEvent("drop", { dataTransfer, cancelable: true }));
"""


def test_a_picture_can_be_dropped(full):
  with browser.opened() as page:
    page.open(full)
    page.wait(READY)
    page.script(f"await (async function () {{ {DROP} }})('mine.jpg')")
    page.wait("document.querySelector('.ads .own')")
    page.script(
      "createImageBitmap = () => Promise.reject(new Error('no picture'))"
    )
    page.script(f"await (async function () {{ {DROP} }})('mine.pdf')")
    page.wait("document.querySelector('#own-found .error')")
    assert "mine.pdf cannot be read as a picture" in page.text("#own-found")
    look(page, "no_picture")


def test_users_are_searched(full, shown):
  with browser.opened() as page:
    page.open(full)
    page.wait(READY)
    user = shown.views[3].user
    page.type("#search", user)
    found = page.script("return document.querySelectorAll('#users li').length")
    assert found == sum(user in view.user for view in shown.views)
    page.type("#search", "nobody")
    page.wait("document.querySelector('#found').innerText === 'No such user'")


def raising(error: Exception):
  def fails(*args):
    raise error

  return fails


def test_what_fails_is_told_kindly_and_can_be_tried_again(
  made, shown, monkeypatch
):
  works = explorer.Explorer.explain
  monkeypatch.setattr(explorer.Explorer, "explain", lambda *_: 1 / 0)
  with (
    served(made, explorer.Explorer(shown)) as address,
    browser.opened() as page,
  ):
    page.open(address)
    page.wait("document.querySelector('#why .error')")
    assert "Sorry: the server could not answer" in page.text("#why .error")
    assert "no encoder" in page.text("#own")
    look(page, "failed")
    monkeypatch.setattr(explorer.Explorer, "explain", works)
    page.click("#why .error button")
    page.wait(READY)
    # What cannot be done has no button.
    unable = explorer.Unable("no vectors")
    monkeypatch.setattr(explorer.Model, "neighbours", raising(unable))
    page.script("document.querySelector('.ads .picture').click()")
    page.wait("document.querySelector('#like-found .error')")
    assert page.text("#like-found").strip() == "Sorry: no vectors."
  with browser.opened() as page, served(made, explorer.Explorer(shown)) as at:
    page.open(at)
    page.wait(READY)
    page.script("window.fetch = () => Promise.reject(new TypeError('gone'))")
    page.click("[role=option]:nth-child(2)")
    page.wait("document.querySelector('#ads .error')")
    assert "The server does not answer" in page.text("#ads")
    look(page, "gone")


def test_loading_is_shown(made, shown, monkeypatch):
  works, go = explorer.Explorer.page, threading.Event()

  def slow(*args):
    go.wait(20)
    return works(*args)

  monkeypatch.setattr(explorer.Explorer, "page", slow)
  with (
    served(made, explorer.Explorer(shown)) as address,
    browser.opened() as page,
  ):
    page.open(address)
    page.wait("document.querySelector('#ads .loading')")
    assert "Scoring the ads of user" in page.text("#ads")
    look(page, "loading")
    go.set()
    page.wait(READY)


LATE = """
const real = window.fetch, answer = await real("/explore/views/3");
const asked = new Promise((done) => {
  window.paths = [];
  window.fetch = (path, options) => {
    window.paths.push(path);
    if (path !== "/explore/views/3") return real(path, options);
    done();
    return new Promise((come) => { window.come = () => come(answer); });
  };
});
document.querySelector("#user-3").click();
await asked;
document.querySelector("#user-4").click();
window.come();
"""
"""The answer about user 3 comes when user 4 has just been chosen."""


def test_last_choice_counts_whatever_comes_first(full):
  with browser.opened() as page:
    page.open(full)
    page.wait(READY)
    page.script(LATE)
    page.wait(READY)
    answer = page.script("return (await fetch('/explore/views/4')).json()")
    heads = page.script(
      "return [...document.querySelectorAll('.ads li')].map((e) => e.id)"
    )
    assert heads == [f"ad-{ad['ad']}" for ad in answer["ads"]]
    first = answer["ads"][0]["ad"]
    asked = page.script("return window.paths")
    explained = [path for path in asked if "/explain/" in path]
    assert explained == [f"/explore/explain/4/{first}"]


def test_content_of_names_is_no_html(made, shown):
  evil = "<img src=x onerror=alert(1)>"
  pictures = tuple(
    dataclasses.replace(one, title=evil) for one in shown.pictures
  )
  folder = dataclasses.replace(shown, pictures=pictures, data_notice=evil)
  with (
    served(made, explorer.Explorer(folder)) as address,
    browser.opened() as page,
  ):
    page.open(address)
    page.wait(READY)
    assert evil in page.text("#ads")
    assert (
      page.script("return document.querySelectorAll('[onerror]').length") == 0
    )


def test_nothing_is_asked_of_elsewhere(full):
  with browser.opened() as page:
    page.open(full)
    page.wait(READY)
    asked = page.script(
      "return performance.getEntriesByType('resource').map((e) => e.name)"
    )
    assert len(asked) > len(explore_api.TYPES)
    assert all(name.startswith(full) for name in asked)
