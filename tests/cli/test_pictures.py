"""Pictures of graphs in a real browser: all text is where the layout thinks it is, and can be read in any light."""

from pathlib import Path

import pytest
from playwright.async_api import Browser
from sima.identity.v1 import identity_service_pb2 as pb
from sima_cli.graphs.folding import fold
from sima_cli.graphs.model import read
from sima_cli.graphs.svg import draw

from .test_graphs import crowd, decision, identifier, link

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("browser")]

WORDS = ("ناصر-الشهري-", "東京東京東京東京東京東京東京", "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM", "<b>&amp;</b>")
#: Texts that reach out of the picture, pairs of texts that overlap, and the least contrast of any text.
MEASURE = """() => {
  const paper = document.documentElement.getBoundingClientRect();
  const texts = [...document.querySelectorAll("text")];
  const boxes = texts.map(text => text.getBoundingClientRect());
  const outside = boxes.filter(b => b.left < 0 || b.top < 0 || b.right > paper.right || b.bottom > paper.bottom);
  const overlapping = boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3));
  const light = element => {
    const parts = getComputedStyle(element).fill.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255);
    const [r, g, b] = parts.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = [".paper", ".frame"].map(name => light(document.querySelector(name)));
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const contrasts = texts.flatMap(text => grounds.map(ground => contrast(light(text), ground)));
  return [texts.length, outside.length, overlapping.length, Math.min(...contrasts)];
}"""


def dirty() -> pb.GetProfileGraphResponse:
    """A profile with values as the world writes them, long and in several scripts, and a long decision."""
    answer = crowd(5)
    for number, word in enumerate(WORDS, 6):
        other = identifier(number * 6 + 2, word)
        answer.identifiers.add(identifier=other)
        answer.links.append(link(answer.identifiers[0].identifier, other, number % 2))
    answer.decisions.append(decision([answer.identifiers[0].identifier, other], "رقم واحد لشخصين " * 30, True))
    return answer


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("answer", [crowd(1), crowd(50), crowd(1_000), dirty()], ids=["1", "50", "1000", "dirty"])
async def test_a_browser_shows_all_text_within_the_picture_and_apart(
    browser: Browser, tmp_path: Path, answer: pb.GetProfileGraphResponse, scheme: str
) -> None:
    """As the layout computed it; each text stands out from what is behind it as WCAG 2 asks (4.5 to 1)."""
    (tmp_path / "graph.svg").write_text(draw(*fold(read(answer), 25)), encoding="utf-8")
    page = await browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto((tmp_path / "graph.svg").as_uri())
    texts, outside, overlapping, contrast = await page.evaluate(MEASURE)
    await page.close()
    assert texts > 3
    assert (outside, overlapping) == (0, 0)
    assert contrast >= 4.5
    assert asked == [(tmp_path / "graph.svg").as_uri()]
