"use strict";
(() => {
  const root = document.documentElement, tip = document.getElementById("tip");
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  root.classList.add("js");

  for (const title of all(".hits title")) { // the words move, so that a browser's own box does not cover ours
    title.parentNode.dataset.words = title.textContent;
    title.remove();
  }

  const show = (event) => {
    const hit = event.target.closest && event.target.closest(".hits rect");
    tip.hidden = !hit;
    if (!hit) return;
    const figure = hit.closest("figure"), [head, ...lines] = hit.dataset.words.split("\n");
    const off = new Set(all(".line.off", figure).map((line) => line.dataset.name));
    tip.textContent = [head, ...lines.filter((line) => ![...off].some((name) => line.startsWith(name + ": ")))].join("\n");
    const left = Math.min(event.pageX + 14, window.scrollX + root.clientWidth - tip.offsetWidth - 8);
    tip.style.left = Math.max(window.scrollX + 8, left) + "px";
    tip.style.top = event.pageY + 18 + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);

  for (const section of all("section.runs")) {
    for (const key of all(".keys button", section)) {
      key.addEventListener("click", () => {
        const on = key.getAttribute("aria-pressed") !== "true";
        key.setAttribute("aria-pressed", String(on));
        for (const line of all(".line", section)) if (line.dataset.name === key.dataset.name) line.classList.toggle("off", !on);
      });
    }
    const levels = all(".levels button", section);
    const choose = (chosen) => {
      for (const each of levels) each.setAttribute("aria-pressed", String(each === chosen));
      for (const figure of all("figure[data-level]", section)) figure.hidden = figure.dataset.level !== chosen.dataset.level;
    };
    for (const each of levels) each.addEventListener("click", () => choose(each));
    if (levels.length) choose(levels[levels.length - 1]);
  }
  window.addEventListener("beforeprint", () => all("details").forEach((each) => { each.open = true; }));
})();
