// The training track's tables: cells of text, made where Markdown's are.
const training = (() => {
  const { html, bdi } = dom;
  const LONGEST = 200;

  function draw({ introduction, tables }) {
    const place = document.getElementById("training");
    place.hidden = !tables.length;
    if (!tables.length) return;
    const cell = value => bdi(value, LONGEST);
    place.replaceChildren(
      html("h2", { id: "training-title" }, "Training track"),
      html("p", {}, introduction),
      ...tables.flatMap(({ title, about, headings, rows }) => [
        html("h3", {}, cell(title)),
        html("p", { class: "soft" }, bdi(about, 500)),
        dom.table(text.clean(title, LONGEST), headings.map(cell), rows.map(row => row.map(cell))),
      ]));
  }

  draw(data.about.training);
  return { draw };
})();
