// Filters the samples and enlarges one. Without it everything is visible.
(() => {
  "use strict";
  const dialog = document.getElementById("enlarged");
  const [title, row, about] = ["h2", ".row", "p"].map((part) => dialog.querySelector(part));
  const position = dialog.querySelector("output");
  let shown = [], current = 0;

  const text = (shot) => shot.querySelector("figcaption").lastChild.textContent;
  const draw = (number) => {
    current = Math.max(0, Math.min(shown.length - 1, number));
    const shot = shown[current];
    title.textContent = `${shot.dataset.variant}, ${shot.dataset.attack}`;
    row.replaceChildren(...[...shot.querySelectorAll(".row > div")].map((picture) => picture.cloneNode(true)));
    about.textContent = text(shot);
    position.value = `${current + 1} of ${shown.length}`;
    for (const button of dialog.querySelectorAll("[data-step]")) {
      button.setAttribute("aria-disabled", !shown[current + Number(button.dataset.step)]);
    }
  };
  const enlarge = (shot, shots) => {
    shown = shots.filter((one) => !one.hidden);
    draw(shown.indexOf(shot));
    dialog.showModal();
  };
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.step) draw(current + Number(button.dataset.step));
    else if (button || event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    draw(to);
  });
  dialog.addEventListener("close", () => shown[current].querySelector("button").focus());

  for (const samples of document.querySelectorAll(".samples")) {
    const shots = [...samples.querySelectorAll(".shot")];
    const filters = samples.querySelector(".filters");
    const selects = [...filters.querySelectorAll("select")];
    const count = filters.querySelector("output");
    const filter = () => {
      for (const shot of shots) {
        shot.hidden = selects.some((select) => select.value && shot.dataset[select.name] !== select.value);
      }
      for (const group of samples.querySelectorAll(".group")) {
        group.hidden = !group.querySelector(".shot:not([hidden])");
      }
      count.value = `${shots.filter((shot) => !shot.hidden).length} of ${shots.length} samples`;
    };
    for (const select of selects) {
      const values = [...new Set(shots.map((shot) => shot.dataset[select.name]))];
      if (select.name === "label") values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
      select.append(...values.map((value) => new Option(value, value)));
      select.closest("label").hidden = values.length < 2;
      select.addEventListener("change", filter);
    }
    filter();
    filters.hidden = selects.every((select) => select.closest("label").hidden);
    for (const shot of shots) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Enlarge" });
      button.setAttribute("aria-label", `Enlarge ${shot.dataset.variant}, ${shot.dataset.attack}, ${text(shot)}`);
      button.addEventListener("click", () => enlarge(shot, shots));
      shot.querySelector("figcaption").before(button);
      shot.querySelector(".row").addEventListener("click", () => enlarge(shot, shots));
    }
  }
})();
