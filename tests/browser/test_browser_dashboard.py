"""The pages in a real Chromium: clicked through as a person does, with nothing in its console and nothing that its policy forbids."""

import asyncio
import os
import re
import shutil
from contextlib import asynccontextmanager

import pytest

from tests.support import fakes
from tests.support.gateway import ADMIN_KEY, gateway, model, provider
from tests.support.upstream import Upstream, error, stall

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: pip install playwright")

CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium, or CHROMIUM=<path>")

PAGES = (
    "",
    "/requests",
    "/usage?group_by=model",
    "/models",
    "/routing",
    "/keys",
    "/users",
    "/playground",
    "/alerts",
    "/settings",
    "/settings/providers",
    "/settings/history",
    "/settings/history/0",
)
WATCH = "document.addEventListener('securitypolicyviolation', (event) => console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI))"

# What every page must have for people who do not see it: one h1, no level skipped, a name for each field and button, unique ids, contrast of 4.5.
AUDIT = r"""
() => {
  const faults = [];
  const levels = [...document.querySelectorAll("h1,h2,h3,h4")].map((one) => Number(one.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push("not one h1");
  levels.forEach((level, place) => { if (place && level > levels[place - 1] + 1) faults.push("a heading level is skipped"); });
  for (const field of document.querySelectorAll("input:not([type=hidden]),select,textarea,meter")) {
    if (!field.labels?.length && !field.getAttribute("aria-label") && !field.getAttribute("aria-hidden")) faults.push("no label: " + field.outerHTML.slice(0, 80));
  }
  for (const one of document.querySelectorAll("button,a,summary")) {
    if (!(one.textContent.trim() || one.getAttribute("aria-label"))) faults.push("no name: " + one.outerHTML.slice(0, 80));
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  if (new Set(ids).size !== ids.length) faults.push("an id is there twice");
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = rgba(getComputedStyle(at).backgroundColor);
      if (found[3] > 250) return found;
    }
    return [255, 255, 255, 255];
  };
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || one.closest("svg") || one.matches(":disabled") || !one.getClientRects().length) continue;
    const [front, back] = [light(rgba(getComputedStyle(one).color)), light(behind(one))];
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (contrast < 4.5) faults.push("contrast " + contrast.toFixed(2) + ": " + one.textContent.trim().slice(0, 40));
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the screen");
  return faults;
}
"""


@asynccontextmanager
async def browsing(gw, forgive=(), **options):
    """A page in a fresh browser that is signed in as the admin; at the end its console must be empty. forgive: statuses that may be in it."""
    said = []
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            context = await chromium.new_context(base_url=gw.url, **options)
            context.set_default_timeout(30_000)
            if options.get("java_script_enabled", True):
                await context.add_init_script(WATCH)
            page = await context.new_page()
            page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: said.append(str(error)))
            await page.goto("/dashboard")
            await page.get_by_label("API key").fill(ADMIN_KEY)
            await page.get_by_role("button", name="Sign in").click()
            await page.wait_for_url("**/dashboard")
            yield page
        finally:
            await chromium.close()
    assert [line for line in said if not any(f"status of {status}" in line for status in forgive)] == []


async def test_a_key_is_made_used_and_its_call_seen(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw, browsing(gw) as page:
        assert "No calls in this time yet" in await page.inner_text("main")
        await page.get_by_role("link", name="Keys", exact=True).click()
        await page.get_by_text("New key").click()
        await page.get_by_label("Name", exact=True).fill("from the page")
        await page.get_by_role("button", name="Create key").click()
        key = await page.get_by_label("New key").input_value()
        assert re.fullmatch(r"nr_[0-9A-Za-z]{49}", key)
        async with gw.openai(key) as client:
            answer = await client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "What is 2 + 2?"}])
        await gw.rows(1)
        await page.get_by_role("link", name="Requests", exact=True).click()
        assert answer.model in await page.inner_text("table")
        await page.locator("tbody tr").first.get_by_role("link").click()
        await page.wait_for_url("**/requests/req_*")
        text = await page.inner_text("main")
        assert "auto" in text and "balanced" in text and "Decision" in text
        assert await page.locator("svg.waterfall g.bar").count() >= 9  # eight stages and an attempt
        assert await page.get_by_text("set money aside").count() >= 1
        await page.locator("svg.waterfall g.bar").first.hover()
        assert "key" in await page.locator(".tip").inner_text()
        await page.get_by_label("It should have gone to").select_option("demo-large")
        await page.get_by_role("button", name="The answer was bad").click()
        await page.get_by_text("You said: bad; it should have gone to demo-large").wait_for()
        await page.get_by_role("link", name="Overview", exact=True).click()
        assert "No calls in this time yet" not in await page.inner_text("main")
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url("**/sign-in")


