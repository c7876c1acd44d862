"use strict";
// A click on a box widens it to the whole picture, and those around it with it; a click on the top one goes back. With the
// keyboard: the arrows go from box to box (up and down: to the caller and the largest call; aside: to what is beside it),
// Enter widens, Escape goes back.
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
    isShown: true,
  }));
  function zoom(to) {
    const scale = WIDTH / to.width;
    for (const box of boxes) {
      const begin = Math.max(box.left, to.left), end = Math.min(box.left + box.width, to.left + to.width);
      const width = (end - begin) * scale;
      const outer = box.row < to.row;
      box.isShown = width >= NARROWEST;
      box.element.style.display = box.isShown ? "" : "none";
      box.element.classList.toggle("outer", outer && box.isShown);
      if (!box.isShown) continue;
      const x = PADDING + (begin - to.left) * scale;
      box.rect.setAttribute("x", x.toFixed(2));
      box.rect.setAttribute("width", Math.max(width - 0.4, 0.2).toFixed(2));
      box.text.setAttribute("x", (x + 3).toFixed(2));
      const letters = Math.floor((width - 6) / LETTER);
      box.text.textContent =
        box.name.length <= letters ? box.name : letters > 2 ? box.name.slice(0, letters - 1) + "…" : "";
    }
  }

  const root = boxes.find((box) => box.row === 0);
  let current = root;
  // One box at a time is reached by Tab: there may be thousands.
  function focus(box) {
    if (!box) return;
    current.element.setAttribute("tabindex", "-1");
    current = box;
    box.element.setAttribute("tabindex", "0");
    box.element.focus();
  }
  const middle = (box) => box.left + box.width / 2;
  function beside(box, side) {
    const row = boxes.filter((each) => each.isShown && each.row === box.row && side * (each.left - box.left) > 0);
    return row.sort((a, b) => side * (a.left - b.left))[0];
  }
  function inside(box) {
    const inner = boxes.filter((each) => each.isShown && each.row === box.row + 1 &&
      middle(each) > box.left && middle(each) < box.left + box.width);
    return inner.sort((a, b) => b.width - a.width || a.left - b.left)[0];
  }
  const around = (box) => boxes.find((each) => each.row === box.row - 1 &&
    each.left <= middle(box) && middle(box) <= each.left + each.width);
  const keys = {
    ArrowLeft: () => focus(beside(current, -1)),
    ArrowRight: () => focus(beside(current, 1)),
    ArrowUp: () => focus(around(current)),
    ArrowDown: () => focus(inside(current)),
    Home: () => focus(root),
    Enter: () => zoom(current),
    " ": () => zoom(current),
    Escape: () => zoom(root),
  };
  for (const box of boxes) {
    box.element.addEventListener("click", () => { focus(box); zoom(box); });
    box.element.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
      keys[event.key]();
      event.preventDefault();
    });
  }
})();
