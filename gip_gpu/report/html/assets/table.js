// The table of picks: search, order, pages.
const PER_PAGE = 25;

class PickTable {
  constructor(data, show) {
    this.data = data;
    this.show = show;
    this.k = data.picks.length;
    this.page = 0;
    this.words = [];
    this.texts = null;
    this.columns = [
      ["pick", (rank) => rank, 1],
      ["row", (rank) => data.row[data.picks[rank]], 1],
      ["gain", (rank) => data.gains[rank], -1],
      ["lead", (rank) => data.margins[rank], 1],
      ["nearest pick of", (rank) => data.serves[rank], -1],
      ["cosine to another pick", (rank) => data.other[rank], -1],
      ...data.scores.map(({ name, values }) => [name, (rank) => (Number.isFinite(values[data.picks[rank]]) ? values[data.picks[rank]] : -Infinity), -1]),
    ];
    $("sort").append(...this.columns.map(([name], i) => el("option", { value: i }, name)));
    $("sort").addEventListener("change", () => this.arrange());
    let waiting = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.arrange(), 120);
    });
    $("before").addEventListener("click", () => this.turn(-1));
    $("after").addEventListener("click", () => this.turn(1));
    const heads = ["pick", "row", "text", page.groups.length > 1 ? "group" : null, "gain", "lead", "nearest pick of"];
    $("columns").append(...heads.filter(Boolean).map((name) => el("th", { scope: "col", class: ["gain", "lead", "nearest pick of"].includes(name) ? "num" : name === "text" ? "wide" : null }, name)));
    this.arrange();
  }

  // Lower-case text of each pick with its group and row, decoded at the first search.
  haystack() {
    const { data } = this;
    this.texts ??= Array.from({ length: this.k }, (_, rank) => {
      const i = data.picks[rank];
      return `${data.row[i]}\n${groupOf(data, i)}\n${textOf(data, i) ?? ""}`.toLowerCase();
    });
    return this.texts;
  }

  arrange() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    this.words = words;
    const [, value, sign] = this.columns[Number($("sort").value) || 0];
    let ranks = Array.from({ length: this.k }, (_, rank) => rank);
    if (words.length) {
      const texts = this.haystack();
      ranks = ranks.filter((rank) => words.every((word) => texts[rank].includes(word)));
    }
    ranks.sort((a, b) => sign * (value(a) - value(b)) || a - b);
    this.ranks = ranks;
    this.page = 0;
    $("found").textContent = words.length ? `${whole(ranks.length)} of ${whole(this.k)} picks` : `${whole(this.k)} picks`;
    this.fill();
  }

  turn(by) {
    this.page += by;
    this.fill();
    $("picks").scrollIntoView();
  }

  fill() {
    const pages = Math.max(1, Math.ceil(this.ranks.length / PER_PAGE));
    this.page = Math.min(pages - 1, Math.max(0, this.page));
    $("page").textContent = `Page ${whole(this.page + 1)} of ${whole(pages)}`;
    $("before").disabled = this.page === 0;
    $("after").disabled = this.page === pages - 1;
    const shown = this.ranks.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE);
    $("rows").replaceChildren(...shown.map((rank) => this.line(rank)));
    if (!shown.length) $("rows").append(el("tr", {}, el("td", { colspan: 7, class: "none whole" }, "No pick has these words.")));
  }

  line(rank) {
    const { data } = this;
    const i = data.picks[rank];
    const button = el("button", { type: "button", "aria-label": `Show pick ${rank + 1} on the map`, onclick: () => this.show(i, true) }, whole(rank + 1));
    const cell = (name, value, kind = "num") => el("td", { class: kind, "data-name": name }, value);
    return el(
      "tr",
      { "data-rank": rank, class: data.chosen === i ? "on" : null },
      cell("pick", button, "fig"),
      cell("row", whole(data.row[i]), "fig"),
      el("td", { class: "wide" }, this.text(i)),
      page.groups.length > 1 ? el("td", { class: "whole", dir: "auto" }, groupOf(data, i)) : null,
      cell("gain", short(data.gains[rank])),
      cell("lead", data.ties[rank] > 1 ? "tie" : data.ties[rank] === 0 ? "none" : percent(data.margins[rank])),
      cell("nearest pick of", whole(data.serves[rank])),
    );
  }

  // A few lines of the text, all of it on request, with the words of the search marked.
  text(i) {
    const full = textOf(this.data, i) ?? "";
    const at = this.words.map((word) => full.toLowerCase().indexOf(word)).filter((place) => place >= 0);
    const first = at.length ? Math.max(0, Math.min(...at) - 60) : 0;
    const box = textElement(this.data, i, 300);
    if (box.classList.contains("none")) return box;
    if (first > 200) box.textContent = "\u2026" + full.slice(first, first + 300);
    this.mark(box);
    if (full.length <= 300 && full.split("\n").length < 4) return box;
    const details = el("details", {}, el("summary", {}, box));
    details.addEventListener("toggle", () => {
      const other = details.open ? textElement(this.data, i) : this.text(i).querySelector(".text");
      if (details.open) this.mark(other);
      details.firstChild.replaceChildren(other);
    });
    return details;
  }

  mark(box) {
    if (!this.words.length || !box.firstChild) return;
    const quoted = this.words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const parts = box.firstChild.textContent.split(new RegExp(`(${quoted.join("|")})`, "gi"));
    const marked = parts.map((part, place) => (place % 2 ? el("mark", {}, part) : part));
    box.firstChild.replaceWith(...marked);
  }
}
