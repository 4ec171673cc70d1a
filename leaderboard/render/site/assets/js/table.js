// The table: headings that sort, a page of rows, and rows that open.
const table = (() => {
  const { html } = dom;
  const PAGE = 100;
  const head = document.getElementById("head"), body = document.getElementById("body"), caption = document.getElementById("caption");
  const pager = document.getElementById("pager"), pageText = document.getElementById("page-text");
  let headings = [], change = () => {}, filling = [], linked = null;

  // `changed(changes, address kind)` is called with what the reader chose.
  function listen(changed) {
    change = changed;
    document.getElementById("previous").addEventListener("click", event => turn(event, -1));
    document.getElementById("next").addEventListener("click", event => turn(event, 1));
  }

  let shown = { page: 1, pages: 1 };
  function turn(event, by) {
    if (event.currentTarget.getAttribute("aria-disabled") === "true") return;
    change({ page: shown.page + by, open: [] });
    document.getElementById("table").scrollIntoView({ block: "start" });
  }

  function draw(view) {
    drawHead(view);
    const pages = Math.max(1, Math.ceil(view.rows.length / PAGE));
    const first = view.now.open.length && !view.now.page ? view.rows.findIndex(row => row.id === view.now.open[0]) : -1;
    shown = { pages, page: Math.min(pages, view.now.page || (first < 0 ? 1 : 1 + Math.floor(first / PAGE))) };
    const held = document.activeElement?.dataset.opener; // the focus stays on its row where that is still shown
    const rows = view.rows.slice((shown.page - 1) * PAGE, shown.page * PAGE);
    body.replaceChildren(...rows.flatMap(row => drawRow(row, view)));
    if (!rows.length) body.append(html("tr", {}, html("td", { colspan: view.columns.length, class: "empty" }, "No row matches. Remove a filter, or clear the search.")));
    filling = [];
    for (const row of rows) if (view.now.open.includes(row.id)) toggle(row, view, true);
    if (held) body.querySelector(`[data-opener="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
    caption.textContent = view.caption;
    drawPager();
  }

  function drawPager() {
    pager.hidden = shown.pages === 1;
    pageText.textContent = `Page ${text.count(shown.page)} of ${text.count(shown.pages)}`;
    document.getElementById("previous").setAttribute("aria-disabled", String(shown.page === 1));
    document.getElementById("next").setAttribute("aria-disabled", String(shown.page === shown.pages));
  }

  // Headings stay while the columns do, so that the focus stays where it was.
  function drawHead(view) {
    const names = view.columns.map(column => column.key).join(" ");
    if (head.dataset.names !== names) {
      head.dataset.names = names;
      headings = view.columns.map(column => {
        const button = html("button", { type: "button", onclick: () => sortBy(column) }, column.label);
        return { column, heading: html("th", { scope: "col", class: [column.numeric && "numeric", column.className].filter(Boolean).join(" ") }, button) };
      });
      head.replaceChildren(html("tr", {}, headings.map(({ heading }) => heading)));
    }
    current = view;
    headings.forEach(({ heading, column }, index) => {
      const sorted = column.key === view.sort.key;
      if (sorted) heading.setAttribute("aria-sort", view.sort.descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
      heading.firstChild.title = view.columns[index].hint ?? "";
    });
  }

  let current = null;
  function sortBy(column) {
    const again = current.sort.key === column.key;
    const descending = again ? !current.sort.descending : Boolean(column.bestHigh);
    change({ sort: (descending ? "-" : "") + column.key, page: 1 });
  }

  function drawRow(row, view) {
    const kind = [row.greyed && "greyed-row", row.disputed && "disputed-row"].filter(Boolean).join(" ");
    const cells = view.columns.map(column => html(column.key === "predictor" ? "th" : "td",
      { class: [column.numeric && "numeric", column.className].filter(Boolean).join(" "), scope: column.key === "predictor" ? "row" : null }, column.cell(row, view)));
    const line = html("tr", { class: kind, "data-row": row.id }, cells);
    dom.mark(line, row.id === linked);
    return [line];
  }

  const openerOf = row => body.querySelector(`[data-opener="${CSS.escape(row.id)}"]`);

  // The button in a row that opens it.
  function opener(row) {
    return html("button", { type: "button", class: "opener", "aria-expanded": "false", "data-opener": row.id, onclick: () => {
      const open = openerOf(row).getAttribute("aria-expanded") !== "true";
      toggle(row, current, open);
      const others = current.now.open.filter(id => id !== row.id);
      change({ open: open ? [...others, row.id] : others, page: shown.page }, { drawn: true });
    } }, dom.bdi(row.method, 80));
  }

  function toggle(row, view, open) {
    const button = openerOf(row), line = button.closest("tr");
    button.setAttribute("aria-expanded", String(open));
    if (!open) {
      button.removeAttribute("aria-controls");
      line.nextElementSibling?.matches(".details") && line.nextElementSibling.remove();
      return;
    }
    const id = dom.identifier("details");
    const place = html("div", { id, class: "inside", role: "region", "aria-label": `Details of ${text.clean(data.label(row), 80)}` });
    button.setAttribute("aria-controls", id);
    line.after(html("tr", { class: "details" }, html("td", { colspan: view.columns.length }, place)));
    filling.push(details.fill(place, row, view));
  }

  // The row that a link leads to is marked whenever it is drawn.
  const link = id => { linked = id; };

  // Goes to a row, at last when its details are there: before, the page may be too short to scroll so far.
  async function focus(id) {
    const button = body.querySelector(`[data-opener="${CSS.escape(id)}"]`);
    button?.focus({ preventScroll: true });
    await Promise.all(filling);
    button?.closest("tr").scrollIntoView({ block: "start" });
  }

  return { draw, opener, listen, link, focus };
})();
