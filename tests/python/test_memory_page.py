"""The page of a snapshot and the flame graph, used as people do: with a mouse, a keyboard, in the dark, in a
narrow window. In a real browser; without one these tests are skipped."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import HAS_BROWSER, MISSING, Browser, Page, wait_for
from test_pool_snapshot import document, nasty, nothing, numerous, snapshot_of

pytestmark = pytest.mark.skipif(not HAS_BROWSER, reason=MISSING)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def busy() -> dict[str, Any]:
    """A pool of twelve owners and three classes, with 500 recorded leases, of which each tenth is a leak."""
    data = document(leases=[], leaks=[], owners=[], classes=[])
    sizes = (1024, 5120, 1 << 20)
    names = [f"images/{n}" for n in range(11)] + [
        "an/owner/with/a/name/that/has/no/place/to/break/in/any/line"
    ]
    for n in range(500):
        size = sizes[n % 3]
        data["leases"].append(
            {
                "id": n + 1,
                "owner": names[n % 12],
                "size": size,
                "block_bytes": size,
                "bytes": size - n % 7,
                "kind": "plain",
                "age_s": 1.0 + n,
                "too_old": n % 10 == 0,
                "weight": 1.0,
                "site": f"app.py:{n}",
                "task": f"Task-{n}" if n % 2 else None,
                "stack": 0 if n % 2 else 1,
            }
        )
    data["stacks"]["frames"].append({"function": "another", "file": "other.py", "line": 4})
    data["stacks"]["calls"].append([5])
    for name in names:
        mine = [lease for lease in data["leases"] if lease["owner"] == name]
        held = []
        for size in sizes:
            live = sum(lease["size"] == size for lease in mine)
            if live:
                held.append({"size": size, "live": live, "live_bytes": live * size, "unrecorded_bytes": 0})
        live_bytes = sum(each["live_bytes"] for each in held)
        owner = {"owner": name, "live": len(mine), "live_bytes": live_bytes, "classes": held}
        data["owners"].append({**owner, "allocations": len(mine), "dropped_unreleased": 0})
    held = [each for owner in data["owners"] for each in owner["classes"]]
    for size in sizes:
        live = sum(each["live"] for each in held if each["size"] == size)
        counts = {
            "size": size,
            "live": live,
            "live_bytes": live * size,
            "recorded": live,
            "waste_bytes": 3 * live,
        }
        idle = {"idle_in_caches": 0, "idle_on_shelf": size // 1024 % 2, "capacity": 64, "high_water": 900}
        data["classes"].append({**counts, **idle, "allocations": 1000})
    live_bytes = sum(owner["live_bytes"] for owner in data["owners"])
    data["totals"] |= {"live": 500, "live_bytes": live_bytes, "held_bytes": live_bytes}
    first = data["history"][0]
    data["history"] = [
        {
            **first,
            "at_unix_s": 1_799_999_400.5 + n,
            "live_bytes": 1024 * n,
            "held_bytes": 2048 * n,
            "owners": [[names[0], 1024 * n]],
        }
        for n in range(601)
    ]
    words = "images/0: panicked: " + "and said a lot about why, " * 12
    data["marks"] = [{"at_unix_s": 1_799_999_500.5, "kind": "crash", "text": words}]
    data["threads"] = [
        {
            "id": 77,
            "name": "MainThread",
            "idle_bytes": 7168,
            "classes": [{"size": 1024, "idle": 2}, {"size": 5120, "idle": 1}],
        },
        {"id": None, "name": None, "idle_bytes": 1024, "classes": [{"size": 1024, "idle": 1}]},
    ]
    return data


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page of a snapshot. None of them may complain."""
    pages = []

    def show(data: dict[str, Any], name: str = "pool.html", **options: Any) -> Page:
        snapshot = snapshot_of(data)
        if name == "pool.html":
            snapshot.to_html(tmp_path / name)
        else:
            snapshot.to_flamegraph(tmp_path / name)
        pages.append(browser.open(tmp_path / name, **options))
        return pages[-1]

    yield show
    for page in pages:
        assert page.complaints() == []


