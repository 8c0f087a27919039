// What the page says of a row: its text, its nearest pick, its place in the choice.
function textOf(data, i) {
  if (!data.text) return null;
  const from = i ? data.text.ends[i - 1] : 0;
  return data.decoder.decode(data.text.data.subarray(from, data.text.ends[i]));
}

// Pictures made of characters need equal widths; prose does not.
const drawn = (text) => /[\u2580-\u259f\u2500-\u257f]/.test(text);

function textElement(data, i, most = Infinity) {
  const text = textOf(data, i);
  if (text === null) return el("div", { class: "none" }, "no texts were given");
  if (!text.trim()) return el("div", { class: "none" }, "(empty)");
  const shown = text.length > most ? text.slice(0, most).replace(/[\ud800-\udbff]$/, "") + "\u2026" : text;
  const box = el("div", { class: drawn(text) ? "text fixed" : "text", dir: "auto" }, shown);
  const cut = data.text.cut[i];
  if (cut && shown === text) box.append(el("span", { class: "none" }, ` \u2026 ${whole(cut)} more characters`));
  return box;
}

const groupOf = (data, i) => page.groups[data.group[i]] || "(empty)";
const rankName = (rank) => `Pick ${whole(rank + 1)}`;

function list(pairs) {
  const made = el("dl");
  for (const [name, value] of pairs) if (value !== null) made.append(el("dt", {}, name), el("dd", { dir: "auto" }, value));
  return made;
}

function scorePairs(data, i) {
  return data.scores.map(({ name, values }) => [name, short(values[i])]);
}

function describe(data, i, show) {
  const rank = data.rank[i];
  const head = [groupOf(data, i)];
  if (rank < 0) {
    const near = data.picks[data.nearest[i]];
    return [
      el("h3", {}, `Row ${whole(data.row[i])}`),
      el("p", { class: "hint", dir: "auto" }, `not chosen; ${head}`),
      textElement(data, i),
      list(scorePairs(data, i)),
      el("h4", {}, `Nearest pick: cosine ${data.cosine[i].toFixed(3)}`),
      textElement(data, near, 600),
      el("div", { class: "row" }, el("button", { type: "button", onclick: () => show(near) }, `Show ${rankName(data.nearest[i]).toLowerCase()}`)),
    ];
  }
  const step = (to, name) => {
    const button = el("button", { type: "button", onclick: () => show(data.picks[to]) }, name);
    button.disabled = to < 0 || to >= data.picks.length;
    return button;
  };
  return [
    el("h3", {}, `${rankName(rank)}, row ${whole(data.row[i])}`),
    el("p", { class: "hint", dir: "auto" }, head.join()),
    el("div", { class: "row" }, step(rank - 1, "Previous pick"), step(rank + 1, "Next pick")),
    textElement(data, i),
    list([
      ["gain", short(data.gains[rank])],
      ["lead over the runner-up", data.ties[rank] > 1 ? "tie" : data.ties[rank] === 0 ? "none" : percent(data.margins[rank])],
      ["explained after it", data.explained[rank] >= 0 ? percent(data.explained[rank]) : "none"],
      ["nearest pick of", `${whole(data.serves[rank])} rows`],
      ["cosine to another pick", data.picks.length > 1 ? data.other[rank].toFixed(3) : null],
      ...scorePairs(data, i),
    ]),
  ];
}

function tipOf(data, i) {
  const rank = data.rank[i];
  const name = rank < 0
    ? `Row ${whole(data.row[i])}, nearest pick ${whole(data.nearest[i] + 1)} at ${data.cosine[i].toFixed(3)}`
    : `${rankName(rank)}, row ${whole(data.row[i])}`;
  return [el("b", {}, name), data.text ? textElement(data, i, 220) : groupOf(data, i)];
}
