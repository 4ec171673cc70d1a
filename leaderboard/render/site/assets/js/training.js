// The training track: for each environment its curves, its table of rows that open, and two rows side by side.
const training = (() => {
  const { html, bdi } = dom;
  const LONGEST = 200, DRAWN = 6;
  const place = document.getElementById("training");
  const openers = new Map(), widgets = new Map(), plots = [];
  let change = () => {}, now = null, linked = null;

  const cell = value => bdi(value, LONGEST);

  function listen(changed) {
    change = changed;
    const { introduction, across, tables } = data.about.training;
    place.hidden = !tables.length;
    if (!tables.length) return;
    place.replaceChildren(html("h2", { id: "training-title" }, "Training track"), html("p", {}, introduction), ...across.flatMap(plain), ...tables.flatMap(environment));
    new ResizeObserver(() => drawPlots()).observe(place);
  }

  function environment(table) {
    const rows = table.details.map(({ id }) => data.byId.get(id)), curves = html("div", {}), file = files.link(`training/${table.environment}`);
    plots.push({ curves, table, rows });
    const widget = compare.widget({
      change: ids => change({ compare: ids }, { replace: true, still: true }),
      partners: (row, all) => all.filter(other => other !== row),
      result: async (one, other) => trainingRow.compared(one, other, Math.min(660, place.clientWidth)),
    });
    widgets.set(table.environment, { widget, rows });
    return [
      html("h3", {}, cell(table.title)),
      html("p", { class: "soft" }, bdi(table.about, 500)),
      curves, widget.element,
      html("div", { class: "runs" }, dom.table(text.clean(table.title, LONGEST), table.headings.map(cell), table.rows.map(([method, ...rest], index) => [first(rows[index], method), ...rest.map(cell)]))),
      file && html("p", { class: "soft" }, "This table: ", file, ", every metric with its interval."),
      ...table.beside.flatMap(plain),
    ].filter(Boolean);
  }

  // A table of text alone.
  function plain({ title, about, headings, rows }) {
    return [
      html("h3", {}, cell(title)), html("p", { class: "soft" }, bdi(about, 500)),
      dom.table(text.clean(title, LONGEST), headings.map(cell), rows.map(line => line.map(cell)))];
  }

  // The references, and the first rows of the table beside them.
  function shown({ table, rows }) {
    const references = new Set(Object.values(table.references));
    const free = DRAWN - references.size;
    const others = rows.filter(row => !references.has(row.id)).slice(0, free);
    return rows.filter(row => references.has(row.id) || others.includes(row));
  }

  let width = 0;
  function drawPlots() {
    if (!place.clientWidth || place.clientWidth === width) return;
    width = place.clientWidth;
    for (const one of plots) {
      const made = curveChart.draw(shown(one), one.table.steps, `Mean curves of ${text.clean(one.table.environment, 80)}`, Math.min(760, width), 320);
      one.curves.replaceChildren(...[made].filter(Boolean));
    }
  }

  function first(row, method) {
    if (!row) return cell(method);
    const button = html("button", { type: "button", class: "opener", "aria-expanded": "false", "data-run": row.id, onclick: () => {
      const open = button.getAttribute("aria-expanded") !== "true", others = now.run.filter(id => id !== row.id);
      change({ run: open ? [...others, row.id] : others }, { still: true });
    } }, cell(method));
    openers.set(row.id, button);
    return button;
  }

  // Rows open, and two are compared, as the address says.
  function draw(current) {
    now = current;
    drawPlots();
    for (const [id, button] of openers) if ((button.getAttribute("aria-expanded") === "true") !== now.run.includes(id)) toggle(id, button);
    for (const [name, { widget, rows }] of widgets) widget.draw(rows, now.compare.filter(id => data.byId.get(id).training === name));
  }

  function toggle(id, button) {
    const line = button.closest("tr"), open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    if (!open) {
      button.removeAttribute("aria-controls");
      return void line.nextElementSibling.remove();
    }
    const row = data.byId.get(id), inside = html("div", { id: dom.identifier("run"), class: "inside", role: "region", "aria-label": `Details of ${text.clean(row.method, 80)}` });
    button.setAttribute("aria-controls", inside.id);
    line.after(html("tr", { class: "details" }, html("td", { colspan: line.children.length }, inside)));
    trainingRow.fill(inside, row, ids => { change(ids, { still: true }); widgets.get(row.training).widget.focus(); });
  }

  // Marks the row that a link leads to, and goes there.
  function link(id) {
    dom.mark(linked && openers.get(linked)?.closest("tr"), false);
    linked = id;
    dom.mark(linked && openers.get(linked)?.closest("tr"), true);
  }

  function focus(id) {
    openers.get(id)?.focus({ preventScroll: true });
    openers.get(id)?.closest("tr").scrollIntoView({ block: "start" });
  }

  const compareFocus = id => widgets.get(data.byId.get(id).training).widget.focus();

  return { listen, draw, link, focus, compareFocus };
})();
