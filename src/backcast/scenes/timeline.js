"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const board = document.querySelector(".board");
const detail = document.getElementById("detail");
const cells = new Map([...document.querySelectorAll(".cell")].map((cell) => [cell.dataset.at, cell]));
const percent = (p) => (100 * p).toFixed(p < 0.1 ? 1 : 0) + " %";
function make(tag, text, parent) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}
function choose(cell) {
  for (const other of cells.values()) other.classList.toggle("chosen", other === cell);
  for (const other of cells.values()) other.setAttribute("tabindex", other === cell ? "0" : "-1");
  const [row, column] = cell.dataset.at.split(",").map(Number);
  const lane = data.lanes[row];
  const found = lane.cells[column];
  detail.replaceChildren();
  const left = make("div", "", detail);
  make("h2", lane.name + ", frame " + data.frames[column], left);
  make("p", column < data.observed ? "Observed." : "Predicted: there with " + percent(found.p) + (found.listed ? ", listed." : ", not listed."), left);
  const table = make("table", "", left);
  for (const [group, labels] of found.groups) {
    const row = make("tr", "", table);
    make("th", group, row);
    make("td", labels.length ? labels.map(([name, p]) => name + " " + percent(p)).join(", ") : "none", row);
  }
  if (found.truth) make("p", "What did follow: " + found.truth, left);
  const right = make("div", "", detail);
  make("h2", "The past of " + lane.name + ", as text", right);
  make("pre", lane.text, right);
  const whole = make("div", "", detail);
  make("h2", "The whole past, as text", whole);
  make("pre", data.prompt, whole);
}
board.addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (cell) { choose(cell); cell.focus(); }
});
board.addEventListener("keydown", (event) => {
  const cell = event.target.closest(".cell");
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Enter: [0, 0], " ": [0, 0] }[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const [row, column] = cell.dataset.at.split(",").map(Number);
  const next = cells.get(row + step[0] + "," + (column + step[1]));
  if (next) { choose(next); next.focus(); }
});
const truth = document.getElementById("truth");
if (truth) truth.addEventListener("change", () => board.classList.toggle("with-truth", truth.checked));
document.getElementById("png").addEventListener("click", () => {
  const svg = board.querySelector("svg").cloneNode(true);
  const style = getComputedStyle(document.documentElement);
  const probe = document.createElement("span");
  document.body.append(probe);
  let text = new XMLSerializer().serializeToString(svg);
  text = text.replace(/var\((--[a-z0-9-]+)\)/g, (_, name) => {
    probe.style.color = "var(" + name + ")";
    return getComputedStyle(probe).color;
  });
  probe.style.color = "var(--ink)";
  const ink = getComputedStyle(probe).color;
  probe.remove();
  const hide = truth && !truth.checked ? ".truth{display:none}" : "";
  const rule = "<style>text{fill:" + ink + ";font:11px sans-serif}.frame-line{fill:none}.divide{stroke:" + ink + ";stroke-width:2;stroke-dasharray:5 3}.hair{stroke:#999}" + hide + "</style>";
  text = text.replace(/(<svg[^>]*>)/, "$1" + rule);
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = 2 * image.width;
    canvas.height = 2 * image.height;
    const pen = canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(document.body).backgroundColor;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const link = document.createElement("a");
    link.download = data.id + ".png";
    link.href = canvas.toDataURL("image/png");
    document.body.dataset.png = String(link.href.length);
    link.click();
  };
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
});
