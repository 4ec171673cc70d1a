// Elements from values. Texts only ever become text nodes and attribute values; attribute names are our own.
const dom = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    const kept = children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false && child !== "");
    node.append(...kept);
    return node;
  }

  const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // Untrusted text, kept from reordering what is around it.
  const bdi = (value, longest) => html("bdi", {}, text.clean(value, longest));
  const code = (value, longest) => html("code", { dir: "ltr" }, bdi(value, longest));
  const unseen = value => html("span", { class: "unseen" }, value); // for screen readers

  let numbers = 0;
  const identifier = stem => `${stem}-${++numbers}`;

  // A table of cells: the first of each row is its heading.
  function table(caption, headings, rows, attributes = {}) {
    return html("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
      html("table", { class: "small", ...attributes },
        html("caption", {}, caption),
        html("thead", {}, html("tr", {}, headings.map(heading => html("th", { scope: "col" }, heading)))),
        html("tbody", {}, rows.map(([first, ...rest]) =>
          html("tr", {}, html("th", { scope: "row" }, first), rest.map(cell => html("td", {}, cell)))))));
  }

  // Names and what stands for them.
  const list = pairs => html("dl", {}, pairs.map(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));

  // Marks a table's line as the one that a link leads to, or no more.
  function mark(line, marked) {
    if (!line) return;
    line.classList.toggle("linked", marked);
    if (marked) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  }

  return { html, svg, bdi, code, unseen, identifier, table, list, mark };
})();
