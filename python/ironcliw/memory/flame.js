"use strict";
// A click on a box widens it to the whole picture, and those around it with it; a click on the top one goes back.
(function () {
  const WIDTH = 1184, PADDING = 8, LETTER = 6.6, NARROWEST = 0.2;
  const svg = document.currentScript.closest("svg");
  const boxes = Array.from(svg.querySelectorAll(".box"), (element) => ({
    element,
    left: Number(element.dataset.x),
    width: Number(element.dataset.w),
    row: Number(element.dataset.row),
    name: element.dataset.name,
    rect: element.querySelector("rect"),
    text: element.querySelector("text"),
  }));
  function zoom(to) {
    const scale = WIDTH / to.width;
    for (const box of boxes) {
      const begin = Math.max(box.left, to.left), end = Math.min(box.left + box.width, to.left + to.width);
      const width = (end - begin) * scale;
      const outer = box.row < to.row;
      box.element.style.display = width < NARROWEST ? "none" : "";
      box.element.classList.toggle("outer", outer && width >= NARROWEST);
      if (width < NARROWEST) continue;
      const x = PADDING + (begin - to.left) * scale;
      box.rect.setAttribute("x", x.toFixed(2));
      box.rect.setAttribute("width", Math.max(width - 0.4, 0.2).toFixed(2));
      box.text.setAttribute("x", (x + 3).toFixed(2));
      const letters = Math.floor((width - 6) / LETTER);
      box.text.textContent =
        box.name.length <= letters ? box.name : letters > 2 ? box.name.slice(0, letters - 1) + "…" : "";
    }
  }
  for (const box of boxes) box.element.addEventListener("click", () => zoom(box));
})();
