// Of every text that is shown: the contrast of its colour against what lies behind it (WCAG 2, relative luminance).
// Returns the texts below the wanted ratio. Colours of any notation are read by painting a pixel with them.
const wanted = arguments[0];
const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const read = new Map();
function rgba(colour) {
  if (!read.has(colour)) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    read.set(colour, [r, g, b, a / 255]);
  }
  return read.get(colour);
}
const over = ([r, g, b, a], base) => [r, g, b].map((value, i) => a * value + (1 - a) * base[i]);
const light = (rgb) => {
  const [r, g, b] = rgb.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
function behind(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
  return layers.reduce((base, layer) => over(layer, base), [255, 255, 255]);
}
function shapeBehind(element, box) {
  // In a drawing the ground of a text is the last shape painted before it that holds its middle.
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  let found = behind(element.ownerSVGElement);
  for (const shape of element.ownerSVGElement.querySelectorAll("rect")) {
    if (!(shape.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
    const place = shape.getBoundingClientRect(), style = getComputedStyle(shape);
    if (style.fill === "none" || x < place.left || x > place.right || y < place.top || y > place.bottom) continue;
    const [r, g, b, a] = rgba(style.fill);
    found = over([r, g, b, a * Number(style.opacity)], found);
  }
  return found;
}
const poor = [];
let seen = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walk.nextNode(); node; node = walk.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || element.closest("script, style, template, title, noscript")) continue;
  if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || element.closest(":disabled, .skip")) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  if (!box.width || !box.height) continue;
  const style = getComputedStyle(element), drawn = Boolean(element.ownerSVGElement);
  const ground = drawn ? shapeBehind(element, box) : behind(element);
  const colour = over(rgba(drawn ? style.fill : style.color), ground);
  const [high, low] = [light(colour), light(ground)].sort((a, b) => b - a);
  const ratio = (high + 0.05) / (low + 0.05);
  seen += 1;
  if (ratio < wanted) poor.push(`${ratio.toFixed(2)} ${element.tagName.toLowerCase()}.${element.getAttribute("class")}: ${node.data.trim().slice(0, 40)}`);
}
return [seen, [...new Set(poor)]];
