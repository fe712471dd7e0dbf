"use strict";
// What the page can do beyond standing still: values under the pointer, one run among others by its
// name, and panels as a slider.

const written = (value) =>
  Math.abs(value) >= 1000 || value === 0 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(4)).toString();

for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot");
  const [left, right] = chart.dataset.x.split(" ").map(Number);
  const [low, high] = chart.dataset.y.split(" ").map(Number);
  const labels = [...chart.querySelectorAll(".legend .name")].map((one) => one.textContent);
  const lines = [...plot.querySelectorAll(".line:not(.mean)")].map((path) =>
    path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number)));
  const cursor = document.createElement("i");
  const values = document.createElement("span");
  cursor.className = "cursor";
  values.className = "values";
  const show = (event) => {
    const box = plot.getBoundingClientRect();
    const at = (10000 * (event.clientX - box.left)) / box.width;
    if (at < -200 || at > 10200) return hide();
    const near = lines.map((line) =>
      line.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best)));
    const nearest = near.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best));
    const told = near.map(([, down], place) => {
      const y = high - ((high - low) * down) / 10000;
      const value = written(chart.dataset.log ? 10 ** y : y);
      return labels[place] ? `${labels[place]}  ${value}` : value;
    });
    const x = Math.round(left + ((right - left) * nearest[0]) / 10000).toLocaleString("en");
    values.textContent = [`${chart.querySelector(".x-name").textContent} ${x}`, ...told.slice(0, 10)].join("\n");
    cursor.style.left = `${nearest[0] / 100}%`;
    const isRight = nearest[0] > 5000;
    values.style.left = isRight ? "auto" : `calc(${nearest[0] / 100}% + 8px)`;
    values.style.right = isRight ? `calc(${100 - nearest[0] / 100}% + 8px)` : "auto";
    plot.append(cursor, values);
  };
  const hide = () => { cursor.remove(); values.remove(); };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", hide);
}

for (const name of document.querySelectorAll(".legend li[data-run]")) {
  const lines = (name.closest(".chart") ?? name.closest("section")).querySelectorAll(".plot [data-run]");
  const others = [...lines].filter((line) => line.dataset.run !== name.dataset.run);
  name.addEventListener("pointerenter", () => others.forEach((line) => line.classList.add("away")));
  name.addEventListener("pointerleave", () => others.forEach((line) => line.classList.remove("away")));
}

for (const slides of document.querySelectorAll(".slides")) {
  const all = [...slides.children];
  if (all.length < 2) continue;
  const row = document.createElement("label");
  const input = document.createElement("input");
  const output = document.createElement("output");
  row.className = "slider";
  Object.assign(input, { type: "range", min: 0, max: all.length - 1, value: all.length - 1 });
  input.setAttribute("aria-label", "panel");
  row.append(input, output);
  slides.prepend(row);
  const show = () => {
    all.forEach((one, place) => { one.hidden = place !== Number(input.value); one.open = true; });
    output.textContent = all[input.value].querySelector("summary").textContent.replace(/ 0+(?=\d)/, " ");
  };
  all.forEach((one) => { one.querySelector("summary").hidden = true; });
  input.addEventListener("input", show);
  show();
}
