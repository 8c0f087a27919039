// Data of the page, elements, colours, numbers.
const $ = (id) => document.getElementById(id);
const root = document.documentElement;
const page = JSON.parse($("data").textContent);

// An element with attributes and children; text is always a text node, never markup.
function el(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A block of the page: base64 of a zlib stream of a typed array.
async function unpack(block) {
  const text = atob(block.data);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  block.data = null;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const kinds = { Uint8Array, Uint16Array, Uint32Array, Float32Array };
  return new kinds[block.type](bytes);
}

// A colour of the style sheet, as the browser resolves it now.
const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
const dark = () => getComputedStyle(root).colorScheme === "dark";
const themed = [];
function onTheme(redraw) {
  themed.push(redraw);
}
function showTheme() {
  const button = $("theme");
  button.textContent = dark() ? "Light" : "Dark";
  button.setAttribute("aria-pressed", String(dark()));
  button.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
  for (const redraw of themed) redraw();
}
$("theme").addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);

const whole = (value) => Math.round(value).toLocaleString("en");
function short(value) {
  if (!Number.isFinite(value)) return "none";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}
const percent = (share) => short(100 * share) + " %";

// Run a function once per frame however often it is asked for.
function framed(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