def test_a_complaint_of_the_browser_is_seen(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!doctype html><script>nothing.at.all()</script>")
    (told,) = browser.open(tmp_path / "page.html").complaints()
    assert "nothing is not defined" in told


@pytest.mark.parametrize("name", ["document", "nasty", "nothing", "numerous"])
def test_every_snapshot_is_shown_without_complaint(show: Callable[..., Page], name: str) -> None:
    made = {"document": document, "nasty": nasty, "nothing": nothing, "numerous": lambda: numerous(100_000)}
    data = made[name]()
    page = show(data)
    assert page.count("#leases tbody tr") == {"document": 2, "nasty": 2, "nothing": 0, "numerous": 2}[name]
    assert (page.count(".layer") > 0) == (name != "nothing")
    assert (page.count(".tag") > 0) == (name in ("document", "nasty"))
    assert page.count(".mark") == len(data["marks"])
    for suffix in ("svg", "html"):
        assert show(data, f"flame.{suffix}").count(".box") > 0


def column(page: Page, card: str, n: int) -> list[str]:
    """A column of the rows that are shown, those with stacks left out."""
    return page.texts(f"#{card} tbody tr:not(.detail) td:nth-child({n})")


def head(card: str, name: str, page: Page) -> str:
    names = page.texts(f"#{card} th")
    (n,) = (n for n, each in enumerate(names, 1) if each.strip() == name)
    return f"#{card} th:nth-child({n})"


def test_a_head_sorts_its_table_and_again_the_other_way(show: Callable[..., Page]) -> None:
    page = show(busy())
    age = head("leases", "age", page)
    seconds = re.compile(r"([\d.]+) (s|min)")

    def ages() -> list[float]:
        found = [seconds.match(text) for text in column(page, "leases", 10)]
        return [float(each[1]) * (60 if each[2] == "min" else 1) for each in found if each]

    page.click(f"{age} button")
    assert page.run(f"document.querySelector('{age}').getAttribute('aria-sort')") == "descending"
    assert len(ages()) == 200 and ages() == sorted(ages(), reverse=True) and max(ages()) >= 480
    page.click(f"{age} button")
    assert page.run(f"document.querySelector('{age}').getAttribute('aria-sort')") == "ascending"
    assert ages() == sorted(ages()) and min(ages()) == 1.0
    assert page.count("#leases th[aria-sort]") == 1


def test_words_are_sorted_from_a_to_z_first(show: Callable[..., Page]) -> None:
    page = show(busy())
    page.click(f"{head('owners', 'owner', page)} button")
    names = column(page, "owners", 1)
    assert names == sorted(names) and len(names) == 12
    page.click(f"{head('owners', 'owner', page)} button")
    assert column(page, "owners", 1) == names[::-1]


def test_each_table_sorts_by_each_of_its_heads(show: Callable[..., Page]) -> None:
    page = show(busy() | {"leaks": document()["leaks"]})
    for card in ("owners", "classes", "idle", "leaks", "leases"):
        rows = page.count(f"#{card} tbody tr")
        names = [name for name in page.texts(f"#{card} th") if name]
        assert page.texts(f"#{card} th button") == names, "a head without a name is no button"
        for name in names:
            page.click(f"{head(card, name, page)} button")
            assert page.texts(f"#{card} th[aria-sort]") == [name] and page.count(f"#{card} tbody tr") == rows


def test_the_filter_keeps_what_has_the_words_in_any_place(show: Callable[..., Page]) -> None:
    page = show(busy())
    assert page.texts("#shown") == ["500 rows"] and page.is_shown("#more")
    page.click("#filter")
    for words, kept in (
        ("APP.PY:499", 1),  # a site
        ("Task-7", 6),  # a task: 7, 71, 73, 75, 77, 79 and 7xx, of which there are none
        ("an/owner/with", 41),  # an owner
        ("another at other.py", 250),  # a call
        ("there is no such thing", 0),
    ):
        page.run("document.getElementById('filter').select()")
        page.type(words)
        assert page.texts("#shown") == [f"{kept} of 500 rows"], words
        assert page.count("#leases tbody tr") == min(kept, 200)
        assert page.is_shown("#more") == (kept > 200)
    page.run("document.getElementById('filter').select()")
    page.type("app")
    assert page.texts("#shown") == ["500 rows"]


def test_more_rows_are_shown_when_asked_for(show: Callable[..., Page]) -> None:
    page = show(busy())
    shown = []
    while page.is_shown("#more"):
        page.click("#more")
        shown.append(page.count("#leases tbody tr"))
    assert shown == [400, 500]


def test_a_stack_opens_and_stays_open_until_it_is_closed(show: Callable[..., Page]) -> None:
    page = show(busy())
    owner = page.texts("#leases tbody tr:first-child td:nth-child(4)")
    page.click("#leases td button")
    assert page.texts("#leases .detail li") == ["another  other.py:4"]
    assert page.run("document.querySelector('#leases td button').getAttribute('aria-expanded')") == "true"
    page.click("#more")
    assert page.count("#leases .detail") == 1, "more rows close none"
    page.click(f"{head('leases', 'age', page)} button")
    page.click(f"{head('leases', 'leak', page)} button")
    assert page.count("#leases .detail") == 1
    assert page.texts("#leases tr.open td:nth-child(4)") == owner, "below its own row"
    page.click("#leases tr.open button")
    assert page.count("#leases .detail") == 0 and page.count("#leases tr.open") == 0


def test_everything_can_be_done_with_the_keyboard(show: Callable[..., Page]) -> None:
    page = show(busy())

    def focused() -> str:
        found: str = page.run(
            "document.activeElement.closest('.card, body').id + ' ' + document.activeElement.tagName"
        )
        return found

    reached = []
    for _ in range(60):
        page.press("Tab")
        reached.append(focused())
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
        if reached[-1] == "leases INPUT":
            break
    assert reached[0] == "curve svg" and reached[-1] == "leases INPUT"
    assert {"owners BUTTON", "classes BUTTON", "idle BUTTON"} <= set(reached)
    page.type("app.py:499")
    page.press("Tab")
    page.press(" ")
    assert page.texts("#leases th[aria-sort]") == [page.run("document.activeElement.textContent")]
    while page.run("document.activeElement.closest('td')") is None:
        page.press("Tab")
    page.press("Enter")
    assert page.count("#leases .detail") == 1
    page.press("Enter")
    assert page.count("#leases .detail") == 0


def test_the_curve_tells_what_was_held_at_the_pointer(show: Callable[..., Page]) -> None:
    page = show(busy())
    assert not page.is_shown("#curve .tip")
    page.point("#curve svg")
    (middle,) = page.texts("#curve .tip")
    ago, held = re.findall(r"−(\d) min (?:[\d.]+ s)?\s+held ([\d.]+) KiB", middle)[0]
    assert ago in ("4", "5") and 500 < float(held) < 700, middle
    assert "pressure Low" in middle and "images/0  " in middle and "idle  " in middle
    page.point("h1")
    assert not page.is_shown("#curve .tip")


def test_the_curve_is_gone_through_with_the_arrow_keys(show: Callable[..., Page]) -> None:
    page = show(busy())
    page.press("Tab")
    page.press("End")
    assert page.texts("#curve .tip")[0].startswith("−0 ms   held 1.17 MiB")
    page.press("ArrowLeft")
    assert page.texts("#curve .tip")[0].startswith("−1.0 s")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert page.texts("#curve .tip")[0].startswith("−0 ms")
    page.press("Home")
    assert page.texts("#curve .tip")[0].startswith("−10 min 0 s   held 0 B")
    page.press("Escape")
    assert not page.is_shown("#curve .tip")


def test_what_happened_is_told_at_its_mark_within_the_page(show: Callable[..., Page]) -> None:
    page = show(busy(), width=380)
    page.point("#curve .mark path", down=30)
    (told,) = page.texts("#curve .tip")
    assert "and said a lot about why" in told
    box = page.run(
        "(({ left, right }) => [left, right])(document.querySelector('.tip').getBoundingClientRect())"
    )
    assert 0 <= box[0] < box[1] <= 380
    assert page.run("document.documentElement.scrollWidth") == 380


def test_the_map_names_each_field(show: Callable[..., Page]) -> None:
    page = show(busy())
    titles = page.texts("#map rect title")
    assert len(titles) == 12 and "images/0\n42 × 1 KiB = 42 KiB, 0.0 % of what is leased" in titles
    x, y = page.place("#map rect")
    assert page.run(f"document.elementFromPoint({x}, {y}).querySelector('title').textContent") == titles[0]


@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("make", [document, nasty, busy])
def test_no_word_of_a_picture_lies_on_another(show: Callable[..., Page], make: Any, width: int) -> None:
    page = show(make(), width=width)
    found = page.run(
        """(() => {
          const hits = [];
          for (const id of ["curve", "map"]) {
            const boxes = Array.from(document.querySelectorAll(`#${id} svg text`), (text) =>
              [text.textContent, text.getBoundingClientRect()]);
            boxes.forEach(([a, p], n) => boxes.slice(n + 1).forEach(([b, q]) => {
              const beside = p.left >= q.right || q.left >= p.right;
              const apart = p.top + 3 >= q.bottom || q.top + 3 >= p.bottom;
              if (!beside && !apart) hits.push([a, b]);
            }));
          }
          return hits;
        })()"""
    )
    assert found == []


@pytest.mark.parametrize("width", [320, 380, 760, 1280, 2400])
@pytest.mark.parametrize("make", [nasty, nothing, busy])
def test_no_window_is_too_narrow(show: Callable[..., Page], make: Any, width: int) -> None:
    page = show(make(), width=width)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.resize(1000, 800)
    wait_for(lambda: page.run("document.documentElement.scrollWidth") <= 1000)
    if make is busy:
        wait_for(lambda: page.run("document.querySelector('#map svg').viewBox.baseVal.width > 320"))


def luminance(colour: str) -> float:
    """Of `rgb(…)`, as WCAG 2 has it: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_in_the_light_and_in_the_dark(show: Callable[..., Page], dark: bool) -> None:
    page = show(busy(), dark=dark)
    for selector in (
        "h1",
        "#taken",
        ".figure span",
        "#owners td",
        "#owners th",
        "#leases .mono",
        ".note",
        ".badge b",
    ):
        ink, ground = page.run(
            f"""(() => {{
              let element = document.querySelector({selector!r});
              const ink = getComputedStyle(element).color;
              const clear = (of) => getComputedStyle(of).backgroundColor === "rgba(0, 0, 0, 0)";
              while (clear(element)) element = element.parentElement;
              return [ink, getComputedStyle(element).backgroundColor];
            }})()"""
        )
        assert (luminance(ground) < 0.1) == dark, selector
        light, deep = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, (selector, ink, ground)


def test_an_empty_pool_has_no_controls_for_nothing(show: Callable[..., Page]) -> None:
    page = show(nothing())
    assert page.texts(".empty") == [
        "There is one sample so far: a second later there is a curve.",
        "Nothing is leased.",
        "Nobody holds anything.",
        "No block was ever made.",
        "No block lies idle.",
        "No lease carries a record.",
    ]
    assert not any(map(page.is_shown, ("#filter", "#more", "#leaks", "table")))


def test_idle_blocks_are_told_by_who_keeps_them(show: Callable[..., Page]) -> None:
    data = busy()
    data["classes"] = document()["classes"]
    page = show(data)
    rows = zip(*(column(page, "idle", n) for n in (1, 2, 3, 5)), strict=True)
    assert list(rows) == [
        ("MainThread (77)", "3", "7 KiB", "1 × 5 KiB, 2 × 1 KiB"),
        ("the shelves, for any thread", "2", "6 KiB", "1 × 5 KiB, 1 × 1 KiB"),
        ("a thread", "1", "1 KiB", "1 × 1 KiB"),
    ]


def test_a_harmful_name_does_no_harm_wherever_it_is_shown(show: Callable[..., Page]) -> None:
    data = nasty()
    name = data["owners"][0]["owner"]
    data["threads"] = [{"id": 1, "name": name, "idle_bytes": 64, "classes": [{"size": 64, "idle": 1}]}]
    page = show(data)
    page.run("window.alert = () => { document.title = 'harmed'; }")
    page.click("#leases td button")
    page.click("#leaks td button")
    page.point("#curve svg")
    page.click("#filter")
    page.type("</script><script>alert(1)</script>")
    assert page.count("script") == 2 and page.run("document.title") == "Memory of the pool"
    assert any("<script>alert(" in text for text in page.texts("#idle td"))


def test_ten_thousand_leases_are_sorted_and_filtered_at_once(show: Callable[..., Page]) -> None:
    data = numerous(10_000)
    for n, lease in enumerate(data["leases"]):
        lease["site"] = f"app.py:{n}"
    page = show(data)
    assert page.texts("#shown") == ["2,000 rows"] and "8,000 smaller ones" in page.texts("#sampling")[0]
    page.click(f"{head('leases', 'site', page)} button")
    assert column(page, "leases", 4)[:2] == ["app.py:0", "app.py:1"]
    page.click("#filter")
    page.type("app.py:1999")
    assert column(page, "leases", 4) == ["app.py:1999"]


def flame() -> dict[str, Any]:
    data = busy()
    data["stacks"]["frames"][0]["function"] = "a_function_with_a_name_too_long_for_a_narrow_box"
    return data


def widths(page: Page) -> list[float]:
    """Of the boxes that are shown."""
    found: list[float] = page.run(
        "Array.from(document.querySelectorAll('.box'), (box) => box.style.display === 'none' ? 0 : "
        "Number(box.querySelector('rect').getAttribute('width')))"
    )
    return found


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_a_click_widens_a_call_and_one_on_the_top_goes_back(show: Callable[..., Page], suffix: str) -> None:
    page = show(flame(), f"flame.{suffix}")
    before = widths(page)
    assert before[0] == pytest.approx(1183.6)
    small = min((n for n in range(len(before)) if before[n] > 4), key=lambda n: before[n])
    page.click(".box", small)
    after = widths(page)
    assert after[small] == pytest.approx(1183.6) and after.count(0) > before.count(0)
    assert page.run("document.querySelectorAll('.box')[0].classList.contains('outer')")
    page.click(".box", 0)
    assert widths(page) == before and page.count(".box.outer") == 0


def test_each_box_of_a_flame_graph_says_what_it_is(show: Callable[..., Page]) -> None:
    page = show(flame(), "flame.html")
    titles = page.texts(".box title")
    assert titles[0].startswith("leased: ") and len(titles) == page.count(".box")
    assert all(re.search(r": [\d.]+ [KMG]?i?B, [\d.]+ % \(\d+ bytes\)$", title) for title in titles)
    overflowing = page.run(
        "Array.from(document.querySelectorAll('.box')).filter((box) => "
        "box.querySelector('text').getBBox().width > box.querySelector('rect').getBBox().width).length"
    )
    assert overflowing == 0


def test_a_flame_graph_is_gone_through_with_the_keyboard(show: Callable[..., Page]) -> None:
    page = show(flame(), "flame.html")

    def current() -> str:
        found: str = page.run("document.activeElement.dataset.name")
        return found

    before = widths(page)
    page.press("Tab")
    assert current() == "leased"
    page.press("ArrowDown")
    first = current()
    assert first.startswith(("images/", "an/owner"))
    page.press("ArrowRight")
    assert current() != first
    page.press("ArrowLeft")
    assert current() == first
    page.press("ArrowDown")
    page.press("Enter")
    assert widths(page) != before
    page.press("ArrowUp")
    assert current() == first
    page.press("Escape")
    assert widths(page) == before
    page.press("Home")
    assert current() == "leased"
    page.press("Tab")
    assert page.run("document.activeElement === document.body"), "all boxes are one stop"


def test_a_flame_graph_of_nothing_has_its_top_only(show: Callable[..., Page]) -> None:
    page = show(nothing(), "flame.svg")
    assert page.count(".box") == 1
    page.click(".box")
    page.press("ArrowDown")
    page.press("Enter")
    assert widths(page) == [pytest.approx(1183.6)]