async def test_figures_come_by_themselves_until_they_are_paused(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw, browsing(gw) as page:
        await page.clock.install()
        await page.reload()
        async with gw.chat("auto"):
            pass
        await gw.rows(1)
        await page.clock.fast_forward(11_000)
        await page.get_by_text("Busiest models").wait_for()
        await page.get_by_role("button", name="Pause").click()
        async with gw.chat("auto:best"):
            pass
        await gw.rows(2)
        await page.clock.fast_forward(30_000)
        assert await page.locator(".tile .value").first.inner_text() == "1"
        await page.get_by_role("button", name="Refresh live").click()
        await page.locator(".tile .value", has_text=re.compile("^2$")).first.wait_for()


async def test_a_policy_is_tried_while_it_is_filled_in(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw, browsing(gw) as page:
        async with gw.chat("auto:cheap"):
            pass
        await gw.rows(1)
        await page.get_by_role("link", name="Routing", exact=True).click()
        await page.get_by_role("link", name="cheap", exact=True).click()
        await page.get_by_text("No call would go elsewhere.").wait_for()
        await page.get_by_label("Least quality").fill("0.999")
        await page.get_by_role("heading", name="Which calls move").wait_for()
        await page.get_by_label("Least quality").fill("much")
        await page.get_by_text("quality_floor: a number is expected").wait_for()


async def test_a_policy_is_changed_and_rolled_back(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw, browsing(gw) as page:
        await page.get_by_role("link", name="Routing", exact=True).click()
        await page.get_by_role("link", name="cheap", exact=True).click()
        await page.get_by_label("Least quality").fill("0.92")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text("Saved. It is in force").wait_for()
        assert await page.get_by_label("Least quality").input_value() == "0.92"
        await page.get_by_role("link", name="Settings", exact=True).click()
        await page.get_by_role("link", name="History", exact=True).click()
        await page.get_by_role("link", name="Before the first change").click()
        assert "routing.policies.cheap.quality_floor" in await page.inner_text("main")
        await page.get_by_role("button", name="Roll back to this").click()
        await page.get_by_text("back to version 0").wait_for()
        await page.get_by_role("link", name="Routing", exact=True).click()
        await page.get_by_role("link", name="cheap", exact=True).click()
        assert await page.get_by_label("Least quality").input_value() == "0.6"


async def test_the_playground_streams(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw, browsing(gw) as page:
        await page.goto("/dashboard/playground")
        await page.get_by_label("Beside it", exact=True).select_option("demo-small")
        await page.get_by_label("Prompt").fill("Translate 'good morning' into French.")
        await page.get_by_role("button", name="Send").click()
        await page.locator(".answer a").nth(1).wait_for()  # the books know both calls
        answers = await page.locator(".answer").all_inner_texts()
        assert "auto" in answers[0] and "demo-small" in answers[1] and all("Cost" in text and "First token" in text for text in answers)
        await page.locator(".answer summary").first.click()
        assert "chosen" in await page.locator(".answer table").first.inner_text()


async def test_the_playground_shows_errors_and_can_be_stopped(database_url):
    async with Upstream(fakes.openai) as up:
        config = {"providers": {"p": provider(up.url)}, "models": {"good": model("p"), "slow": model("p")}}
        up.will(stall(), error(400, "this is too much"))
        async with gateway(database_url, config) as gw, browsing(gw, forgive=("400",)) as page:
            await page.goto("/dashboard/playground")
            await page.get_by_label("Ask", exact=True).select_option("slow")
            await page.get_by_label("Prompt").fill("hello")
            await page.get_by_role("button", name="Send").click()
            async with asyncio.timeout(20):
                while not up.seen:
                    await asyncio.sleep(0.02)
            await page.get_by_role("button", name="Stop").click()
            await page.get_by_text("Stopped.").wait_for()
            [row] = await gw.rows(1)
            assert row.status == "client_gone"
            await page.get_by_label("Ask", exact=True).select_option("good")
            await page.get_by_role("button", name="Send").click()
            await page.locator(".failed", has_text="this is too much").wait_for()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)])
async def test_every_page_can_be_read(database_url, scheme, width):
    async with gateway(database_url, neuroroute_demo=True, store_prompts=True) as gw:
        async with gw.post("/admin/alerts/silences", {"name": "memory", "for_s": 3600, "comment": "more comes"}) as response:
            assert response.status == 201
        await gw.new_key(name="a key with a long name that goes on and on", budget={"usd": 1, "period": "day"})
        await gw.new_user(name="Ada")
        async with gw.chat("auto"), gw.chat("nobody-knows-this-one"):
            pass
        calls = [f"/requests/{row.request_id}" for row in await gw.rows(2)]
        assert gw.services.texts is not None
        await gw.services.texts.flush()
        async with browsing(gw, forgive=("404",), color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
            for path in (*PAGES, *calls, "/sign-in", "/no-such-page"):
                await page.goto("/dashboard" + path)
                await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
                assert await page.evaluate(AUDIT) == [], path


async def test_the_api_documentation_opens(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw, browsing(gw) as page:
        await page.goto("/documentation")
        await page.get_by_text("/v1/chat/completions").first.wait_for()
        assert await page.title() == "NeuroRoute API"


async def test_pages_work_without_javascript_and_by_keyboard(database_url):
    async with gateway(database_url, neuroroute_demo=True) as gw:
        async with browsing(gw, java_script_enabled=False) as page:
            await page.goto("/dashboard/keys")
            await page.get_by_text("New key").click()
            await page.get_by_label("Name", exact=True).fill("plain")
            await page.get_by_role("button", name="Create key").click()
            assert (await page.get_by_label("New key").input_value()).startswith("nr_")
            await page.goto("/dashboard/playground")
            assert "needs JavaScript" in await page.inner_text("main")
        async with browsing(gw) as page:
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
            await page.keyboard.press("Enter")
            assert await page.evaluate("document.activeElement.id") == "main"
